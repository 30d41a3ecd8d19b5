/** From a peer's address to a registered connection. */
import { onAbort } from '@quire/net'
import {
  FEATURES,
  MAX_BULK_FRAME_BYTES,
  MAX_CONTROL_FRAME_BYTES,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  SessionExpiredError,
  UnavailableError,
  errorFromWire,
  sessionTtlAt,
  type ClientMessageOf,
  type Clock,
  type LeaderMessageOf,
  type Network
} from '@quire/protocol'
import { checkExpired, checkRegistered } from './claims.js'
import type { ClusterView, Target } from './cluster-view.js'
import { RedirectError, StalledError, type Connection, type Lane } from './connection.js'
import { LanePair } from './lane-pair.js'
import { StepTimer } from './step-timer.js'

export interface ConnectInit {
  readonly network: Network
  readonly clock: Clock
  readonly cluster: ClusterView
  readonly group: number
  /** For each step of the handshake, at most. The cluster's timing may allow less. */
  readonly maxStepMs: number
  /** The session to register again; 0: a new one. */
  readonly session: number
  readonly ttlMs: number
  readonly signal: AbortSignal
}

/** A peer that leads has answered the hello. The session is not registered yet. */
export interface Welcome {
  /**
   * Opens the bulk stream and registers the session. Call it once. Rejects with RedirectError, StalledError,
   * SessionExpiredError, a typed refusal, or UnavailableError.
   */
  register(): Promise<Connection>
  /** Ends the connection to the peer. */
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

/** Registers a session with one peer, step by step. */
class Handshake {
  private readonly lanes: LanePair
  private readonly steps: StepTimer
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
    const lanes = new LanePair(group, clock)
    this.lanes = lanes
    this.steps = new StepTimer({ ...init, isRelayed: target.relay !== undefined }, (reason) => {
      lanes.abort(lanes.isWelcome ? new StalledError(reason) : new UnavailableError(reason))
    })
  }

  abort(reason: Error): void {
    this.lanes.abort(reason)
  }

  /** Runs a part of the handshake. A failure of the part, or the signal, ends both streams. */
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
    // The peer welcomed this client a moment ago. It refuses this attempt because it no longer leads.
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
    return lanes.registered(target, registered, registeredAt)
  }

  private async dial(lane: Lane): Promise<void> {
    const { lanes, steps, target, init } = this
    const { cluster, network } = init
    const protocol = lane === 'control' ? PROTOCOL_CONTROL : PROTOCOL_BULK
    const maxFrameBytes = lane === 'control' ? MAX_CONTROL_FRAME_BYTES : MAX_BULK_FRAME_BYTES
    // The network limits the steps of a dial itself.
    steps.end()
    const { stepMs } = steps
    const answered = (address: string): void => cluster.answered(target.peerId, address)
    const { relay } = target
    const options = { protocol, maxFrameBytes, stepMs, answered, relay, signal: lanes.signal }
    lanes.adopt(lane, await network.dial(target.peerId, target.addresses, options))
    steps.next()
  }
}

function redirected({ leader, term, role }: LeaderMessageOf<'redirect'>): RedirectError {
  return new RedirectError(leader, term, role)
}
