/** The sending side of a client's bulk stream. */
import { BulkWindow, type Clock, type FrameStream } from '@quire/protocol'

/** Holds each bulk frame back until the line has carried the frames before it. */
export class BulkSender {
  private readonly window: BulkWindow
  /** Within the leader's credit, and usually empty: see `Coherence.limitBulk`. */
  private queue: Uint8Array[] = []
  private queuedBytes = 0

  constructor(
    private readonly stream: FrameStream,
    private readonly clock: Pick<Clock, 'now'>,
    ttlMs: number
  ) {
    this.window = new BulkWindow(ttlMs)
  }

  get windowBytes(): number {
    return this.window.bytes
  }

  /** Bytes that wait here or are on the line. */
  get unreceivedBytes(): number {
    return this.queuedBytes + this.window.inFlight
  }

  send(frame: Uint8Array): void {
    this.queue.push(frame)
    this.queuedBytes += frame.length
    this.pump()
  }

  /** The leader reports that it has received this many bytes in all. Returns false if that cannot be. */
  received(bytes: number): boolean {
    if (!this.window.acknowledged(bytes, this.clock.now())) return false
    this.pump()
    return true
  }

  private pump(): void {
    let sent = 0
    while (sent < this.queue.length && this.window.hasRoom(this.queue[sent]!.length)) {
      const frame = this.queue[sent++]!
      this.queuedBytes -= frame.length
      this.window.left(frame.length, this.clock.now())
      this.stream.send(frame)
    }
    this.queue.splice(0, sent)
  }
}
