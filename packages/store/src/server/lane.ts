import { encodeFrame, leaderMessage, type FrameStream, type LeaderMessage } from '@quire/protocol'

/** Bytes that wait in all lanes of a server. */
export interface OutgoingBytes {
  total: number
}

/** One of a connection's two streams, outgoing side: keeps what the stream will not take yet. */
export class Lane {
  private queue: Uint8Array[] = []
  private queuedBytes = 0
  private blocked = false
  private closed = false

  constructor(
    readonly stream: FrameStream,
    private readonly group: number,
    private readonly outgoing: OutgoingBytes
  ) {
    stream.onDrain = () => this.drained()
  }

  get waitingBytes(): number {
    return this.queuedBytes
  }

  send(message: LeaderMessage): void {
    if (this.closed) return
    const frame = encodeFrame(leaderMessage, message, this.group, 0, capacityOf(message))
    if (!this.blocked) {
      this.blocked = !this.stream.send(frame)
      return
    }
    this.queue.push(frame)
    this.queuedBytes += frame.length
    this.outgoing.total += frame.length
  }

  /** Closes in order, after `last`. What waits is dropped. */
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

  /** The stream is gone. */
  ended(): void {
    this.closed = true
    this.dropQueue()
  }

  /** What waits does not leave any more: its receiver has no use for it. */
  dropQueue(): void {
    this.outgoing.total -= this.queuedBytes
    this.queuedBytes = 0
    this.queue = []
  }

  private drained(): void {
    this.blocked = false
    let taken = 0
    while (taken < this.queue.length && !this.blocked) {
      const frame = this.queue[taken++]!
      this.queuedBytes -= frame.length
      this.outgoing.total -= frame.length
      this.blocked = !this.stream.send(frame)
    }
    this.queue.splice(0, taken)
  }
}

function capacityOf(message: LeaderMessage): number {
  return message.type === 'grant' && message.bytes !== undefined ? message.bytes.length + 128 : 256
}
