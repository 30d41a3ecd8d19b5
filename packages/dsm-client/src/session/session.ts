/** Sessions: a client's registrations with the cluster, which keeps pages for each. */
import {
  BusyError,
  ClosedError,
  SessionExpiredError,
  UnavailableError,
  errorFromWire,
  type Clock,
  type LeaderMessage,
  type LeaderMessageOf,
  type LostRange,
  type Network,
  type Random,
  type ReplyTo,
  type RequestType
} from '@quire/protocol'
import type { Logger } from 'pino'
import type { CoherenceCounters, FrameProvider } from '../core/index.js'
import { Recorder, type HistoryEvent } from '../history.js'
import type { LeaderPath, SessionState } from '../types.js'
import type { Start } from '../waiting.js'
import { checkExpired } from './claims.js'
import type { ClusterView } from './cluster-view.js'
import { DirectPathError, RedirectError, type Connection } from './connection.js'
import { DirectSearch } from './direct-search.js'
import type { FaultTimer } from './fault-timer.js'
import { KeepAlive } from './keep-alive.js'
import { LeaderSearch } from './leader-search.js'
import { RequestQueue, isReplyTo, type Reply, type RequestBody, type RequestOptions } from './request-queue.js'
import { SessionPages, type SessionLife } from './session-pages.js'
import { SessionWaits } from './session-waits.js'

/** What a client takes from its environment. */
export interface ClientComponents {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
}

export interface SessionInit {
  readonly cluster: ClusterView
  readonly frames: FrameProvider
  readonly faults: FaultTimer
  readonly counters: CoherenceCounters
  readonly logger: Logger
  readonly ttlMs: number
  readonly timeoutMs: number
  readonly history: ((event: HistoryEvent) => void) | undefined
  /** The pages may be used until then, in milliseconds of the clock, or until they are taken away. */
  readonly onLease: (until: number) => void
  readonly onLost: (lost: readonly LostRange[]) => void
  readonly onLeader: (leader: string, term: number) => void
}

const MAX_TICK_MS = 500

/**
 * Keeps a session alive from its registration to its end.
 *
 * It finds the leader, registers, and follows the leader when that changes. On each connection it repeats the requests
 * that are unanswered.
 */
export class Session implements SessionLife {
  readonly pages: SessionPages
  readonly recorder: Recorder
  id = 0
  /** The time to live that the cluster counts with. Before the session is open: the time that the client asks for. */
  ttlMs: number
  private currentState: SessionState = 'suspect'
  private readonly keepAlive: KeepAlive
  private readonly waits: SessionWaits
  private readonly requests = new RequestQueue()
  private connection: Connection | undefined
  private readonly stopping = new AbortController()
  private readonly lostController = new AbortController()
  private failure: Error | undefined
  private activeWaiters: Array<{ resolve: () => void; reject: (error: Error) => void }> = []
  private ending = false
  private cancelTick = () => {}
  private nextTickAt = Infinity
  private readonly search: LeaderSearch
  private running: Promise<void> = Promise.resolve()

  constructor(
    private readonly components: ClientComponents,
    private readonly init: SessionInit
  ) {
    this.ttlMs = init.ttlMs
    const { cluster, frames, counters, faults, logger, ttlMs, timeoutMs } = init
    const { clock, network } = components
    this.recorder = new Recorder({
      client: network.id,
      process: () => String(this.id),
      now: () => clock.now(),
      emit: init.history
    })
    const connection = () => this.connection
    this.keepAlive = new KeepAlive({ clock, connection, onExtended: init.onLease })
    const underWay = () => this.pages.coherence.underWay
    this.waits = new SessionWaits({
      self: network.id,
      clock,
      cluster,
      timeoutMs,
      keepAlive: this.keepAlive,
      connection,
      underWay
    })
    const { recorder, waits } = this
    this.pages = new SessionPages({ clock, frames, counters, faults, recorder, waits, life: this })
    const session = (): number => this.id
    this.search = new LeaderSearch({ ...components, cluster, logger, ttlMs, session, signal: this.stopping.signal })
  }

  /** The state, as far as it can be known here and now. */
  get state(): SessionState {
    if (this.currentState === 'active' && !this.isLeaseValid()) return 'suspect'
    return this.currentState
  }

  /** Aborts when the session is gone. */
  get lost(): AbortSignal {
    return this.lostController.signal
  }

  /** The error of every further use, once the session is gone. */
  get ended(): Error | undefined {
    return this.failure
  }

  /** The open connection to the leader. */
  get path(): LeaderPath {
    if (this.connection === undefined) return { path: 'none', relay: undefined }
    const { relay } = this.connection
    return { path: relay === undefined ? 'direct' : 'relayed', relay }
  }

  /** The number of requests without an answer. */
  get pendingRequests(): number {
    return this.requests.size
  }

  isLeaseValid(): boolean {
    return this.failure === undefined && this.keepAlive.isLeaseValid()
  }

  /** Resolves when the session is open. Rejects with UnavailableError, or with the NotAuthorizedError of a peer. */
  async start(signal?: AbortSignal): Promise<void> {
    this.running = this.run()
    try {
      await this.whenActive(signal)
    } catch (error) {
      await this.stop(error as Error, true)
      throw error
    }
  }

  /** Resolves at once while the lease is valid, otherwise when the cluster has confirmed the session. */
  whenActive(signal?: AbortSignal): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    if (this.isLeaseValid()) return Promise.resolve()
    return this.wait<void>((resolve, reject) => {
      const waiter = { resolve, reject }
      this.activeWaiters.push(waiter)
      return () => {
        this.activeWaiters = this.activeWaiters.filter((other) => other !== waiter)
      }
    }, signal)
  }

  /**
   * Sends a request, and repeats it across leaders until its answer arrives. A `failed` answer rejects with its typed
   * error.
   */
  request<T extends RequestType>(
    body: RequestBody & { readonly type: T },
    { signal, onAnswer, onLate }: RequestOptions<T> = {}
  ): Promise<ReplyTo<T>> {
    return this.wait(
      (resolve, reject) => {
        if (this.failure !== undefined) {
          reject(this.failure)
          return () => {}
        }
        const settle = (reply: Reply) => {
          if (reply.type === 'failed') return reject(errorFromWire(reply.error))
          if (!isReplyTo(body.type, reply)) {
            return reject(new UnavailableError(`the leader answered ${body.type} with ${reply.type}`))
          }
          onAnswer?.(reply)
          resolve(reply)
        }
        return this.requests.add({ body, settle, reject }, onLate)
      },
      signal,
      this.onBusy(body)
    )
  }

  /** Makes the error of a request that a reachable majority does not answer: a pin is in the way. */
  private onBusy(body: RequestBody): (() => Error) | undefined {
    if (body.type !== 'truncate' && body.type !== 'punch') return undefined
    const space = this.pages.table.space(body.file)
    if (space === undefined) return undefined
    return () => new BusyError(space.path, body.type === 'truncate' ? body.size : body.first * space.pageSize)
  }

  private wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T> {
    return this.waits.wait(start, signal, onBusy)
  }

  /**
   * Ends the session at the cluster if a leader answers in time, and stops. With `isFlushed`, dirty pages that remain
   * are no loss.
   */
  async end(isFlushed: boolean, signal: AbortSignal): Promise<void> {
    this.ending = true
    if (this.failure === undefined && this.id !== 0) {
      try {
        await this.request({ type: 'endSession' }, { signal })
        this.init.logger.info({ session: this.id }, 'session ended')
      } catch (error) {
        // The session then ends by expiry.
        this.init.logger.debug({ err: error }, 'the session could not be ended')
      }
    }
    await this.stop(new ClosedError('the client'), isFlushed)
  }

  private async stop(reason: Error, isFlushed: boolean): Promise<void> {
    this.fail(reason, (lost) => {
      // Bytes that could not be flushed in time go with the session, even when it ends in order.
      this.recorder.lost(lost)
      // A page that was flushed under a pin still counts as dirty, because the program may write on.
      if (!isFlushed && lost.length > 0) this.init.onLost(lost)
      return reason
    })
    this.stopping.abort(reason)
    this.connection?.close()
    await this.running
  }

  // ---- connections

  private async run(): Promise<void> {
    this.tick()
    while (this.failure === undefined) {
      try {
        const connection = await this.search.connect()
        const reason = await this.follow(connection)
        this.search.ended(connection, reason)
      } catch (error) {
        if (error instanceof SessionExpiredError) this.expire()
        else this.fail(error as Error, () => error as Error)
      }
    }
    this.search.stop()
    this.cancelTick()
  }

  private async follow(connection: Connection): Promise<Error> {
    if (this.failure !== undefined) {
      connection.close()
      return this.failure
    }
    const { registered, registeredAt, remote: leader, relay, term } = connection
    const { logger } = this.init
    this.connection = connection
    logger.info({ leader, term, relay }, 'connected to the leader')
    if (this.id === 0) this.logOpened(registered)
    this.id = registered.session
    this.ttlMs = registered.ttlMs
    this.keepAlive.begin(registeredAt, registered.ttlMs)
    this.init.onLeader(connection.remote, connection.term)
    this.activated()
    this.requests.connected((message) => {
      // A request must not overtake what the core has decided before it, such as the answers to orders before a close.
      this.pages.drain()
      connection.send('control', message)
    })
    this.pages.connected(connection)
    connection.start((message) => this.receive(message))
    const direct = relay === undefined ? undefined : this.searchDirectPath(connection)
    const reason = await connection.closed
    direct?.stop()
    this.connection = undefined
    if (this.failure === undefined) {
      const why = reason instanceof UnavailableError ? reason.reason : reason.message
      logger.info({ leader, term, reason: why }, 'connection to the leader lost')
    }
    this.requests.disconnected()
    // Does nothing if the leader itself has named another leader.
    const { cluster } = this.init
    cluster.lost(connection.remote)
    this.pages.disconnected()
    return reason
  }

  /** Moves the session to a direct connection as soon as the leader answers on one. */
  private searchDirectPath(connection: Connection): DirectSearch {
    const { clock, random } = this.components
    return new DirectSearch({
      clock,
      random,
      greet: (signal) => this.search.greetDirectly(connection.remote, signal),
      found: (welcome) => {
        this.search.prefer(connection.remote, welcome)
        connection.close(new DirectPathError())
      }
    })
  }

  /** Logs the one line with the client's whole id. */
  private logOpened({ session, ttlMs }: LeaderMessageOf<'registered'>): void {
    const { id } = this.components.network
    this.init.logger.info({ session, id, clusterId: this.init.cluster.clusterId, ttlMs }, 'session opened')
  }

  private receive(message: LeaderMessage): void {
    this.keepAlive.heard()
    switch (message.type) {
      case 'pong':
        break
      case 'bulkReceived':
        this.pages.bulkReceived(message.bytes)
        break
      case 'members':
        this.init.cluster.learn(message.members)
        break
      case 'keepAliveAck':
        this.keepAlive.answered(message.nonce)
        if (this.isLeaseValid()) this.activated()
        break
      case 'expired':
        this.toldExpired(message.session)
        break
      case 'redirect':
        if (message.leader !== '') this.init.cluster.leader = message.leader
        this.connection?.close(new RedirectError(message.leader, message.term, message.role))
        break
      case 'refused':
        this.connection?.abort(errorFromWire(message.error))
        break
      case 'opened':
      case 'files':
      case 'done':
      case 'checksum':
      case 'failed':
        this.requests.answered(message)
        break
      default:
        this.pages.receive(message)
        this.waits.served(message)
    }
  }

  private activated(): void {
    this.currentState = 'active'
    for (const waiter of this.activeWaiters.splice(0)) waiter.resolve()
  }

  private tick(): void {
    const { clock } = this.components
    const now = clock.now()
    const intervalMs = Math.min(MAX_TICK_MS, this.init.ttlMs / 16)
    if (this.connection !== undefined) {
      this.keepAlive.check(now, now - this.nextTickAt > intervalMs)
      this.pages.retry()
    }
    if (this.failure === undefined) {
      this.nextTickAt = now + intervalMs
      this.cancelTick = clock.schedule(intervalMs, () => this.tick())
    }
  }

  // ---- the end

  /** The leader says, on the open connection, that a session has expired. */
  private toldExpired(session: number): void {
    try {
      checkExpired(session, this.id)
    } catch (error) {
      return this.connection?.abort(error as Error)
    }
    this.expire()
    this.connection?.abort(this.failure!)
  }

  private expire(): void {
    if (this.failure !== undefined) return
    let lostRanges: readonly LostRange[] = []
    this.fail(new SessionExpiredError(String(this.id)), (lost) => {
      lostRanges = lost
      this.recorder.lost(lost)
      return new SessionExpiredError(String(this.id), lost)
    })
    // A session that is being ended, and loses nothing, has ended as it should.
    if (this.ending && lostRanges.length === 0) return
    const lostBytes = lostRanges.reduce((sum, { length }) => sum + length, 0)
    this.init.logger.warn({ session: this.id, lostBytes, lostRanges: lostRanges.length }, 'session expired')
    this.init.onLost(lostRanges)
  }

  private fail(reason: Error, withLost: (lost: readonly LostRange[]) => Error): void {
    if (this.failure !== undefined) return
    this.currentState = 'expired'
    let error = reason
    this.failure = reason
    this.cancelTick()
    this.pages.sessionLost((lost) => {
      error = withLost(lost)
      this.failure = error
      return error
    })
    this.requests.fail(error)
    for (const waiter of this.activeWaiters.splice(0)) waiter.reject(error)
    this.lostController.abort(error)
  }
}
