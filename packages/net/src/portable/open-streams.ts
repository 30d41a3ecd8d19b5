import type { Connection, Stream } from '@libp2p/interface'
import type { FrameStream } from '@quire/protocol'
import type { EventLoop } from './event-loop.js'
import { createFrameStream } from './frame-stream.js'
import type { Log } from './log.js'

/** Keeps the frame streams of a node from their opening to their close. */
export class OpenStreams {
  private readonly streams = new Set<FrameStream>()
  /** Ends the wait in `close`. */
  private onEmpty: (() => void) | undefined

  constructor(
    private readonly eventLoop: EventLoop,
    private readonly log: Log | undefined
  ) {}

  /** Makes a frame stream of an open libp2p stream. */
  add(stream: Stream, connection: Connection, maxFrameBytes: number): FrameStream {
    const remote = connection.remotePeer.toString()
    const frames = createFrameStream({
      eventLoop: this.eventLoop,
      stream,
      remote,
      maxFrameBytes,
      onError: (error) => this.log?.error({ peer: remote, err: error }, 'onClose failed')
    })
    if (stream.status !== 'open') return frames
    this.streams.add(frames)
    stream.addEventListener('close', () => {
      this.streams.delete(frames)
      if (this.streams.size === 0) this.onEmpty?.()
    })
    return frames
  }

  /** Closes all streams in order. Aborts those that are still open after `timeoutMs`. */
  async close(timeoutMs: number, reason: Error): Promise<void> {
    for (const stream of this.streams) stream.close()
    await this.emptied(timeoutMs)
    for (const stream of this.streams) stream.abort(reason)
  }

  /** Resolves when no stream is open, or after `timeoutMs`. */
  private async emptied(timeoutMs: number): Promise<void> {
    if (this.streams.size === 0) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.onEmpty = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
