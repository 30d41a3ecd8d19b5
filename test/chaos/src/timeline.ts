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

/** One second of one workload, over all clients. */
export interface Second {
  /** Of each operation, in milliseconds. */
  readonly latencies: number[]
}

export class Timeline {
  readonly faults: FaultEvent[] = []
  readonly leaders: LeaderEvent[] = []
  /** By workload, then by second. */
  readonly seconds = new Map<string, Second[]>()
  /** Rounds of faults that have been healed. */
  readonly healed: { readonly atMs: number; readonly progressMs: number }[] = []
  private readonly startMs = performance.now()

  get nowMs(): number {
    return performance.now() - this.startMs
  }

  /** The time of the last thing that happened. */
  get endMs(): number {
    const seconds = Math.max(0, ...[...this.seconds.values()].map(({ length }) => length))
    return Math.max(1_000, seconds * 1_000, ...this.healed.map(({ atMs, progressMs }) => atMs + progressMs))
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
    while (all.length <= now) all.push({ latencies: [] })
    all[now]!.latencies.push(...latencies)
  }
}
