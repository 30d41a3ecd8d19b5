import type { RaftPort } from './raft-port.js'

type Waiter = (confirmed: boolean) => void

/**
 * Quorum rounds, shared: whoever asks while one is under way waits for the next, because a round confirms the leader only
 * for what arrived before it began.
 */
export class QuorumRounds {
  private waiting: Waiter[] = []
  private running = false
  private stopped = false

  constructor(private readonly raft: Pick<RaftPort, 'readIndex'>) {}

  /** `waiter` is called once, never inside this call: true when a majority confirmed that this node leads and its state is current. */
  confirm(waiter: Waiter): void {
    this.waiting.push(waiter)
    if (!this.running && !this.stopped) this.run()
  }

  /** Nobody is called any more. */
  stop(): void {
    this.stopped = true
    this.waiting = []
  }

  private run(): void {
    this.running = true
    const waiters = this.waiting
    this.waiting = []
    this.raft.readIndex().then(
      () => this.finished(waiters, true),
      () => this.finished(waiters, false)
    )
  }

  private finished(waiters: readonly Waiter[], confirmed: boolean): void {
    this.running = false
    for (const waiter of waiters) if (!this.stopped) waiter(confirmed)
    if (this.waiting.length > 0 && !this.running && !this.stopped) this.run()
  }
}
