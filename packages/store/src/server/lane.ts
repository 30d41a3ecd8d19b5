import {
  encodeFrame,
  leaderMessage,
  type BulkWindow,
  type Clock,
  type FrameStream,
  type LeaderMessage
} from '@quire/protocol'

/** The bytes that wait in all lanes of a leadership. */
export interface OutgoingBytes {
  total: number
}

/**
 * Queues the outgoing frames of one stream.
 *
 * A frame leaves when the stream accepts it and, on bulk, the window has room.
 */
export class LaneQueue {
  private queue: Uint8Array[] = []
  private queuedBytes = 0
  private blocked = false
  private closed = false
  private window: BulkWindow | undefined

  constructor(
    readonly stream: FrameStream,
    private readonly group: number,
    private readonly outgoing: OutgoingBytes,
    private readonly clock: Pick<Clock, 'now'>
  ) {
    stream.onDrain = () => {
      this.blocked = false
      this.pump()
    }
  }

  /** From now on, frames wait for room in `window`. */
  limitBy(window: BulkWindow): void {
    this.window = window
  }

  /** The receiver has received this many bytes in total. Returns false if so many were never sent. */
  received(bytes: number): boolean {
    if (this.window?.acknowledged(bytes, this.clock.now()) !== true) return false
    this.pump()
    return true
  }

  /** The bytes that may be in flight. */
  get windowBytes(): number {
    return this.window?.bytes ?? Infinity
  }

  get waitingBytes(): number {
    return this.queuedBytes
  }

  send(message: LeaderMessage): void {
    if (this.closed) return
    const frame = encodeFrame(leaderMessage, message, this.group, 0, capacityOf(message))
    if (this.queue.length === 0 && this.mayLeave(frame)) return this.leave(frame)
    this.queue.push(frame)
    this.queuedBytes += frame.length
    this.outgoing.total += frame.length
  }

  /** Drops the queue, sends `last` and closes the stream in order. */
  finish(last?: LeaderMessage): void {
    if (this.closed) return
    this.dropQueue()
    if (last !== undefined) this.stream.send(encodeFrame(leaderMessage, last, this.group))
    this.closed = true
    this.stream.close()
  }

  abort(reason: Error): void {
    if (this.closed) return
    this.closed = true
    this.dropQueue()
    this.stream.abort(reason)
  }

  /** The stream has ended. */
  ended(): void {
    this.closed = true
    this.dropQueue()
  }

  /** Drops the frames that wait: their receiver has no use for them. */
  dropQueue(): void {
    this.outgoing.total -= this.queuedBytes
    this.queuedBytes = 0
    this.queue = []
  }

  private mayLeave(frame: Uint8Array): boolean {
    return !this.blocked && this.window?.hasRoom(frame.length) !== false
  }

  private leave(frame: Uint8Array): void {
    this.window?.left(frame.length, this.clock.now())
    this.blocked = !this.stream.send(frame)
  }

  private pump(): void {
    let taken = 0
    while (taken < this.queue.length && this.mayLeave(this.queue[taken]!)) {
      const frame = this.queue[taken++]!
      this.queuedBytes -= frame.length
      this.outgoing.total -= frame.length
      this.leave(frame)
    }
    this.queue.splice(0, taken)
  }
}

function capacityOf(message: LeaderMessage): number {
  if (message.type !== 'grant') return 256
  return message.pages.reduce((sum, { bytes }) => sum + 16 + (bytes?.length ?? 0), 128)
}
