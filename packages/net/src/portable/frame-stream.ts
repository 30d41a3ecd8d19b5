/**
 * Frames over a libp2p stream.
 *
 * libp2p's streams carry bytes and encrypt, frame and write every `send` by itself, so a small message costs as much as a
 * large one. Frames that are queued in one turn of the event loop are therefore joined and leave together.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { FrameCutter, type FrameStream } from '@quire/protocol'
import { SendQueueFullError, StreamBrokenError } from './errors.js'
import type { EventLoop } from './event-loop.js'
import { messageOf } from './failures.js'

/** Queued bytes from which `send` returns false. */
export const HIGH_WATER_BYTES = 256 * 1024
/** Queued bytes below which `onDrain` follows a false. */
export const LOW_WATER_BYTES = 64 * 1024
/** Queued bytes above which the stream is aborted with {@link SendQueueFullError}: its user did not heed `false`. */
export const MAX_QUEUED_BYTES = 8 * 1024 * 1024
/** Bytes joined into one send; four of Noise's packets. */
const BATCH_BYTES = 256 * 1024
/** How long an orderly close waits for what is queued and for the remote before it becomes an abort. */
const CLOSE_TIMEOUT_MS = 5_000

export interface FrameStreamInit {
  readonly eventLoop: EventLoop
  readonly stream: Stream
  /** The remote's PeerId as text. */
  readonly remote: string
  readonly maxFrameBytes: number
  /** Told when `onClose` itself throws; there is nobody left to tell. */
  readonly onError?: (error: unknown) => void
}

/**
 * Wraps an open libp2p stream. Nothing is delivered before `onFrame` is set: libp2p keeps what arrives until then
 * (4 MiB at most), and a close that came earlier is reported afterwards. Handlers are never called inside the call that sets them,
 * nor inside `send`, `close` or `abort`.
 */
export function createFrameStream(init: FrameStreamInit): FrameStream {
  return new Libp2pFrameStream(init)
}

const ignore = (): void => {}

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
  /** `send` returned false and `onDrain` is owed. */
  private drainOwed = false
  private listening = false
  /** Set by `close`: no frame is taken or delivered any more. */
  private closing = false
  private remoteEnded = false
  /** Set when the stream is over; `reason` is then final. */
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
    // libp2p delivers what has arrived meanwhile in a microtask; a close that is known already comes after it.
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

  /** Bytes that this stream and libp2p's stream hold and have not handed to the connection. */
  private bufferedBytes(): number {
    return this.queuedBytes + this.stream.writeBufferLength
  }

  private scheduleFlush(): void {
    if (this.flushScheduled || this.stream.writableNeedsDrain) return
    this.flushScheduled = true
    // Promise continuations that are ready now run first, so that what many waiters send in one turn leaves together.
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

  /** The next frames of the queue, joined, up to BATCH_BYTES or one larger frame. */
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
    // libp2p sends what its own stream holds in a microtask; ours follows it.
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

  /** The remote sends no more. A frame cut in half is a broken stream; otherwise this side sends what it has and closes, too. */
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
    // Two microtasks: frames that libp2p held before `onFrame` was set are delivered in the first.
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

  /** Whatever a handler throws ends this stream and nothing else. */
  private guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.abort(error instanceof Error ? error : new StreamBrokenError(this.remote, String(error), { cause: error }))
    }
  }
}
