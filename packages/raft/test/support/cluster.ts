import {
  decode,
  encode,
  isPageMessage,
  isRaftLinkMessage,
  raftConfiguration,
  raftMessage,
  type Clock,
  type Random,
  type RaftMessage
} from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import {
  createMemoryDisk,
  createRaftNode,
  createSegmentedLog,
  type Entry,
  type LogCreation,
  type MemoryDisk,
  type RaftLimits,
  type RaftNode,
  type RaftStatus
} from '../../src/index.js'
import { MemberSnapshots } from './member-snapshots.js'
import { seededRandom } from './seeded-random.js'

export interface ClusterOptions {
  readonly seed?: number
  readonly size?: number
  /** Share of messages that get lost. */
  readonly loss?: number
  /** Share of messages that arrive twice. */
  readonly duplication?: number
  readonly limits?: Partial<RaftLimits>
  readonly segmentBytes?: number
  /** Ids of further nodes, which join when they are started. */
  readonly joiners?: readonly string[]
  /** Takes a snapshot after that many entries; default: none. */
  readonly snapshotEvery?: number
  /** Tick length of each node, until it applies a configuration whose context holds another one (`tickContext`). */
  readonly tickMs?: number
}

/** The bytes of an entry of which a few fill a small segment. */
export const LARGE = new Uint8Array(1500).fill(7)

/** A configuration's context that holds a tick length. */
export function tickContext(tickMs: number): Uint8Array {
  return fromString(`tick ${tickMs}`)
}

/** A cluster in virtual time, with the real driver, core and log on a simulated network, disks and clock. */
export class Cluster {
  readonly clock = new FakeClock()
  readonly random: Random
  readonly members: Member[]
  /** Fixed delay of every link, to which a random delay is added. */
  roundTripMs = 0
  /** Links that are cut: `from>to`. */
  readonly cut = new Set<string>()
  /** Changes the bytes of a message on its way. */
  tamper: (message: RaftMessage) => RaftMessage = (message) => message
  /** Leaders by term, as they have reported themselves. Checks Election Safety (Figure 3). */
  readonly leaders = new Map<number, string>()
  /** Entries that any node has applied, by index. Checks State Machine Safety (Figure 3). */
  readonly chosen = new Map<number, string>()

  constructor(readonly options: ClusterOptions = {}) {
    this.random = seededRandom(options.seed ?? 1)
    const ids = Array.from({ length: options.size ?? 3 }, (_, i) => `n${i + 1}`)
    const joiners = options.joiners ?? []
    this.members = [...ids, ...joiners].map((id) => new Member(this, id, joiners.includes(id) ? undefined : ids))
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(options)
    const founders = cluster.members.filter(({ founders: ids }) => ids !== undefined)
    for (const member of founders) await cluster.run(member.start())
    return cluster
  }

  member(id: string): Member {
    return this.members.find((member) => member.id === id)!
  }

  /** Awaits `promise` while time passes. */
  async run<T>(promise: Promise<T>, ms = 30_000): Promise<T> {
    let settled = false
    const watched = promise.finally(() => (settled = true))
    watched.catch(() => {})
    if (!(await this.clock.until(() => settled, ms))) throw new Error(`the promise is pending after ${ms} ms`)
    return watched
  }

  /** The running leader of the highest term. */
  get leader(): Member | undefined {
    const leading = this.members.filter((member) => member.status?.role === 'leader')
    return leading.sort((a, b) => b.status!.term - a.status!.term)[0]
  }

  async elect(): Promise<Member> {
    const elected = await this.clock.until(() => this.leader?.status?.ready === true, 20_000)
    if (!elected) throw new Error(`no leader: ${JSON.stringify(this.members.map((member) => member.status))}`)
    return this.leader!
  }

  /** Commits `count` large entries, one after the other. Returns the index of the last one. */
  async commit(leader: Member, count: number): Promise<number> {
    let index = 0
    for (let i = 0; i < count; i++) {
      ;({ index } = leader.node!.propose(LARGE.slice()))
      await this.clock.until(() => leader.status!.commitIndex >= index)
    }
    return index
  }

  isolate(member: Member): void {
    for (const other of this.members) {
      this.cut.add(`${member.id}>${other.id}`)
      this.cut.add(`${other.id}>${member.id}`)
    }
  }

  heal(): void {
    this.cut.clear()
  }

  /** Waits until all running members have applied the same entries, at least up to `index`. */
  async converge(index: number, ms = 30_000): Promise<boolean> {
    return this.clock.until(() => {
      const running = this.members.filter((member) => member.node !== undefined)
      return running.every((member) => member.status!.appliedIndex >= index)
    }, ms)
  }

  send(from: Member, to: string, message: RaftMessage): void {
    const target = this.members.find((member) => member.id === to)
    if (target === undefined || this.cut.has(`${from.id}>${to}`) || this.random.next() < (this.options.loss ?? 0))
      return
    const bytes = encode(raftMessage, this.tamper(message))
    const copies = this.random.next() < (this.options.duplication ?? 0) ? 2 : 1
    for (let i = 0; i < copies; i++) {
      this.clock.schedule(this.roundTripMs / 2 + 0.2 + this.random.next() * 3, () => {
        const decoded = decode(raftMessage, bytes)
        if (!isRaftLinkMessage(decoded) && !isPageMessage(decoded)) target.node?.receive(from.id, decoded)
      })
    }
  }

  close(): Promise<void> {
    const closing = Promise.all(this.members.map(async (member) => member.node?.close()))
    let closed = false
    void closing.then(() => (closed = true))
    return this.clock.until(() => closed).then(() => undefined)
  }
}

/** A node of a `Cluster` that can crash. */
export class Member {
  node: RaftNode | undefined
  disk: MemoryDisk
  fatal: Error | undefined
  /** The entries that this incarnation has applied. */
  applied: Entry[] = []
  changes: RaftStatus[] = []
  readonly snapshots = new MemberSnapshots((entries) => (this.applied = entries))
  /** Started, even if its log is still being read. */
  running = false
  private incarnation = 0

  constructor(
    private readonly cluster: Cluster,
    readonly id: string,
    /** The first voters; undefined for a node that joins. */
    readonly founders: string[] | undefined
  ) {
    const { clock, random } = cluster
    const schedule = clock.schedule.bind(clock)
    this.disk = createMemoryDisk({ schedule, latencyMs: () => 0.1 + random.next() })
  }

  get status(): RaftStatus | undefined {
    return this.node?.status()
  }

  /** Texts of the applied `normal` entries. */
  get texts(): string[] {
    return this.applied.filter(({ kind }) => kind === 'normal').map(({ data }) => toString(data))
  }

  async start(): Promise<void> {
    const incarnation = ++this.incarnation
    this.running = true
    const { cluster } = this
    const { limits, segmentBytes = 64 * 1024, snapshotEvery, tickMs } = cluster.options
    // The state machine is lost with the process, apart from its newest snapshot.
    this.applied = [...this.snapshots.entries]
    const { founders } = this
    const create: LogCreation =
      founders === undefined
        ? { join: true }
        : { bootstrap: { voters: founders, learners: [], context: new Uint8Array(0) } }
    const alive = (): boolean => incarnation === this.incarnation
    const clock = this.mortalClock(alive)
    const log = await createSegmentedLog({ disk: this.disk, segmentBytes, cacheBytes: 4096, create, clock })
    if (!alive()) return
    this.node = createRaftNode(
      {
        clock,
        random: cluster.random,
        transport: { send: (to, message) => alive() && cluster.send(this, to, message) },
        log,
        application: {
          appliedIndex: this.snapshots.newest?.index ?? 0,
          snapshots: snapshotEvery === undefined ? undefined : this.snapshots,
          apply: (entries) => this.apply(entries),
          onChange: (status) => this.changed(status),
          onFatal: (error) => (this.fatal = error)
        }
      },
      { id: this.id, limits, ...(tickMs !== undefined && { tickMs }) }
    )
  }

  /** Simulates a power loss: memory is lost, and unfinished writes are kept as the disk pleases. */
  crash(): void {
    this.incarnation++
    this.running = false
    this.node = undefined
    this.disk = this.disk.crash(() => this.cluster.random.next())
  }

  propose(text: string): number {
    return this.node!.propose(fromString(text)).index
  }

  private apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const expected = (this.applied.at(-1)?.index ?? 0) + 1
      if (entry.index !== expected) throw new Error(`${this.id} was given ${entry.index} instead of ${expected}`)
      const value = `${entry.term}:${entry.kind}:${toString(entry.data, 'base64')}`
      const chosen = this.cluster.chosen.get(entry.index) ?? value
      if (chosen !== value) throw new Error(`two entries at ${entry.index}: ${chosen} and ${value}`)
      this.cluster.chosen.set(entry.index, chosen)
      this.applied.push(entry)
      if (entry.kind !== 'config') continue
      const [, tickMs] = /^tick (.*)$/.exec(toString(decode(raftConfiguration, entry.data).context)) ?? []
      if (tickMs !== undefined) this.node!.setTickMs(Number(tickMs))
    }
    const { snapshotEvery } = this.cluster.options
    const last = this.applied.length
    if (snapshotEvery === undefined || last - (this.snapshots.newest?.index ?? 0) < snapshotEvery) return
    // Acts once the node knows that the entry is applied.
    const { node } = this
    this.cluster.clock.schedule(1, () => {
      if (node === undefined || node !== this.node || this.applied.length < last) return
      this.snapshots.take(node.snapshotMeta(last), this.applied)
      node.snapshotTaken(this.snapshots.newest!)
    })
  }

  private changed(status: RaftStatus): void {
    this.changes.push(status)
    if (status.role !== 'leader') return
    const known = this.cluster.leaders.get(status.term) ?? this.id
    if (known !== this.id) throw new Error(`two leaders in ${status.term}: ${known} and ${this.id}`)
    this.cluster.leaders.set(status.term, this.id)
  }

  /** Timers of a dead node do nothing. */
  private mortalClock(alive: () => boolean): Clock {
    const { clock } = this.cluster
    return {
      now: () => clock.now(),
      wallTime: () => clock.wallTime(),
      schedule: (delayMs, callback) => clock.schedule(delayMs, () => alive() && callback())
    }
  }
}
