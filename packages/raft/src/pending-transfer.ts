import { TransferFailedError, type NotLeaderError } from './errors.js'

/** A caller of `transferLeadership` who waits for what becomes of it. */
export interface PendingTransfer {
  readonly to: string
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** What the driver sees of the core. */
interface View {
  readonly id: string
  readonly leader: string | undefined
  /** To whom leadership is on its way. */
  readonly target: string | undefined
}

/**
 * Settles transfers: done when another leader is known, failed when this node leads on without one. A node that leads no more waits for a
 * leader to show up, for `patienceTicks` at most.
 */
export class PendingTransfers {
  private pending: PendingTransfer[] = []
  private ticksWithoutLeader = 0

  constructor(private readonly patienceTicks: number) {}

  add(to: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.pending.push({ to, resolve, reject })
    })
  }

  tick(): void {
    if (this.pending.length > 0) this.ticksWithoutLeader++
  }

  update({ id, leader, target }: View): void {
    if (this.pending.length === 0) return
    if (leader === id) this.ticksWithoutLeader = 0
    const isGivenUp = this.ticksWithoutLeader >= this.patienceTicks
    this.pending = this.pending.filter(({ to, resolve, reject }) => {
      if (leader !== undefined && leader !== id) resolve()
      else if (isGivenUp || (leader === id && target !== to)) reject(new TransferFailedError(to))
      else return true
      return false
    })
    if (this.pending.length === 0) this.ticksWithoutLeader = 0
  }

  rejectAll(error: () => NotLeaderError): void {
    for (const { reject } of this.pending.splice(0)) reject(error())
  }
}
