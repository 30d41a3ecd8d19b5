import type { RaftPort } from './raft-port.js'

type Waiter = (confirmed: boolean) => void
type Waiters = Map<object, Waiter[]>

/**
 * Quorum rounds, shared: whoever asks while one is under way waits for the next, because a round confirms the leader only
 * for what arrived before it began. Without a majority a round takes as long as the leadership, so a caller says on whose
 * behalf it asks: what an owner may ask at a time is bounded, and an owner that has gone is forgotten.
 */
export class QuorumRounds {
  private waiting: Waiters = new Map()
  /** Those of the round that is under way. */
  private asked: Waiters | undefined
  private stopped = false

  constructor(private readonly raft: Pick<RaftPort, 'readIndex'>) {}

  /**
   * `waiter` is called once, never inside this call: true when a majority confirmed that this node leads and its state is current.
   * It is not called any more after `forget`.
   */
  confirm(owner: object, waiter: Waiter): void {
    const waiters = this.waiting.get(owner)
    if (waiters === undefined) this.waiting.set(owner, [waiter])
    else waiters.push(waiter)
    if (this.asked === undefined && !this.stopped) this.run()
  }

  forget(owner: object): void {
    this.waiting.delete(owner)
    this.asked?.delete(owner)
  }

  /** Nobody is called any more. */
  stop(): void {
    this.stopped = true
    this.waiting.clear()
    this.asked?.clear()
  }

  /** Owners that wait. */
  get size(): number {
    return new Set([...this.waiting.keys(), ...(this.asked?.keys() ?? [])]).size
  }

  private run(): void {
    const asked = this.waiting
    this.asked = asked
    this.waiting = new Map()
    this.raft.readIndex().then(
      () => this.finished(asked, true),
      () => this.finished(asked, false)
    )
  }

  private finished(asked: Waiters, confirmed: boolean): void {
    for (const waiters of asked.values()) {
      for (const waiter of waiters) if (!this.stopped) waiter(confirmed)
    }
    this.asked = undefined
    if (this.waiting.size > 0 && !this.stopped) this.run()
  }
}
