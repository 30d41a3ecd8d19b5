import {
  ClosedError,
  InvalidArgumentError,
  MAX_RAFT_FRAME_BYTES,
  NotAuthorizedError,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  VersionMismatchError,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  errorToWire,
  isRaftHandshake,
  raftEntryBytes,
  raftMessage,
  type Clock,
  type FrameStream,
  type Network,
  type QuireError,
  type Random,
  type RaftMessage
} from '@quire/protocol'
import type { Logger } from 'pino'
import { Refusals } from '../server/refusals.js'

export interface PeerLinksInit {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly clusterId: string
  /** A message of a peer for one of the Raft groups. */
  readonly receive: (group: number, from: string, message: RaftMessage) => void
  readonly logger?: Logger
  /** Bytes that wait for one peer; what comes on top is dropped. Default 8 MiB. */
  readonly maxQueuedBytes?: number
}

export interface PeerAddresses {
  readonly peerId: string
  readonly addresses: readonly string[]
}

/**
 * Streams between peers, shared by all Raft groups: one outgoing for each remote, opened again whenever it breaks. Answers come on
 * the remote's own outgoing stream. Lossy, as Raft allows: what cannot be sent is dropped.
 */
export interface PeerLinks {
  /** The other peers of the cluster. Links to others are closed, and others are refused from now on. */
  setPeers(peers: readonly PeerAddresses[]): void
  send(group: number, to: string, message: RaftMessage): void
  close(): void
}

const MIN_BACKOFF_MS = 50
const MAX_BACKOFF_MS = 2_000
const DEFAULT_QUEUED_BYTES = 8 * 1024 * 1024
/** A link that stays open so long is news after one that did not come about: a refusal would have ended it. */
const RESTORED_AFTER_MS = 1_000
/** A stream whose hello has not come by then is closed. */
const HELLO_TIMEOUT_MS = 10_000

export function createPeerLinks(init: PeerLinksInit): PeerLinks {
  return new Links(init)
}

class Links implements PeerLinks {
  private readonly links = new Map<string, Link>()
  /** Streams that remotes have opened, after their hello. */
  private readonly incoming = new Map<string, FrameStream>()
  private readonly opening = new Map<FrameStream, () => void>()
  private readonly refusals: Refusals
  private closed = false

  constructor(private readonly init: PeerLinksInit) {
    this.refusals = new Refusals(init.logger, 'peer')
    init.network.handle(PROTOCOL_RAFT, MAX_RAFT_FRAME_BYTES, (stream) => this.accept(stream))
  }

  setPeers(peers: readonly PeerAddresses[]): void {
    const wanted = new Map(
      peers.filter(({ peerId }) => peerId !== this.init.network.id).map((peer) => [peer.peerId, peer])
    )
    for (const [peerId, link] of this.links) {
      if (wanted.has(peerId)) continue
      link.close()
      this.links.delete(peerId)
      this.incoming.get(peerId)?.close()
      this.incoming.delete(peerId)
    }
    for (const { peerId, addresses } of wanted.values()) {
      const link = this.links.get(peerId)
      if (link === undefined) this.links.set(peerId, new Link(this.init, peerId, addresses))
      else link.addresses = addresses
    }
  }

  send(group: number, to: string, message: RaftMessage): void {
    this.links.get(to)?.send(group, message)
  }

  close(): void {
    this.closed = true
    for (const link of this.links.values()) link.close()
    for (const [stream, cancel] of this.opening) {
      cancel()
      stream.close()
    }
    for (const stream of this.incoming.values()) stream.close()
    this.links.clear()
    this.opening.clear()
    this.incoming.clear()
  }

  private accept(stream: FrameStream): void {
    if (this.closed) return stream.close()
    stream.onFrame = (frame) => this.hello(stream, frame)
    stream.onClose = () => this.ended(stream)
    this.opening.set(
      stream,
      this.init.clock.schedule(HELLO_TIMEOUT_MS, () => {
        this.opening.delete(stream)
        stream.abort(new Error('no hello in time'))
      })
    )
  }

  private hello(stream: FrameStream, frame: Uint8Array): void {
    this.opening.get(stream)?.()
    this.opening.delete(stream)
    const error = this.helloError(stream.remote, frame)
    if (error !== undefined) {
      this.refusals.log(stream.remote, error)
      stream.onFrame = () => {}
      stream.send(encodeFrame(raftMessage, { type: 'raftRefused', error: errorToWire(error) }))
      stream.close()
      return
    }
    const older = this.incoming.get(stream.remote)
    this.incoming.set(stream.remote, stream)
    stream.onFrame = (bytes) => this.message(stream, bytes)
    // The remote opens a new one only when it has lost the old one.
    older?.abort(new ClosedError('a stream that was replaced by a newer one'))
    this.links.get(stream.remote)?.remoteIsUp()
  }

  private helloError(remote: string, frame: Uint8Array): QuireError | undefined {
    try {
      const { message } = decodeFrame(raftMessage, frame)
      if (message.type !== 'raftHello') return new InvalidArgumentError('message', message.type, 'raftHello')
      if (message.version !== PROTOCOL_VERSION)
        return new VersionMismatchError('protocol', message.version, PROTOCOL_VERSION)
      if (!this.links.has(remote))
        return new NotAuthorizedError(remote, `it is no peer of cluster ${this.init.clusterId}`)
      if (message.clusterId !== this.init.clusterId)
        return new NotAuthorizedError(remote, `it belongs to cluster ${message.clusterId}`)
      if (message.from !== remote) return new NotAuthorizedError(remote, `it claims to be ${message.from}`)
      return undefined
    } catch (error) {
      return new InvalidArgumentError('frame', (error as Error).message, 'raftHello')
    }
  }

  private message(stream: FrameStream, bytes: Uint8Array): void {
    try {
      const { group, message } = decodeFrame(raftMessage, bytes)
      if (isRaftHandshake(message)) throw new Error(`${message.type} after the hello`)
      this.init.receive(group, stream.remote, message)
    } catch (error) {
      this.refusals.log(stream.remote, error as Error)
      stream.abort(error as Error)
    }
  }

  private ended(stream: FrameStream): void {
    this.opening.get(stream)?.()
    this.opening.delete(stream)
    if (this.incoming.get(stream.remote) === stream) this.incoming.delete(stream.remote)
  }
}

/** The outgoing stream to one remote. */
class Link {
  private stream: FrameStream | undefined
  private queue: Uint8Array[] = []
  private queuedBytes = 0
  private blocked = false
  private closed = false
  private openedAtMs = 0
  private backoffMs = MIN_BACKOFF_MS
  private cancelDial: () => void = () => {}
  /** Between two dials. */
  private pausing = false
  /** The last failure that was logged; the same again is not news. */
  private lastFailure = ''
  /** Since when there is no link, as the log has it. */
  private downSinceMs: number | undefined
  private cancelRestored: () => void = () => {}
  private readonly maxQueuedBytes: number

  constructor(
    private readonly init: PeerLinksInit,
    private readonly remote: string,
    public addresses: readonly string[]
  ) {
    this.maxQueuedBytes = init.maxQueuedBytes ?? DEFAULT_QUEUED_BYTES
    void this.dial()
  }

  send(group: number, message: RaftMessage): void {
    const { stream } = this
    if (stream === undefined || this.queuedBytes > this.maxQueuedBytes) return
    const frame = encodeFrame(raftMessage, message, group, 0, capacityOf(message))
    if (!this.blocked) {
      this.blocked = !stream.send(frame)
      return
    }
    this.queue.push(frame)
    this.queuedBytes += frame.length
  }

  close(): void {
    this.closed = true
    this.cancelDial()
    this.cancelRestored()
    this.stream?.close()
    this.stream = undefined
    this.dropQueue()
  }

  /** The remote has just come: a pause before the next dial would let it start an election for want of heartbeats. */
  remoteIsUp(): void {
    if (this.closed || !this.pausing) return
    this.cancelDial()
    void this.dial()
  }

  private async dial(): Promise<void> {
    this.pausing = false
    const { network, clusterId } = this.init
    let stream: FrameStream
    try {
      stream = await network.dial(this.remote, this.addresses, {
        protocol: PROTOCOL_RAFT,
        maxFrameBytes: MAX_RAFT_FRAME_BYTES
      })
    } catch (error) {
      return this.failed(error as Error)
    }
    if (this.closed) return stream.close()
    stream.onFrame = (frame) => this.answer(stream, frame)
    stream.onDrain = () => this.drained()
    stream.onClose = (reason) => this.ended(stream, reason)
    this.stream = stream
    this.opened()
    this.blocked = !stream.send(
      encodeFrame(raftMessage, { type: 'raftHello', version: PROTOCOL_VERSION, clusterId, from: network.id })
    )
  }

  private opened(): void {
    const { clock, logger } = this.init
    const { downSinceMs } = this
    const nowMs = (this.openedAtMs = clock.now())
    if (downSinceMs === undefined || logger === undefined) return
    this.cancelRestored = clock.schedule(RESTORED_AFTER_MS, () => {
      this.downSinceMs = undefined
      this.lastFailure = ''
      logger.info({ peer: this.remote, downMs: Math.round(nowMs - downSinceMs) }, 'link to the peer restored')
    })
  }

  /** Nothing but a refusal comes on an outgoing stream. */
  private answer(stream: FrameStream, frame: Uint8Array): void {
    let error: Error
    try {
      const { message } = decodeFrame(raftMessage, frame)
      error = message.type === 'raftRefused' ? errorFromWire(message.error) : new Error(`unexpected ${message.type}`)
    } catch (cause) {
      error = cause as Error
    }
    this.backoffMs = MAX_BACKOFF_MS
    stream.abort(error)
  }

  private ended(stream: FrameStream, reason: Error | undefined): void {
    if (this.stream !== stream) return
    this.stream = undefined
    this.cancelRestored()
    this.dropQueue()
    // It worked for a while: the remote was restarted rather than refuses.
    if (this.init.clock.now() - this.openedAtMs > MAX_BACKOFF_MS) {
      this.backoffMs = MIN_BACKOFF_MS
      this.lastFailure = ''
    }
    this.failed(reason ?? new Error('closed by the remote'))
  }

  private failed(error: Error): void {
    if (this.closed) return
    this.downSinceMs ??= this.init.clock.now()
    if (error.message !== this.lastFailure) {
      this.lastFailure = error.message
      this.init.logger?.info({ peer: this.remote, reason: error.message }, 'no link to the peer')
    }
    // Up to twice as long, by chance, so that peers that lost each other do not come back in step.
    const delayMs = this.backoffMs * (1 + this.init.random.next())
    this.backoffMs = Math.min(MAX_BACKOFF_MS, this.backoffMs * 2)
    this.pausing = true
    this.cancelDial = this.init.clock.schedule(delayMs, () => void this.dial())
  }

  private drained(): void {
    const { stream } = this
    this.blocked = false
    let taken = 0
    while (stream !== undefined && taken < this.queue.length && !this.blocked) {
      const frame = this.queue[taken++]!
      this.queuedBytes -= frame.length
      this.blocked = !stream.send(frame)
    }
    this.queue.splice(0, taken)
  }

  private dropQueue(): void {
    this.queue = []
    this.queuedBytes = 0
    this.blocked = false
  }
}

function capacityOf(message: RaftMessage): number {
  if (message.type !== 'append') return 128
  return 128 + message.entries.reduce((sum, entry) => sum + raftEntryBytes(entry), 0)
}
