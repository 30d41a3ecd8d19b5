/** The receiving side of `BulkWindow`: counts what has come on a bulk stream and says so, not with every frame. */
import type { Clock } from './env.js'
import { DEFAULT_PAGE_BYTES } from './limits.js'

/**
 * Received bytes that are acknowledged at once: one page while the sender's window is small, and more when it has had time
 * to grow, since each receipt costs a message and lets as much leave as it names.
 */
const MIN_RECEIPT_BYTES = DEFAULT_PAGE_BYTES
const MAX_RECEIPT_BYTES = 64 * 1024
const RECEIPT_SHARE = 1 / 4
/** Fewer are acknowledged after this time: a small part of any delay that `BulkWindow` allows. */
const RECEIPT_DELAY_MS = 20
/** A frame arrives without the field that holds its length. */
const LENGTH_BYTES = 4

export class BulkReceipts {
  private received = 0
  private told = 0
  private cancel: (() => void) | undefined

  constructor(
    private readonly clock: Pick<Clock, 'schedule'>,
    /** Sends the number of all bytes that have come. */
    private readonly tell: (bytes: number) => void
  ) {}

  /** A frame has come; `frameBytes` is what `onFrame` hands over. */
  arrived(frameBytes: number): void {
    this.received += frameBytes + LENGTH_BYTES
    const receiptBytes = Math.min(MAX_RECEIPT_BYTES, Math.max(MIN_RECEIPT_BYTES, this.received * RECEIPT_SHARE))
    if (this.received - this.told >= receiptBytes) return this.tellNow()
    this.cancel ??= this.clock.schedule(RECEIPT_DELAY_MS, () => this.tellNow())
  }

  /** Nothing is told any more. */
  stop(): void {
    this.cancel?.()
    this.cancel = undefined
  }

  private tellNow(): void {
    this.stop()
    this.told = this.received
    this.tell(this.received)
  }
}
