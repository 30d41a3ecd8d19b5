import { BackPressureError } from './errors.js'

interface PendingRead {
  readonly resolve: (index: number) => void
  readonly reject: (error: Error) => void
}

/**
 * Settles calls of `readIndex`.
 *
 * A call waits for its quorum round, and then until the state machine has applied its index.
 */
export class PendingReads {
  private readonly unconfirmed = new Map<number, PendingRead>()
  /** In the order of `index`, which never falls. */
  private confirmed: { index: number; read: PendingRead }[] = []
  private lastContext = 0

  constructor(private readonly limit: number) {}

  /** `start` requests a quorum round from the core. */
  add(start: (context: number) => void): Promise<number> {
    const used = this.unconfirmed.size + this.confirmed.length
    if (used >= this.limit) return Promise.reject(new BackPressureError('reads', used, this.limit))
    const context = ++this.lastContext
    return new Promise((resolve, reject) => {
      this.unconfirmed.set(context, { resolve, reject })
      start(context)
    })
  }

  confirm(context: number, index: number): void {
    const read = this.unconfirmed.get(context)
    if (read === undefined) return
    this.unconfirmed.delete(context)
    this.confirmed.push({ index, read })
  }

  applied(index: number): void {
    let count = 0
    while (count < this.confirmed.length && this.confirmed[count]!.index <= index) {
      const { index: readIndex, read } = this.confirmed[count]!
      read.resolve(readIndex)
      count++
    }
    if (count > 0) this.confirmed.splice(0, count)
  }

  rejectAll(error: () => Error): void {
    const reads = [...this.unconfirmed.values(), ...this.confirmed.map(({ read }) => read)]
    this.unconfirmed.clear()
    this.confirmed = []
    for (const read of reads) read.reject(error())
  }
}
