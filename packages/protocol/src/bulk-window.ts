/**
 * Congestion control for a bulk stream.
 *
 * Both streams of a connection share one TCP connection, so a keep-alive waits behind every page byte in the buffers
 * below it. Those buffers hold megabytes and report nothing. Therefore the receiver acknowledges what it has received
 * (`bulkReceived`), and the sender measures how long its frames take. The window shrinks to what the line carries in
 * the allowed time, and grows while frames arrive sooner. This follows LEDBAT (RFC 6817), with a limit on the base
 * delay: a line that another client fills looks like a long line.
 */
import { DEFAULT_PAGE_BYTES } from './limits.js'
import { bulkDelays } from './timing.js'

/**
 * The first window holds one frame with one page of the default size, because the line may be so slow that more would
 * take seconds. On a fast line the window doubles with every round trip.
 */
const INITIAL_BYTES = DEFAULT_PAGE_BYTES + 128

/** A run takes at most this part of the window, so that the line is not idle while a receipt travels. */
const RUNS_IN_FLIGHT = 4

/** Returns how many page bytes a frame of several pages may have, if `windowBytes` may be in flight. */
export function bulkRunBytes(windowBytes: number): number {
  return windowBytes / RUNS_IN_FLIGHT
}

interface SentFrame {
  /** Bytes sent on the stream up to the end of this frame. */
  readonly end: number
  readonly at: number
  /** Bytes in flight when the frame left, including its own. */
  readonly inFlight: number
}

/** Limits the bytes of a bulk stream that are in flight. */
export class BulkWindow {
  private window = INITIAL_BYTES
  private sent = 0
  private received = 0
  private frames: SentFrame[] = []
  private baseMs = Infinity
  /** The time of the last shrink. The delay of an earlier frame reflects the old window. */
  private shrunkAt = -Infinity
  private readonly limits: ReturnType<typeof bulkDelays>

  /** `ttlMs` is the session's time to live. A keep-alive must be answered well within it. */
  constructor(ttlMs: number) {
    this.limits = bulkDelays(ttlMs)
  }

  get bytes(): number {
    return this.window
  }

  /** Bytes that the sender has sent and the receiver has not acknowledged. */
  get inFlight(): number {
    return this.sent - this.received
  }

  /** Returns true if a frame may leave now. With nothing in flight any frame may leave, however small the window is. */
  hasRoom(frameBytes: number): boolean {
    return this.inFlight === 0 || this.inFlight + frameBytes <= this.window
  }

  /** The sender calls this for each frame that it hands to the stream at `now`. */
  left(frameBytes: number, now: number): void {
    this.sent += frameBytes
    this.frames.push({ end: this.sent, at: now, inFlight: this.inFlight })
  }

  /**
   * The sender calls this for each receipt: the receiver has `total` bytes. Returns false if that is more than was sent
   * or less than was acknowledged before.
   */
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
      // The line carries `inFlight` bytes in `delayMs`.
      this.window = Math.min(this.window, Math.floor((inFlight * limitMs) / delayMs))
      this.shrunkAt = now
    } else if (delayMs <= base + queueMs / 2 && inFlight * 2 > this.window) {
      this.window += bytes
    }
  }
}
