/** The client's side of its bulk stream: frames wait until the line has carried those before them. */
import { BulkWindow, type Clock, type FrameStream } from '@quire/protocol'

export class BulkSender {
  private readonly window: BulkWindow
  /** As much as the leader's credit allows, and usually nothing: see `Session.limitBulk`. */
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

  /** The leader has this many bytes, in all. False if that cannot be. */
  received(bytes: number): boolean {
    if (!this.window.acknowledged(bytes, this.clock.now())) return false
    this.pump()
    return true
  }

  private pump(): void {
    let taken = 0
    while (taken < this.queue.length && this.window.hasRoom(this.queue[taken]!.length)) {
      const frame = this.queue[taken++]!
      this.queuedBytes -= frame.length
      this.window.left(frame.length, this.clock.now())
      this.stream.send(frame)
    }
    this.queue.splice(0, taken)
  }
}
