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
import { RedirectError, StalledError, type Connection } from './connection.js'
import { greet, type Welcome } from './handshake.js'
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
  | { readonly peerId: string; readonly welcome: Welcome }
  | { readonly peerId: string; readonly problem: Error }

/**
 * Finds the leader of a cluster for a session.
 *
 * The client asks one peer after another. While a peer does not answer, it asks the next one beside it, as RFC 8305
 * ("Happy Eyeballs") does with addresses. So peers that hang do not hide the peer that answers. It registers the
 * session with one peer at a time.
 */
export class LeaderSearch {
  /** Peers that have not answered yet. */
  private readonly asking = new Map<string, Asked>()
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
          // A refused client asks each other peer once, and no peer twice.
          backoffMs =
            this.opinions !== undefined ? 0 : Math.min(MAX_BACKOFF_MS, Math.max(MIN_BACKOFF_MS, backoffMs * 2))
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

  /** Remembers what the peer said, for the error of a call that times out. */
  heardOf(peerId: string, problem: Error): void {
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
    const { asking, opinions } = this
    if (asking.size >= MAX_AT_ONCE) return false
    const target = this.init.cluster.pick(new Set([...asking.keys(), ...(opinions?.asked ?? [])]))
    if (target !== undefined) this.ask(target)
    else if (opinions !== undefined && asking.size === 0) throw opinions.refusal
    return target !== undefined
  }

  private ask(target: Target): void {
    const { network, clock, cluster, ttlMs, session } = this.init
    const { peerId } = target
    const controller = new AbortController()
    const asked: Asked = { sinceMs: clock.now(), controller }
    this.asking.set(peerId, asked)
    const ended = (outcome: SearchOutcome): void => {
      if (this.asking.get(peerId) !== asked) return drop(outcome, 'the answer came too late')
      this.asking.delete(peerId)
      this.outcomes.push(outcome)
      this.wake()
    }
    greet(target, {
      network,
      clock,
      cluster,
      group: ROOT_GROUP,
      maxStepMs: this.opinions?.leftMs ?? Infinity,
      session: session(),
      ttlMs,
      signal: controller.signal
    }).then(
      (welcome) => ended({ peerId, welcome }),
      (problem: unknown) => ended({ peerId, problem: problem as Error })
    )
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
    const { peerId } = outcome
    if ('problem' in outcome) {
      this.failed(peerId, outcome.problem)
      return undefined
    }
    this.abandon('another peer leads')
    const leave = onAbort(this.init.signal, () => outcome.welcome.abort(this.init.signal.reason as Error))
    try {
      const connection = await outcome.welcome.register()
      this.opinions = undefined
      return connection
    } catch (error) {
      this.failed(peerId, error as Error)
      return undefined
    } finally {
      leave()
    }
  }

  private failed(peerId: string, problem: Error): void {
    const { cluster, logger } = this.init
    this.heardOf(peerId, problem)
    logger.debug({ peer: peerId, err: problem }, 'connecting failed')
    if (problem instanceof SessionExpiredError) throw problem
    // Follow a hint once. If it fails, ask the other peers.
    if (cluster.leader === peerId) cluster.leader = ''
    if (problem instanceof ForeignPeerError && !cluster.isLost) return
    if (FINAL_REFUSALS.has(problem.name)) return this.refused(peerId, problem)
    if (problem instanceof RedirectError && problem.leader !== '' && problem.leader !== peerId) {
      cluster.leader = problem.leader
    }
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
    for (const { controller } of asked) controller.abort(new Error(why))
    for (const outcome of outcomes) drop(outcome, why)
  }
}

function drop(outcome: SearchOutcome, why: string): void {
  if ('welcome' in outcome) outcome.welcome.abort(new Error(why))
}
