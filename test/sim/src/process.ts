import type { Clock } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Scheduler } from './scheduler.js'

export type EntryKind = 'timer' | 'io'

/** An entry that came while the process was stalled. */
interface StalledEntry {
  readonly kind: EntryKind
  readonly label: string
  readonly callback: () => void
}

/**
 * Runs one life of a node, under a clock of its own.
 *
 * `enter` is the only entry for everything that runs in the process. After `kill`, nothing that it started reaches it
 * or leaves it.
 */
export class SimProcess {
  alive = true
  /** When it last resumed after a stall; when it began, if it was never stalled. */
  runsSince: number
  readonly clock: Clock
  /** Converts a reading of its clock to true time, both in nanoseconds. */
  readonly trueNs: (clockNs: number) => number
  /** Called before anything runs in the process. */
  onEnter: () => void = () => {}
  private inbox: StalledEntry[] | undefined
  /** Entries of the inbox that have not run since it woke. */
  private unread = 0
  private readonly onEnd: (() => void)[] = []

  constructor(
    readonly name: string,
    private readonly scheduler: Scheduler,
    readonly random: RandomSource,
    /** The speed of its clock against true time. The clocks of two nodes differ by less than 1 %. */
    rate: number
  ) {
    this.runsSince = scheduler.now
    const offset = random.between(0, 1e9)
    const wall = 1.7e12 + random.between(-5000, 5000)
    this.clock = {
      now: () => offset + scheduler.instant() * rate,
      wallTime: () => wall + scheduler.now,
      schedule: (delayMs, callback) => {
        // Timers fire late, never early.
        const delay = Math.max(0, delayMs) / rate + random.between(0, 1)
        return this.after('timer', delay, `${name} timer`, callback)
      }
    }
    this.trueNs = (clockNs) => Math.round(((clockNs / 1e6 - offset) / rate) * 1e6)
  }

  get stalled(): boolean {
    return this.inbox !== undefined
  }

  /** The process is not stalled, and has handled everything that arrived during its last stall. */
  get isAwake(): boolean {
    return this.inbox === undefined && this.unread === 0
  }

  /** Runs `callback` in this process after `delayMs` of true time. The returned function cancels it. */
  after(kind: EntryKind, delayMs: number, label: string, callback: () => void): () => void {
    let wanted = true
    const run = (): void => {
      if (wanted) callback()
    }
    const cancel = this.scheduler.after(delayMs, label, () => this.enter(kind, label, run))
    return () => {
      wanted = false
      cancel()
    }
  }

  /** Runs `callback` in this process: now, or when it wakes; never after it was killed. */
  enter(kind: EntryKind, label: string, callback: () => void): void {
    if (!this.alive) return
    if (this.inbox === undefined) {
      this.onEnter()
      callback()
    } else this.inbox.push({ kind, label, callback })
  }

  /**
   * Stops the process for a while, as SIGSTOP or a pause of its machine does. It then finds everything that arrived
   * meanwhile.
   */
  stall(ms: number): void {
    if (!this.alive || this.inbox !== undefined) return
    this.inbox = []
    this.scheduler.after(ms, `${this.name} wakes`, () => {
      const inbox = this.inbox ?? []
      this.inbox = undefined
      this.runsSince = this.scheduler.now
      // An event loop that wakes may look at its timers or at its sockets first.
      const first: EntryKind = this.random.is(0.5) ? 'timer' : 'io'
      const ordered = [...inbox.filter(({ kind }) => kind === first), ...inbox.filter(({ kind }) => kind !== first)]
      this.unread += ordered.length
      for (const { kind, label, callback } of ordered) {
        this.scheduler.after(0, label, () => {
          this.unread--
          this.enter(kind, label, callback)
        })
      }
    })
  }

  onKilled(callback: () => void): void {
    this.onEnd.push(callback)
  }

  kill(): void {
    if (!this.alive) return
    this.alive = false
    this.inbox = undefined
    for (const callback of this.onEnd) callback()
  }
}
