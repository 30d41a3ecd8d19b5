import type { RaftPort } from './raft-port.js'

type Waiter = (confirmed: boolean) => void
type Waiters = Map<object, Waiter[]>

/**
 * Shares quorum rounds among callers.
 *
 * A caller that asks during a round waits for the next one, because a round confirms the leader only for requests that
 * arrived before it began. Without a majority, a round can last until the term ends. So each caller names an owner,
 * such as a connection: the owner's limits bound its waiters, and `forget` drops them when the owner is gone.
 */
export class QuorumRounds {
  private waiting: Waiters = new Map()
  /** The waiters of the round that is under way. */
  private asked: Waiters | undefined
  private stopped = false

  constructor(private readonly raft: Pick<RaftPort, 'readIndex'>) {}

  /**
   * Calls `waiter` once, after this call has returned: with true if a majority has confirmed that this node leads and
   * its state is current. After `forget` or `stop`, it does not call `waiter`.
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

  /** Calls no waiter from now on. */
  stop(): void {
    this.stopped = true
    this.waiting.clear()
    this.asked?.clear()
  }

  /** The number of owners with waiters. */
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
