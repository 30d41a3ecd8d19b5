/** A registered connection to the leader: two streams, control and bulk, that live and die together. */
import {
  MAX_BULK_FRAME_BYTES,
  MAX_CONTROL_FRAME_BYTES,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  SessionExpiredError,
  UnavailableError,
  clientMessage,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  leaderMessage,
  type ClientMessage,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type LeaderMessageOf,
  type Network
} from '@quire/protocol'
import type { ClusterView, Target } from './cluster-view.js'

export type Lane = 'control' | 'bulk'

export interface Connection {
  readonly remote: string
  readonly term: number
  readonly registered: LeaderMessageOf<'registered'>
  /** When the register left: the lease counts from there. */
  readonly registeredAt: number
  /** Hands over every message behind the registered, also those that have arrived by now. Call it once. */
  start(onMessage: (message: LeaderMessage) => void): void
  /** Resolves, once, with the reason. */
  readonly closed: Promise<Error>
  send(lane: Lane, message: ClientMessage): void
  close(): void
  abort(reason: Error): void
}

export interface ConnectInit {
  readonly network: Network
  readonly clock: Clock
  readonly cluster: ClusterView
  readonly group: number
  readonly timeoutMs: number
  /** 0: a new one. */
  readonly session: number
  readonly ttlMs: number
  readonly signal: AbortSignal
}

/** The peer does not lead; `leader` does, as far as it knows. */
export class RedirectError extends Error {
  override readonly name = 'RedirectError'
  constructor(
    readonly leader: string,
    readonly term: number
  ) {
    super(leader === '' ? 'no leader is known' : `the leader is ${leader}`)
  }
}

/**
 * Opens both streams to `target` and registers the session. Rejects with RedirectError, SessionExpiredError, a typed refusal, or
 * UnavailableError when the peer does not answer.
 */
export async function connect(target: Target, init: ConnectInit): Promise<Connection> {
  const streams = new Lanes(init.group)
  const cancel = init.clock.schedule(init.timeoutMs, () => {
    streams.abort(new UnavailableError(`${target.peerId} did not answer within ${init.timeoutMs} ms`))
  })
  const aborted = () => streams.abort(new UnavailableError('the client is closing'))
  init.signal.addEventListener('abort', aborted, { once: true })
  try {
    return await handshake(target, init, streams)
  } catch (error) {
    streams.abort(error as Error)
    throw error
  } finally {
    cancel()
    init.signal.removeEventListener('abort', aborted)
  }
}

async function handshake(target: Target, init: ConnectInit, lanes: Lanes): Promise<Connection> {
  const { cluster, network, clock } = init
  const hello = {
    type: 'hello',
    version: PROTOCOL_VERSION,
    clusterId: cluster.clusterId,
    fence: cluster.fence
  } as const
  const dial = async (lane: Lane) => {
    const protocol = lane === 'control' ? PROTOCOL_CONTROL : PROTOCOL_BULK
    const maxFrameBytes = lane === 'control' ? MAX_CONTROL_FRAME_BYTES : MAX_BULK_FRAME_BYTES
    const opening = network.dial(target.peerId, target.addresses, { protocol, maxFrameBytes, signal: lanes.signal })
    lanes.adopt(lane, await opening)
  }
  await dial('control')
  lanes.send('control', { ...hello, lane: 'control', attach: 0 })
  const answer = await lanes.expect('welcome', 'redirect', 'refused')
  if (answer.type === 'refused') throw errorFromWire(answer.error)
  cluster.heard(answer.clusterId, target.peerId, answer.members)
  cluster.checkOwnId(network.id)
  if (answer.type === 'redirect') throw new RedirectError(answer.leader, answer.term)
  if (answer.term < cluster.fence) throw new RedirectError('', answer.term)
  // Rule 3: the fence rises before the session registers, and with it acknowledges the term.
  cluster.fence = answer.term
  cluster.leader = target.peerId

  await dial('bulk')
  lanes.send('bulk', { ...hello, lane: 'bulk', attach: answer.attach })
  const attached = await lanes.expect('attached', 'redirect', 'refused')
  if (attached.type === 'redirect') throw new RedirectError(attached.leader, attached.term)
  // It welcomed this client a moment ago: what it refuses is this attempt, since it leads no more.
  if (attached.type === 'refused') throw new UnavailableError(errorFromWire(attached.error).message)
  const registeredAt = clock.now()
  lanes.send('control', { type: 'register', session: init.session, ttlMs: init.ttlMs })
  const registered = await lanes.expect('registered', 'expired', 'refused', 'redirect')
  if (registered.type === 'expired') throw new SessionExpiredError(String(registered.session))
  if (registered.type === 'refused') throw errorFromWire(registered.error)
  if (registered.type === 'redirect') throw new RedirectError(registered.leader, registered.term)
  return lanes.registered(target.peerId, registered, registeredAt)
}

class Lanes {
  private readonly streams: Partial<Record<Lane, FrameStream>> = {}
  private readonly controller = new AbortController()
  private readonly closedPromise: Promise<Error>
  private resolveClosed!: (reason: Error) => void
  private readonly arrived: LeaderMessage[] = []
  private waiting: { resolve: () => void; reject: (reason: Error) => void } | undefined
  private onMessage: ((message: LeaderMessage) => void) | undefined
  private failure: Error | undefined

  constructor(private readonly group: number) {
    this.closedPromise = new Promise((resolve) => (this.resolveClosed = resolve))
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
    stream.onFrame = (frame) => this.receive(decodeFrame(leaderMessage, frame).message)
    stream.onClose = (reason) => this.abort(reason ?? new UnavailableError('the leader closed the connection'))
  }

  send(lane: Lane, message: ClientMessage): void {
    this.streams[lane]?.send(encodeFrame(clientMessage, message, this.group, 0, capacityOf(message)))
  }

  /** The next message, which must be of one of these types. */
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

  registered(remote: string, registered: LeaderMessageOf<'registered'>, registeredAt: number): Connection {
    return {
      remote,
      term: registered.term,
      registered,
      registeredAt,
      closed: this.closedPromise,
      start: (onMessage) => {
        this.onMessage = onMessage
        for (const message of this.arrived.splice(0)) {
          // One of them may have ended the connection: what came behind it is nobody's.
          if (this.failure === undefined) onMessage(message)
        }
      },
      send: (lane, message) => this.send(lane, message),
      close: () => {
        for (const stream of Object.values(this.streams)) stream.close()
        this.fail(new UnavailableError('the connection was closed'))
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
    this.controller.abort(reason)
    this.waiting?.reject(reason)
    this.resolveClosed(reason)
  }

  private receive(message: LeaderMessage): void {
    if (this.failure !== undefined) return
    if (this.onMessage !== undefined) return this.onMessage(message)
    this.arrived.push(message)
    this.waiting?.resolve()
  }
}

/** Room for the whole frame at once: one that grows copies its pages again. */
function capacityOf(message: ClientMessage): number {
  if (message.type === 'ownerAckDirty') return 128 + message.dirty.bytes.length
  if (message.type === 'writeback') return message.pages.reduce((sum, page) => sum + 64 + page.bytes.length, 128)
  return 256
}
