/**
 * How many bytes of a bulk stream may be on their way. Pure: times come in.
 *
 * Both streams of a connection share one TCP connection, so a keep-alive waits behind every page byte in the buffers below
 * it. Those buffers hold megabytes and report nothing; the receiver therefore acknowledges what it has received
 * (`bulkReceived`), and the sender measures how long its frames take. The window shrinks to what the line carries in the
 * time allowed, and grows while frames arrive sooner than that (as in LEDBAT, RFC 6817, with a bound on the base delay,
 * because a line that another client fills looks like a long one).
 */
import { DEFAULT_PAGE_BYTES } from './limits.js'
import { bulkDelays } from './timing.js'

/**
 * The first window holds one frame with one page of the default size: nothing is known of the line yet, and a thin one takes
 * seconds for more. On a fast line the window doubles with every round trip.
 */
const INITIAL_BYTES = DEFAULT_PAGE_BYTES + 128

interface SentFrame {
  /** Bytes sent on the stream, this frame included. */
  readonly end: number
  readonly at: number
  /** Bytes on their way when it left, its own included. */
  readonly inFlight: number
}

export class BulkWindow {
  private window = INITIAL_BYTES
  private sent = 0
  private received = 0
  private frames: SentFrame[] = []
  private baseMs = Infinity
  /** Frames sent before this moment were delayed by a window that is no more. */
  private shrunkAt = -Infinity
  private readonly limits: ReturnType<typeof bulkDelays>

  /** `ttlMs` is the session's: a keep-alive must be answered well within it. */
  constructor(ttlMs: number) {
    this.limits = bulkDelays(ttlMs)
  }

  get bytes(): number {
    return this.window
  }

  /** Bytes that were sent and that the receiver has not acknowledged. */
  get inFlight(): number {
    return this.sent - this.received
  }

  /** Whether a frame may leave now. One goes alone when nothing is on its way, however small the window. */
  hasRoom(frameBytes: number): boolean {
    return this.inFlight === 0 || this.inFlight + frameBytes <= this.window
  }

  left(frameBytes: number, now: number): void {
    this.sent += frameBytes
    this.frames.push({ end: this.sent, at: now, inFlight: this.inFlight })
  }

  /** The receiver has `total` bytes. False if it claims more than was sent, or takes something back. */
  acknowledged(total: number, now: number): boolean {
    if (total < this.received || total > this.sent) return false
    let newest: SentFrame | undefined
    let count = 0
    while (count < this.frames.length && this.frames[count]!.end <= total) newest = this.frames[count++]
    this.frames.splice(0, count)
    const bytes = total - this.received
    this.received = total
    if (newest !== undefined) this.adapt(newest, bytes, now)
    return true
  }

  private adapt({ at, inFlight }: SentFrame, bytes: number, now: number): void {
    const { queueMs, baseMs } = this.limits
    const delayMs = now - at
    this.baseMs = Math.min(this.baseMs, delayMs)
    const base = Math.min(this.baseMs, baseMs)
    const limitMs = base + queueMs
    if (delayMs > limitMs) {
      if (at < this.shrunkAt) return
      // The line has carried `inFlight` bytes in `delayMs`.
      this.window = Math.min(this.window, Math.floor((inFlight * limitMs) / delayMs))
      this.shrunkAt = now
    } else if (delayMs <= base + queueMs / 2 && inFlight * 2 > this.window) {
      this.window += bytes
    }
  }
}
