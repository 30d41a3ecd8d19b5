/** What happened during a run, for its verdict and its report. Times are milliseconds since the start. */

export interface FaultEvent {
  readonly fault: string
  readonly what: string
  readonly fromMs: number
  /** Undefined while it lasts. */
  toMs: number | undefined
}

export interface LeaderEvent {
  readonly atMs: number
  /** Undefined: no peer leads. */
  readonly leader: string | undefined
}

export class Timeline {
  readonly faults: FaultEvent[] = []
  readonly leaders: LeaderEvent[] = []
  /** By workload, then by second: the milliseconds that each operation took, over all clients. */
  readonly seconds = new Map<string, number[][]>()
  /** Rounds of faults that have been healed. */
  readonly healed: { readonly atMs: number; readonly progressMs: number }[] = []
  private readonly startMs = performance.now()
  /** The start, on the monotonic clock of the machine, which histories have, in nanoseconds. */
  readonly startNs = Number(process.hrtime.bigint())

  get nowMs(): number {
    return performance.now() - this.startMs
  }

  /** The time of the last thing that happened. */
  get endMs(): number {
    const seconds = Math.max(0, ...[...this.seconds.values()].map(({ length }) => length))
    return Math.max(1_000, seconds * 1_000, ...this.healed.map(({ atMs, progressMs }) => atMs + progressMs))
  }

  /** How often each fault was made, in the order in which they came. */
  get faultCounts(): [fault: string, count: number][] {
    const counts = new Map<string, number>()
    for (const { fault } of this.faults) counts.set(fault, (counts.get(fault) ?? 0) + 1)
    return [...counts]
  }

  /** How many operations of each workload were carried out. */
  get operationCounts(): [workload: string, count: number][] {
    return [...this.seconds].map(([workload, all]) => [workload, all.reduce((sum, { length }) => sum + length, 0)])
  }

  begin(fault: string, what: string): FaultEvent {
    const event: FaultEvent = { fault, what, fromMs: this.nowMs, toMs: undefined }
    this.faults.push(event)
    return event
  }

  leads(leader: string | undefined): void {
    const last = this.leaders.at(-1)
    if (last === undefined || last.leader !== leader) this.leaders.push({ atMs: this.nowMs, leader })
  }

  worked(workload: string, latencies: readonly number[]): void {
    const all = this.seconds.get(workload) ?? []
    this.seconds.set(workload, all)
    const now = Math.floor(this.nowMs / 1_000)
    while (all.length <= now) all.push([])
    all[now]!.push(...latencies)
  }
}
