/** The two streams of a connection, from the first dial to the end. */
import {
  BulkReceipts,
  UnavailableError,
  clientMessage,
  decodeFrame,
  encodeFrame,
  leaderMessage,
  type ClientMessage,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type LeaderMessageOf
} from '@quire/protocol'
import { BulkSender } from './bulk-sender.js'
import type { Target } from './cluster-view.js'
import type { Connection, Lane } from './connection.js'

/** Makes one connection of a control stream with its bulk stream: if either ends, both end. */
export class LanePair {
  /** The peer has said that it leads. */
  isWelcome = false
  private readonly streams: Partial<Record<Lane, FrameStream>> = {}
  private readonly controller = new AbortController()
  private readonly closedPromise: Promise<Error>
  private resolveClosed!: (reason: Error) => void
  private readonly arrived: LeaderMessage[] = []
  private waiting: { resolve: () => void; reject: (reason: Error) => void } | undefined
  private onMessage: ((message: LeaderMessage) => void) | undefined
  private failure: Error | undefined
  private bulkSender: BulkSender | undefined
  private readonly receipts: BulkReceipts

  constructor(
    private readonly group: number,
    private readonly clock: Clock
  ) {
    this.closedPromise = new Promise((resolve) => (this.resolveClosed = resolve))
    this.receipts = new BulkReceipts(clock, (bytes) => this.send('control', { type: 'bulkReceived', bytes }))
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }

  adopt(lane: Lane, stream: FrameStream): void {
    if (this.failure !== undefined) {
      stream.abort(this.failure)
      throw this.failure
    }
    this.streams[lane] = stream
    stream.onFrame = (frame) => {
      if (this.failure !== undefined) return
      const { message } = decodeFrame(leaderMessage, frame)
      // Grants count from the start: one may overtake `registered`, which comes on the other stream.
      if (lane === 'bulk' && message.type !== 'attached') this.receipts.arrived(frame.length)
      this.receive(message)
    }
    stream.onClose = (reason) => this.abort(reason ?? new UnavailableError('the leader closed the connection'))
  }

  send(lane: Lane, message: ClientMessage): void {
    const frame = encodeFrame(clientMessage, message, this.group, 0, capacityOf(message))
    if (lane === 'bulk' && this.bulkSender !== undefined) this.bulkSender.send(frame)
    else this.streams[lane]?.send(frame)
  }

  /** Resolves with the next message. Rejects if it is of none of these types. */
  async expect<T extends LeaderMessage['type']>(...types: T[]): Promise<LeaderMessageOf<T>> {
    while (this.arrived.length === 0) {
      if (this.failure !== undefined) throw this.failure
      await new Promise<void>((resolve, reject) => (this.waiting = { resolve, reject }))
    }
    const message = this.arrived.shift()!
    if (!(types as string[]).includes(message.type)) {
      throw new UnavailableError(`unexpected ${message.type} in the handshake`)
    }
    return message as LeaderMessageOf<T>
  }

  registered(
    { peerId: remote, relay }: Target,
    registered: LeaderMessageOf<'registered'>,
    registeredAt: number
  ): Connection {
    const bulk = new BulkSender(this.streams.bulk!, this.clock, registered.ttlMs)
    this.bulkSender = bulk
    return {
      remote,
      relay: relay?.peerId,
      term: registered.term,
      registered,
      registeredAt,
      closed: this.closedPromise,
      start: (onMessage) => {
        this.onMessage = onMessage
        for (const message of this.arrived.splice(0)) {
          // A message may end the connection. Those that follow it have no receiver.
          if (this.failure === undefined) onMessage(message)
        }
      },
      send: (lane, message) => this.send(lane, message),
      bulkReceived: (bytes) => {
        if (!bulk.received(bytes)) this.abort(new UnavailableError(`${remote} acknowledges ${bytes} bytes of bulk`))
      },
      get bulkWindowBytes() {
        return bulk.windowBytes
      },
      get bulkUnreceivedBytes() {
        return bulk.unreceivedBytes
      },
      close: (reason = new UnavailableError('the connection was closed')) => {
        for (const stream of Object.values(this.streams)) stream.close()
        this.fail(reason)
      },
      abort: (reason) => this.abort(reason)
    }
  }

  abort(reason: Error): void {
    if (this.failure !== undefined) return
    this.fail(reason)
    for (const stream of Object.values(this.streams)) stream.abort(reason)
  }

  private fail(reason: Error): void {
    if (this.failure !== undefined) return
    this.failure = reason
    this.receipts.stop()
    this.controller.abort(reason)
    this.waiting?.reject(reason)
    this.resolveClosed(reason)
  }

  private receive(message: LeaderMessage): void {
    if (this.onMessage !== undefined) return this.onMessage(message)
    this.arrived.push(message)
    this.waiting?.resolve()
  }
}

/** Returns enough capacity for the whole frame, because a buffer that grows copies its pages again. */
function capacityOf(message: ClientMessage): number {
  if (message.type === 'writeback' || message.type === 'ownerAckDirty')
    return message.pages.reduce((sum, page) => sum + 64 + page.bytes.length, 128)
  return 256
}
