/**
 * Frames over a libp2p stream.
 *
 * libp2p's streams carry bytes. They encrypt, frame and write each `send` separately, so a small message costs as much
 * as a large one. This stream therefore joins the frames that are queued in one turn of the event loop into one `send`.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { FrameCutter, type FrameStream } from '@quire/protocol'
import { SendQueueFullError, StreamBrokenError } from './errors.js'
import type { EventLoop } from './event-loop.js'
import { messageOf } from './failures.js'

/** `send` returns false when this many bytes are queued. */
const HIGH_WATER_BYTES = 256 * 1024
/** After a false, `onDrain` follows once no more than this many bytes are queued. */
const LOW_WATER_BYTES = 64 * 1024
/** Above this many queued bytes the stream aborts with {@link SendQueueFullError}: the caller has ignored a false. */
export const MAX_QUEUED_BYTES = 8 * 1024 * 1024
/** Limit of bytes joined into one send: four Noise packets. */
const BATCH_BYTES = 256 * 1024
/** An orderly close sends the queue and waits for the remote this long before it becomes an abort. */
const CLOSE_TIMEOUT_MS = 5_000

export interface FrameStreamInit {
  readonly eventLoop: EventLoop
  readonly stream: Stream
  /** The remote's PeerId as text. */
  readonly remote: string
  readonly maxFrameBytes: number
  /** Called if `onClose` itself throws, since no other handler is left. */
  readonly onError?: (error: unknown) => void
}

/**
 * Wraps an open libp2p stream. Delivery starts when `onFrame` is set: until then libp2p buffers what arrives (4 MiB at
 * most), and the report of a close waits. The stream never calls a handler inside the call that sets it, nor inside
 * `send`, `close` or `abort`.
 */
export function createFrameStream(init: FrameStreamInit): FrameStream {
  return new Libp2pFrameStream(init)
}

const ignore = (): void => {}

/** Adapts a libp2p stream to {@link FrameStream}. */
class Libp2pFrameStream implements FrameStream {
  readonly remote: string
  onDrain: () => void = ignore

  private readonly eventLoop: EventLoop
  private readonly stream: Stream
  private readonly cutter: FrameCutter
  private readonly onError: (error: unknown) => void
  private frameHandler: (frame: Uint8Array) => void = ignore
  private closeHandler: ((reason?: Error) => void) | undefined

  private queue: Uint8Array[] = []
  private queuedBytes = 0
  private flushScheduled = false
  /** `send` has returned false, and `onDrain` has not followed yet. */
  private drainOwed = false
  private listening = false
  /** Set by `close`. From then on the stream neither accepts nor delivers frames. */
  private closing = false
  private remoteEnded = false
  /** Set once when the stream has ended. */
  private ended: { readonly reason: Error | undefined } | undefined
  private closeReported = false
  private cancelCloseTimeout = ignore

  constructor(init: FrameStreamInit) {
    this.eventLoop = init.eventLoop
    this.stream = init.stream
    this.remote = init.remote
    this.cutter = new FrameCutter(init.maxFrameBytes)
    this.onError = init.onError ?? ignore
    this.stream.addEventListener('drain', () => this.drained())
    this.stream.addEventListener('remoteCloseWrite', () => this.remoteClosed())
    this.stream.addEventListener('close', (event) => this.streamClosed(event))
    if (this.stream.remoteWriteStatus === 'closed') this.remoteClosed()
    if (this.stream.status !== 'open') this.end(new StreamBrokenError(this.remote, `it was ${this.stream.status}`))
  }

  get onFrame(): (frame: Uint8Array) => void {
    return this.frameHandler
  }

  set onFrame(handler: (frame: Uint8Array) => void) {
    this.frameHandler = handler
    if (this.listening) return
    this.listening = true
    // libp2p delivers the buffered bytes in a microtask. A close that has already arrived must follow them.
    this.stream.addEventListener('message', (event) => this.received(event))
    if (this.remoteEnded) queueMicrotask(() => queueMicrotask(() => this.remoteClosed()))
  }

  get onClose(): (reason?: Error) => void {
    return this.closeHandler ?? ignore
  }

  set onClose(handler: (reason?: Error) => void) {
    this.closeHandler = handler
    if (this.ended !== undefined) this.reportClose()
  }

  send(frame: Uint8Array): boolean {
    if (this.closing || this.ended !== undefined) return false
    this.queue.push(frame)
    this.queuedBytes += frame.length
    const bufferedBytes = this.bufferedBytes()
    if (bufferedBytes > MAX_QUEUED_BYTES) {
      this.abort(new SendQueueFullError(this.remote, bufferedBytes, MAX_QUEUED_BYTES))
      return false
    }
    this.scheduleFlush()
    if (bufferedBytes >= HIGH_WATER_BYTES) this.drainOwed = true
    return !this.drainOwed
  }

  close(): void {
    if (this.closing || this.ended !== undefined) return
    this.closing = true
    this.cancelCloseTimeout = this.eventLoop.scheduleInBackground(CLOSE_TIMEOUT_MS, () => {
      this.abort(new StreamBrokenError(this.remote, `not closed by the remote within ${CLOSE_TIMEOUT_MS} ms`))
    })
    this.scheduleFlush()
  }

  abort(reason: Error): void {
    if (this.ended !== undefined) return
    this.end(reason)
    this.stream.abort(reason)
  }

  /** Bytes that this stream and libp2p's stream have not yet handed to the connection. */
  private bufferedBytes(): number {
    return this.queuedBytes + this.stream.writeBufferLength
  }

  private scheduleFlush(): void {
    if (this.flushScheduled || this.stream.writableNeedsDrain) return
    this.flushScheduled = true
    // Promise continuations that are ready now run first, so the frames of many waiters leave together.
    this.eventLoop.atEndOfTurn(() => this.flush())
  }

  private flush(): void {
    this.flushScheduled = false
    while (this.ended === undefined && this.queue.length > 0 && !this.stream.writableNeedsDrain) {
      try {
        this.stream.send(this.takeBatch())
      } catch (error) {
        this.abort(new StreamBrokenError(this.remote, messageOf(error), { cause: error }))
        return
      }
    }
    if (this.ended !== undefined) return
    if (this.closing && this.queue.length === 0) this.closeStream()
    if (this.drainOwed && this.bufferedBytes() <= LOW_WATER_BYTES) {
      this.drainOwed = false
      this.guard(() => this.onDrain())
    }
  }

  /** Takes frames from the queue and joins them: up to BATCH_BYTES, or one larger frame. */
  private takeBatch(): Uint8Array {
    const first = this.queue[0]!
    let count = 1
    let bytes = first.length
    while (count < this.queue.length && bytes + this.queue[count]!.length <= BATCH_BYTES) {
      bytes += this.queue[count++]!.length
    }
    this.queuedBytes -= bytes
    if (count === 1) {
      this.queue.shift()
      return first
    }
    const batch = new Uint8Array(bytes)
    let offset = 0
    for (const frame of this.queue.splice(0, count)) {
      batch.set(frame, offset)
      offset += frame.length
    }
    return batch
  }

  private drained(): void {
    // libp2p sends the rest of its own buffer in a microtask. This stream's queue must follow it.
    queueMicrotask(() => {
      if (this.ended === undefined && (this.queue.length > 0 || this.drainOwed)) this.scheduleFlush()
    })
  }

  private received(event: StreamMessageEvent): void {
    this.guard(() => {
      if (this.closing || this.ended !== undefined) return
      const chunk = event.data
      for (const frame of this.cutter.push(chunk instanceof Uint8Array ? chunk : chunk.subarray())) {
        this.frameHandler(frame)
        if (this.closing || this.ended !== undefined) return
      }
    })
  }

  /**
   * The remote has closed its side. An incomplete frame breaks the stream; otherwise this side sends its queue and
   * closes.
   */
  private remoteClosed(): void {
    this.remoteEnded = true
    if (!this.listening || this.ended !== undefined) return
    if (!this.closing && this.cutter.bufferedBytes > 0) {
      this.abort(new StreamBrokenError(this.remote, 'it ended inside a frame'))
      return
    }
    this.close()
  }

  private closeStream(): void {
    const signal = AbortSignal.timeout(CLOSE_TIMEOUT_MS)
    this.stream.close({ signal }).catch((error: unknown) => {
      this.abort(new StreamBrokenError(this.remote, messageOf(error), { cause: error }))
    })
  }

  private streamClosed(event: StreamCloseEvent): void {
    const orderly = event.error === undefined && (this.remoteEnded || this.closing)
    if (orderly) {
      this.end(undefined)
      return
    }
    const reason = event.error === undefined ? 'the connection closed' : messageOf(event.error)
    this.end(new StreamBrokenError(this.remote, reason, { cause: event.error }))
  }

  private end(reason: Error | undefined): void {
    if (this.ended !== undefined) return
    this.ended = { reason }
    this.cancelCloseTimeout()
    this.queue = []
    this.queuedBytes = 0
    if (this.closeHandler !== undefined) this.reportClose()
  }

  private reportClose(): void {
    // Two microtasks, because libp2p delivers the frames that it buffered before `onFrame` was set in the first.
    queueMicrotask(() => {
      queueMicrotask(() => {
        if (this.closeReported) return
        this.closeReported = true
        try {
          this.closeHandler?.(this.ended?.reason)
        } catch (error) {
          this.onError(error)
        }
      })
    })
  }

  /** Runs a handler. An error that it throws aborts this stream only. */
  private guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.abort(error instanceof Error ? error : new StreamBrokenError(this.remote, String(error), { cause: error }))
    }
  }
}
