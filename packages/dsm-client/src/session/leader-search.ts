/** The search for the leader. */
import { onAbort } from '@quire/net'
import {
  NotAuthorizedError,
  ROOT_GROUP,
  SessionExpiredError,
  timingOf,
  type Clock,
  type Network,
  type Random
} from '@quire/protocol'
import type { Logger } from 'pino'
import { ForeignPeerError, type ClusterView, type Target } from './cluster-view.js'
import { DirectPathError, RedirectError, StalledError, type Connection } from './connection.js'
import { greet, type ConnectInit, type Welcome } from './handshake.js'
import { SecondOpinions } from './second-opinions.js'

export interface LeaderSearchInit {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly cluster: ClusterView
  readonly logger: Logger
  readonly ttlMs: number
  /** The session to register; 0: a new one. */
  readonly session: () => number
  /** Ends the search. */
  readonly signal: AbortSignal
}

const MIN_BACKOFF_MS = 20
const MAX_BACKOFF_MS = 500
/**
 * The share of a step before the client asks the next peer beside it; a quarter of a second with the default timing.
 */
const DELAY_SHARE = 1 / 10
const MAX_AT_ONCE = 8
/** Refusals that a peer would repeat. */
const FINAL_REFUSALS: ReadonlySet<string> = new Set([
  'InvalidArgumentError',
  'NotAuthorizedError',
  'QuotaExceededError',
  'VersionMismatchError'
])

interface Asked {
  readonly sinceMs: number
  readonly controller: AbortController
}

type SearchOutcome =
  | { readonly target: Target; readonly welcome: Welcome }
  | { readonly target: Target; readonly problem: Error }

/**
 * Finds the leader of a cluster for a session, and the way to it.
 *
 * The client asks one peer after another. While a peer does not answer, it asks the next one beside it, as RFC 8305
 * ("Happy Eyeballs") does with addresses. So peers that hang do not hide the peer that answers. It registers the
 * session with one peer at a time.
 *
 * If the peer that others name as the leader does not answer at its own addresses, the client tries it through those
 * that answer. If it did not answer the last time either, the client does not wait for the addresses to fail again.
 */
export class LeaderSearch {
  /** Attempts without an outcome, by `keyOf` their targets. */
  private readonly asking = new Map<string, Asked>()
  /** The ways to the leader that have failed since a peer last named it, by `keyOf` their targets. */
  private readonly tried = new Set<string>()
  /** Outcomes that the search has not looked at, the oldest first. */
  private outcomes: SearchOutcome[] = []
  private wake = (): void => {}
  /** Defined after a peer has refused this client. */
  private opinions: SecondOpinions | undefined

  constructor(private readonly init: LeaderSearchInit) {}

  /**
   * Resolves when the session is registered. Rejects with a final refusal, with SessionExpiredError, or with the
   * signal's reason.
   */
  async connect(): Promise<Connection> {
    const { clock, random, signal } = this.init
    let backoffMs = 0
    let nextAtMs = clock.now()
    try {
      for (;;) {
        if (signal.aborted) throw signal.reason
        const outcome = this.outcomes.shift()
        if (outcome !== undefined) {
          const connection = await this.conclude(outcome)
          if (connection !== undefined) return connection
          // A refused client asks each other peer once, and no peer twice. The ways to a leader are tried once, too.
          const isNew = this.opinions !== undefined || this.relayed() !== undefined
          backoffMs = isNew ? 0 : Math.min(MAX_BACKOFF_MS, Math.max(MIN_BACKOFF_MS, backoffMs * 2))
          nextAtMs = clock.now() + backoffMs * (0.5 + random.next() / 2)
        } else if (this.opinions?.leftMs === 0) {
          throw this.opinions.refusal
        } else if (clock.now() >= nextAtMs) {
          const isAsked = this.askNext()
          nextAtMs = isAsked ? clock.now() + this.delayMs : Infinity
        } else {
          await this.event(nextAtMs)
        }
      }
    } finally {
      this.abandon('the search has ended')
    }
  }

  /** Says hello to the peer at its own addresses. */
  greetDirectly(peerId: string, signal: AbortSignal): Promise<Welcome> {
    return greet(this.init.cluster.target(peerId), this.connectInit(signal))
  }

  /** The next `connect` registers the session with this peer, if that still leads. */
  prefer(peerId: string, welcome: Welcome): void {
    this.outcomes.push({ target: this.init.cluster.target(peerId), welcome })
  }

  /** Drops what `prefer` has left. */
  stop(): void {
    this.abandon('the session has ended')
  }

  /** A registered connection has ended. */
  ended({ remote, relay }: Connection, reason: Error): void {
    const { routes } = this.init.cluster
    if (reason instanceof DirectPathError) return
    if (relay !== undefined && !(reason instanceof RedirectError)) routes.missed(relay)
    if (relay === undefined && reason instanceof StalledError) routes.missed(remote)
    this.heardOf(remote, reason)
  }

  /** Remembers what the peer said, for the error of a call that times out. */
  private heardOf(peerId: string, problem: Error): void {
    const { peerOutcomes } = this.init.cluster
    if (problem instanceof RedirectError) peerOutcomes.answered(peerId, problem.role, problem.leader)
    else if (problem instanceof StalledError) peerOutcomes.answered(peerId, 'leader', '')
    else if (FINAL_REFUSALS.has(problem.name)) peerOutcomes.refused(peerId, problem)
    else peerOutcomes.failed(peerId, problem)
    this.opinions?.heard(peerId)
  }

  private get delayMs(): number {
    return timingOf(this.init.cluster.roundTripMs).stepMs * DELAY_SHARE
  }

  /** Asks the next peer. Returns false if there is none to ask now. Throws the refusal once all peers have answered. */
  private askNext(): boolean {
    const { asking, opinions, tried } = this
    if (asking.size >= MAX_AT_ONCE) return false
    const except = new Set([...asking.keys(), ...tried, ...(opinions?.asked ?? [])])
    const target = this.relayed() ?? this.init.cluster.pick(except)
    if (target !== undefined) this.ask(target)
    else if (opinions !== undefined && asking.size === 0) throw opinions.refusal
    return target !== undefined
  }

  /**
   * The leader through a relay, if its own addresses have failed, or are being tried and have failed before. Undefined
   * if there is no relay that is not in use for it.
   */
  private relayed(): Target | undefined {
    const { asking, tried, opinions } = this
    const { cluster } = this.init
    const { leader, routes } = cluster
    if (opinions !== undefined || (!asking.has(leader) && !tried.has(leader))) return undefined
    return routes
      .relaysTo(leader)
      .map((relay) => cluster.target(leader, relay))
      .find((target) => !asking.has(keyOf(target)) && !tried.has(keyOf(target)))
  }

  private ask(target: Target): void {
    const key = keyOf(target)
    const controller = new AbortController()
    const asked: Asked = { sinceMs: this.init.clock.now(), controller }
    this.asking.set(key, asked)
    const ended = (outcome: SearchOutcome): void => {
      if (this.asking.get(key) !== asked) return drop(outcome, 'the answer came too late')
      this.asking.delete(key)
      this.outcomes.push(outcome)
      this.wake()
    }
    greet(target, this.connectInit(controller.signal)).then(
      (welcome) => ended({ target, welcome }),
      (problem: unknown) => ended({ target, problem: problem as Error })
    )
  }

  private connectInit(signal: AbortSignal): ConnectInit {
    const { network, clock, cluster, ttlMs, session } = this.init
    const maxStepMs = this.opinions?.leftMs ?? Infinity
    return { network, clock, cluster, group: ROOT_GROUP, maxStepMs, session: session(), ttlMs, signal }
  }

  /** Resolves when there is an outcome, or at `atMs`. */
  private event(atMs: number): Promise<void> {
    const { clock, signal } = this.init
    const untilMs = Math.min(atMs, this.opinions?.untilMs ?? Infinity)
    return new Promise((resolve) => {
      const done = (): void => {
        cancel()
        leave()
        resolve()
      }
      const cancel = untilMs === Infinity ? () => {} : clock.schedule(Math.max(0, untilMs - clock.now()), done)
      const leave = onAbort(signal, done)
      this.wake = done
    })
  }

  /** Returns undefined if the search continues. Throws the error that ends it. */
  private async conclude(outcome: SearchOutcome): Promise<Connection | undefined> {
    const { target } = outcome
    if ('problem' in outcome) {
      this.failed(target, outcome.problem)
      return undefined
    }
    this.abandon('another peer leads')
    const leave = onAbort(this.init.signal, () => outcome.welcome.abort(this.init.signal.reason as Error))
    try {
      const connection = await outcome.welcome.register()
      this.opinions = undefined
      this.tried.clear()
      if (target.relay === undefined) this.init.cluster.routes.reached(target.peerId)
      return connection
    } catch (error) {
      this.failed(target, error as Error)
      return undefined
    } finally {
      leave()
    }
  }

  private failed(target: Target, problem: Error): void {
    const { cluster, logger } = this.init
    const { peerId, relay } = target
    const hasAnswered = isAnswer(problem)
    this.noteRoute(target, hasAnswered)
    // The failure of a relay does not say why the peer itself did not answer.
    if (hasAnswered || relay === undefined) this.heardOf(peerId, problem)
    logger.debug({ peer: peerId, relay: relay?.peerId, err: problem }, 'connecting failed')
    if (problem instanceof SessionExpiredError) throw problem
    // Follow a hint once, on each way. If all fail, ask the other peers.
    if (cluster.leader === peerId && (hasAnswered || !this.hasWayToLeader())) this.follow('')
    if (problem instanceof ForeignPeerError && !cluster.isLost) return
    if (FINAL_REFUSALS.has(problem.name)) return this.refused(peerId, problem)
    if (problem instanceof RedirectError && problem.leader !== '' && problem.leader !== peerId) {
      this.follow(problem.leader)
    }
  }

  private noteRoute(target: Target, hasAnswered: boolean): void {
    const { leader, routes } = this.init.cluster
    const { peerId, relay } = target
    if (peerId === leader) this.tried.add(keyOf(target))
    if (relay !== undefined) return
    if (hasAnswered) routes.reached(peerId)
    else routes.missed(peerId)
  }

  /** A way to the leader is being tried, or can be tried. */
  private hasWayToLeader(): boolean {
    const { leader } = this.init.cluster
    return this.relayed() !== undefined || [...this.asking.keys()].some((key) => key.startsWith(leader))
  }

  /** A peer names the leader, or the hint has failed on each way. */
  private follow(leader: string): void {
    this.init.cluster.leader = leader
    this.tried.clear()
  }

  /**
   * Throws the refusal of a session that was never open: waiting does not change it. `SecondOpinions` is the exception.
   */
  private refused(peerId: string, problem: Error): void {
    const { network, cluster, session } = this.init
    if (session() !== 0) return
    if (problem instanceof NotAuthorizedError && problem.who === network.id) {
      this.opinions ??= new SecondOpinions(this.init.clock, problem, this.othersAskedAt(peerId))
      this.opinions.heard(peerId)
      if (cluster.others(this.opinions.asked).length > 0) return
    }
    throw problem
  }

  /** Returns when the client asked the last of the other peers; now, if it has not asked all. */
  private othersAskedAt(peerId: string): number {
    const { clock, cluster } = this.init
    const others = cluster.others(new Set([peerId]))
    return Math.max(0, ...others.map((other) => this.asking.get(other)?.sinceMs ?? clock.now()))
  }

  /** Ends all other attempts. */
  private abandon(why: string): void {
    const asked = [...this.asking.values()]
    const outcomes = this.outcomes.splice(0)
    this.asking.clear()
    this.tried.clear()
    for (const { controller } of asked) controller.abort(new Error(why))
    for (const outcome of outcomes) drop(outcome, why)
  }
}

/** The key of a direct target is its PeerId. */
function keyOf({ peerId, relay }: Target): string {
  return relay === undefined ? peerId : `${peerId} through ${relay.peerId}`
}

/** True if the problem comes from the peer, so that the way to it works. */
function isAnswer(problem: Error): boolean {
  const isTyped = FINAL_REFUSALS.has(problem.name) || problem instanceof SessionExpiredError
  return isTyped || problem instanceof RedirectError || problem instanceof StalledError
}

function drop(outcome: SearchOutcome, why: string): void {
  if ('welcome' in outcome) outcome.welcome.abort(new Error(why))
}
