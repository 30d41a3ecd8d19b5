import { TransferFailedError, type NotLeaderError } from './errors.js'

/** A caller of `transferLeadership` that waits for the outcome. */
export interface PendingTransfer {
  readonly to: string
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** The part of the core's state that decides the outcome. */
interface LeadershipView {
  readonly id: string
  readonly leader: string | undefined
  /** The node that leadership is being transferred to. */
  readonly target: string | undefined
}

/**
 * Settles calls of `transferLeadership`.
 *
 * A call resolves when another node leads. It rejects when this node leads and the transfer has ended, or when this
 * node has stepped down and hears of no leader for `timeoutTicks`.
 */
export class PendingTransfers {
  private pending: PendingTransfer[] = []
  private ticksWithoutLeader = 0

  constructor(private readonly timeoutTicks: number) {}

  add(to: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.pending.push({ to, resolve, reject })
    })
  }

  tick(): void {
    if (this.pending.length > 0) this.ticksWithoutLeader++
  }

  update({ id, leader, target }: LeadershipView): void {
    if (this.pending.length === 0) return
    if (leader === id) this.ticksWithoutLeader = 0
    const hasTimedOut = this.ticksWithoutLeader >= this.timeoutTicks
    this.pending = this.pending.filter(({ to, resolve, reject }) => {
      if (leader !== undefined && leader !== id) resolve()
      else if (hasTimedOut || (leader === id && target !== to)) reject(new TransferFailedError(to))
      else return true
      return false
    })
    if (this.pending.length === 0) this.ticksWithoutLeader = 0
  }

  rejectAll(error: () => NotLeaderError): void {
    for (const { reject } of this.pending.splice(0)) reject(error())
  }
}
