/** A registered connection to the leader: two streams, control and bulk, that live and die together. */
import { onAbort } from '@quire/net'
import {
  BulkReceipts,
  FEATURES,
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
  sessionTtlAt,
  timingOf,
  type ClientMessage,
  type ClientMessageOf,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type LeaderMessageOf,
  type Network,
  type Role
} from '@quire/protocol'
import { BulkSender } from './bulk-sender.js'
import { checkExpired, checkRegistered } from './claims.js'
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
  /** The leader has received this many bytes of bulk frames, in all. */
  bulkReceived(bytes: number): void
  /** Bytes that may be on their way on bulk; what is sent beyond that waits here. */
  readonly bulkWindowBytes: number
  /** Bytes sent on bulk that the leader has not reported as received. */
  readonly bulkUnreceivedBytes: number
  /** In order; `closed` resolves with the reason. */
  close(reason?: Error): void
  abort(reason: Error): void
}

export interface ConnectInit {
  readonly network: Network
  readonly clock: Clock
  readonly cluster: ClusterView
  readonly group: number
  /** For each step of the handshake, at most; the cluster's timing may allow less. */
  readonly maxStepMs: number
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
    readonly term: number,
    /** The peer's own. */
    readonly role: Role
  ) {
    super(leader === '' ? 'no leader is known' : `the leader is ${leader}`)
  }
}

/** The peer takes itself for the leader, and cannot open the session: it may have no majority. */
export class StalledError extends Error {
  override readonly name = 'StalledError'
  constructor(readonly reason: string) {
    super(reason)
  }
}

/** A peer that leads has answered the hello; the session is not registered yet. */
export interface Welcome {
  /**
   * Opens the other stream and registers the session; call it once. Rejects with RedirectError, StalledError,
   * SessionExpiredError, a typed refusal, or UnavailableError.
   */
  register(): Promise<Connection>
  /** The peer is not wanted. */
  abort(reason: Error): void
}

/**
 * Opens the control stream to `target` and says hello. Rejects with RedirectError, a typed refusal, or UnavailableError
 * when the peer does not answer.
 */
export async function greet(target: Target, init: ConnectInit): Promise<Welcome> {
  const handshake = new Handshake(target, init)
  const welcome = await handshake.whole(() => handshake.hello())
  return {
    register: () => handshake.whole(() => handshake.register(welcome)),
    abort: (reason) => handshake.abort(reason)
  }
}

interface Answer {
  readonly welcome: LeaderMessageOf<'welcome'>
  readonly answerMs: number
}

class Handshake {
  private readonly lanes: Lanes
  private readonly steps: Steps
  private readonly greeting: Omit<ClientMessageOf<'hello'>, 'lane' | 'attach'>

  constructor(
    private readonly target: Target,
    private readonly init: ConnectInit
  ) {
    const { cluster, group, clock } = init
    this.greeting = {
      type: 'hello',
      version: PROTOCOL_VERSION,
      features: FEATURES,
      clusterId: cluster.clusterId,
      founding: cluster.founding,
      fence: cluster.fence
    }
    const lanes = new Lanes(group, clock)
    this.lanes = lanes
    this.steps = new Steps(init, (reason) => {
      lanes.abort(lanes.isWelcome ? new StalledError(reason) : new UnavailableError(reason))
    })
  }

  abort(reason: Error): void {
    this.lanes.abort(reason)
  }

  /** Whatever fails in it, or the signal, ends both streams. */
  async whole<T>(part: () => Promise<T>): Promise<T> {
    const { lanes, steps, init } = this
    const leave = onAbort(init.signal, () => lanes.abort(new UnavailableError('the client is closing')))
    try {
      return await part()
    } catch (error) {
      lanes.abort(error as Error)
      throw error
    } finally {
      steps.end()
      leave()
    }
  }

  async hello(): Promise<Answer> {
    const { lanes, target, init } = this
    const { cluster, network, clock } = init
    await this.dial('control')
    const helloAt = clock.now()
    lanes.send('control', { ...this.greeting, lane: 'control', attach: 0 })
    const answer = await lanes.expect('welcome', 'redirect', 'refused')
    const answerMs = clock.now() - helloAt
    if (answer.type === 'refused') throw errorFromWire(answer.error)
    cluster.heard(target.peerId, answer)
    cluster.checkOwnId(network.id)
    if (answer.type === 'redirect') throw redirected(answer)
    return { welcome: answer, answerMs }
  }

  async register({ welcome, answerMs }: Answer): Promise<Connection> {
    const { lanes, steps, target, init } = this
    const { cluster, clock } = init
    if (welcome.term < cluster.fence) throw new RedirectError('', welcome.term, 'leader')
    // Rule 3: the fence rises before the session registers, and with it acknowledges the term.
    cluster.fence = welcome.term
    cluster.leader = target.peerId
    lanes.isWelcome = true

    await this.dial('bulk')
    lanes.send('bulk', { ...this.greeting, lane: 'bulk', attach: welcome.attach })
    const attached = await lanes.expect('attached', 'redirect', 'refused')
    steps.next()
    if (attached.type === 'redirect') throw redirected(attached)
    // It welcomed this client a moment ago: what it refuses is this attempt, since it leads no more.
    if (attached.type === 'refused') throw new UnavailableError(errorFromWire(attached.error).message)
    const registeredAt = clock.now()
    const ttlMs = sessionTtlAt(answerMs, cluster.roundTripMs, init.ttlMs)
    lanes.send('control', { type: 'register', session: init.session, ttlMs })
    const registered = await lanes.expect('registered', 'expired', 'refused', 'redirect')
    if (registered.type === 'expired') {
      checkExpired(registered.session, init.session)
      throw new SessionExpiredError(String(registered.session))
    }
    if (registered.type === 'refused') throw errorFromWire(registered.error)
    if (registered.type === 'redirect') throw redirected(registered)
    checkRegistered(registered, { term: welcome.term, session: init.session })
    return lanes.registered(target.peerId, registered, registeredAt)
  }

  private async dial(lane: Lane): Promise<void> {
    const { lanes, steps, target, init } = this
    const { cluster, network } = init
    const protocol = lane === 'control' ? PROTOCOL_CONTROL : PROTOCOL_BULK
    const maxFrameBytes = lane === 'control' ? MAX_CONTROL_FRAME_BYTES : MAX_BULK_FRAME_BYTES
    // The network times the steps of a dial.
    steps.end()
    const { stepMs } = steps
    const answered = (address: string): void => cluster.answered(target.peerId, address)
    const options = { protocol, maxFrameBytes, stepMs, answered, signal: lanes.signal }
    lanes.adopt(lane, await network.dial(target.peerId, target.addresses, options))
    steps.next()
  }
}

function redirected({ leader, term, role }: LeaderMessageOf<'redirect'>): RedirectError {
  return new RedirectError(leader, term, role)
}

/**
 * Each step of a handshake has its limit, and none the whole: a peer that is far away, or behind a thin line, gets on, and one
 * that is stuck is left soon.
 */
class Steps {
  private cancel = () => {}

  constructor(
    private readonly init: Pick<ConnectInit, 'clock' | 'cluster' | 'maxStepMs'>,
    private readonly stuck: (reason: string) => void
  ) {}

  get stepMs(): number {
    const { cluster, maxStepMs } = this.init
    return Math.min(timingOf(cluster.roundTripMs).stepMs, maxStepMs)
  }

  next(): void {
    this.cancel()
    const { stepMs } = this
    this.cancel = this.init.clock.schedule(stepMs, () => this.stuck(`did not answer within ${stepMs} ms`))
  }

  end(): void {
    this.cancel()
  }
}

class Lanes {
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
      // A grant may overtake `registered`, which is on the other stream.
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
    const bulk = new BulkSender(this.streams.bulk!, this.clock, registered.ttlMs)
    this.bulkSender = bulk
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

/** Room for the whole frame at once: one that grows copies its pages again. */
function capacityOf(message: ClientMessage): number {
  if (message.type === 'ownerAckDirty') return 128 + message.dirty.bytes.length
  if (message.type === 'writeback') return message.pages.reduce((sum, page) => sum + 64 + page.bytes.length, 128)
  return 256
}
