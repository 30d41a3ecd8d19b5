import type { FrameStream } from '@quire/protocol'

const ignore = (): void => {}

/** Calls `arrive` when what leaves now reaches the other end; calls arrive in order. */
type Travel = (arrive: () => void) => void

/** One end of a stream in memory. */
export class FakeStream implements FrameStream {
  onFrame: (frame: Uint8Array) => void = ignore
  onDrain: () => void = ignore
  /** Frames to this end are lost, and nobody notices. */
  isSilent = false
  /** `send` returns false: this end asks its sender to wait for `onDrain`. */
  isFull = false
  /** Why the stream ended, once it has. */
  over: { readonly reason: Error | undefined } | undefined
  other!: FakeStream
  private closeListener: ((reason?: Error) => void) | undefined
  private isCloseReported = false

  private constructor(
    /** The id of the node at the other end. */
    readonly remote: string,
    private readonly travel: Travel
  ) {}

  /** Both ends of a new stream: the one that `from` has, and the one that `to` has. */
  static pair(from: string, to: string, travel: Travel): readonly [FakeStream, FakeStream] {
    const near = new FakeStream(to, travel)
    const far = new FakeStream(from, travel)
    near.other = far
    far.other = near
    return [near, far]
  }

  get isOver(): boolean {
    return this.over !== undefined
  }

  get onClose(): (reason?: Error) => void {
    return this.closeListener ?? ignore
  }

  /** A listener that comes after the end is told, too. */
  set onClose(listener: (reason?: Error) => void) {
    this.closeListener = listener
    if (this.over !== undefined) queueMicrotask(() => this.reportClose())
  }

  send(frame: Uint8Array): boolean {
    if (this.over !== undefined) return false
    const { other } = this
    this.travel(() => {
      // The receiver gets a frame without its length.
      if (other.over === undefined && !other.isSilent) other.onFrame(frame.slice(4))
    })
    return !this.isFull
  }

  close(): void {
    this.end(undefined)
  }

  abort(reason: Error): void {
    this.end(reason)
  }

  private end(reason: Error | undefined): void {
    if (this.over !== undefined) return
    this.over = { reason }
    queueMicrotask(() => queueMicrotask(() => this.reportClose()))
    // After the frames that were sent before.
    this.travel(() => queueMicrotask(() => this.other.endedByOther(reason)))
  }

  private endedByOther(reason: Error | undefined): void {
    if (this.over !== undefined) return
    this.over = { reason }
    this.reportClose()
  }

  private reportClose(): void {
    if (this.isCloseReported || this.closeListener === undefined) return
    this.isCloseReported = true
    this.closeListener(this.over?.reason)
  }
}
