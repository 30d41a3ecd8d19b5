/** The receiving side of `BulkWindow`. */
import type { Clock } from './env.js'
import { DEFAULT_PAGE_BYTES } from './limits.js'

/**
 * The receiver acknowledges this many bytes at once: one page while the sender's window is small, and more once the
 * window has had time to grow. Each receipt costs a message, and allows the sender to send as many bytes as it
 * acknowledges.
 */
const MIN_RECEIPT_BYTES = DEFAULT_PAGE_BYTES
const MAX_RECEIPT_BYTES = 64 * 1024
const RECEIPT_SHARE = 1 / 4
/**
 * The receiver acknowledges fewer bytes after this time, which is a small part of any delay that `BulkWindow` allows.
 */
const RECEIPT_DELAY_MS = 20
/** The length field, which `onFrame` does not deliver. */
const LENGTH_BYTES = 4

/** Acknowledges the bytes that arrive on a bulk stream, several frames at a time. */
export class BulkReceipts {
  private received = 0
  private acknowledged = 0
  private cancel: (() => void) | undefined

  constructor(
    private readonly clock: Pick<Clock, 'schedule'>,
    /** Called with the number of all bytes received on the stream so far. It sends the receipt, and must not block. */
    private readonly send: (bytes: number) => void
  ) {}

  /** The driver calls this for each frame, with the length that `onFrame` delivers. */
  arrived(frameBytes: number): void {
    this.received += frameBytes + LENGTH_BYTES
    const receiptBytes = Math.min(MAX_RECEIPT_BYTES, Math.max(MIN_RECEIPT_BYTES, this.received * RECEIPT_SHARE))
    if (this.received - this.acknowledged >= receiptBytes) return this.acknowledge()
    this.cancel ??= this.clock.schedule(RECEIPT_DELAY_MS, () => this.acknowledge())
  }

  /** Cancels the pending receipt. The driver calls this when the stream has closed. */
  stop(): void {
    this.cancel?.()
    this.cancel = undefined
  }

  private acknowledge(): void {
    this.stop()
    this.acknowledged = this.received
    this.send(this.received)
  }
}
