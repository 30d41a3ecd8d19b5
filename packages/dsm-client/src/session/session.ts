/**
 * A session's life: find the leader, register, keep the lease, follow the leader when it changes, and repeat what was not answered.
 * The driver of the coherence core: it carries messages between the core and the connection.
 */
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
  type WireFileStat
} from '@quire/protocol'
import { shortId } from '@quire/net'
import type { Logger } from 'pino'
import { checkExpired } from './claims.js'
import type { ClusterView } from './cluster-view.js'
import { RedirectError, StalledError, type Connection } from './connection.js'
import {
  Coherence,
  type AddressSpacePages,
  type CoherenceCounters,
  type FrameProvider,
  type PageTable
} from '../core/index.js'
import { Lease } from '../core/lease.js'
import { Liveness } from '../core/liveness.js'
import { Recorder, type HistoryEvent } from '../history.js'
import type { PageHost } from '../host.js'
import { LeaderSearch } from './leader-search.js'
import { RequestQueue, type Reply, type RequestBody, type RequestOptions } from './request-queue.js'
import { FileSizes } from './file-sizes.js'
import type { FaultTimer } from './fault-timer.js'
import type { SessionState } from '../types.js'
import { SlowWaits } from './slow-waits.js'
import { waitFor, type Start } from '../waiting.js'

/** What a client takes from the world around it. */
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
  readonly onLost: (lost: readonly LostRange[]) => void
  readonly onLeader: (leader: string, term: number) => void
}

const MAX_TICK_MS = 500

export class Session implements PageHost {
  readonly coherence: Coherence
  readonly recorder: Recorder
  id = 0
  /** As the cluster counts it; before it is open, what is wanted. */
  ttlMs: number
  private currentState: SessionState = 'suspect'
  private readonly lease = new Lease()
  private readonly liveness = new Liveness()
  private readonly slowWaits = new SlowWaits()
  private readonly requests = new RequestQueue()
  private connection: Connection | undefined
  private readonly stopping = new AbortController()
  private readonly lostController = new AbortController()
  private failure: Error | undefined
  private activeWaiters: Array<{ resolve: () => void; reject: (error: Error) => void }> = []
  private ending = false
  private cancelTick = () => {}
  private nextTickAt = Infinity
  private cancelHold = () => {}
  private readonly sizes: FileSizes
  private readonly search: LeaderSearch
  private running: Promise<void> = Promise.resolve()

  constructor(
    private readonly components: ClientComponents,
    private readonly init: SessionInit
  ) {
    this.ttlMs = init.ttlMs
    this.coherence = new Coherence(init.frames, init.counters)
    const request = (body: RequestBody, options?: RequestOptions): Promise<Reply> => this.request(body, options)
    this.sizes = new FileSizes({ host: this, coherence: this.coherence, request })
    const { cluster, logger, ttlMs } = init
    const session = (): number => this.id
    this.search = new LeaderSearch({ ...components, cluster, logger, ttlMs, session, signal: this.stopping.signal })
    this.recorder = new Recorder({
      client: components.network.id,
      process: () => String(this.id),
      now: () => components.clock.now(),
      emit: init.history
    })
  }

  get table(): PageTable {
    return this.coherence.table
  }

  now(): number {
    return this.components.clock.now()
  }

  flush(file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    return this.coherence.flush(file, first, last, done, fail)
  }

  startWriting(file: number, first: number, last: number, started: () => void, fail: (error: Error) => void): number {
    return this.coherence.startWriting(file, first, last, started, fail)
  }

  /** As far as can be known here and now. */
  get state(): SessionState {
    if (this.currentState === 'active' && !this.isLeaseValid()) return 'suspect'
    return this.currentState
  }

  /** Aborted when the session is gone. */
  get lost(): AbortSignal {
    return this.lostController.signal
  }

  /** Why nothing can be done with this session any more. */
  get ended(): Error | undefined {
    return this.failure
  }

  /** Requests without an answer. */
  get pendingRequests(): number {
    return this.requests.size
  }

  isLeaseValid(): boolean {
    return this.failure === undefined && this.lease.isValid(this.components.clock.now())
  }

  /** Resolves when the session is open. Rejects with UnavailableError, or NotAuthorizedError when a peer says so. */
  async start(signal?: AbortSignal): Promise<void> {
    this.running = this.run()
    try {
      await this.whenActive(signal)
    } catch (error) {
      await this.stop(error as Error, true)
      throw error
    }
  }

  /** Resolves at once while the lease is valid, else when the cluster has confirmed the session. */
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

  /** Sends a request and resolves with its answer, across leaders. A `failed` answer rejects with its typed error. */
  request(
    body: RequestBody,
    { signal, onAnswer, onLate }: RequestOptions = {}
  ): Promise<Exclude<Reply, { type: 'failed' }>> {
    return this.wait(
      (resolve, reject) => {
        if (this.failure !== undefined) {
          reject(this.failure)
          return () => {}
        }
        const settle = (reply: Reply) => {
          if (reply.type === 'failed') return reject(errorFromWire(reply.error))
          onAnswer?.(reply)
          resolve(reply)
        }
        return this.requests.add({ body, settle, reject }, onLate)
      },
      signal,
      this.onBusy(body)
    )
  }

  /** Made when a majority can be reached and yet there is no answer: a pin somewhere is in the way. */
  private onBusy(body: RequestBody): (() => Error) | undefined {
    if (body.type !== 'truncate' && body.type !== 'punch') return undefined
    const space = this.table.space(body.file)
    if (space === undefined) return undefined
    return () => new BusyError(space.path, body.type === 'truncate' ? body.size : body.first * space.pageSize)
  }

  /** See `FileSizes`. */
  statFile(space: AddressSpacePages, signal?: AbortSignal): Promise<WireFileStat> {
    return this.sizes.statFile(space, signal)
  }

  extend(space: AddressSpacePages, size: number, signal?: AbortSignal): Promise<void> {
    return this.sizes.extend(space, size, signal)
  }

  /** Waits with this session's time-out; the error tells what is known of why it took too long. */
  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T> {
    const { clock } = this.components
    const slow = this.slowWaits.begin(start, this.coherence.underWay)
    const onHalfway = () => {
      slow.watch()
      // Whether somebody else is busy or the cluster is gone: only a word of the majority from within the wait can tell.
      if (onBusy !== undefined) this.askForKeepAlive()
    }
    const onTimeout = (since: number) => {
      const { connection } = this
      if (onBusy !== undefined && connection !== undefined && this.lease.vouchedUntil > since) return onBusy()
      const problem =
        connection === undefined
          ? this.init.cluster.whyNoLeader()
          : `the leader ${shortId(connection.remote)} has not answered`
      return new UnavailableError(`${problem} (waited ${this.init.timeoutMs} ms)`)
    }
    return waitFor(slow.start, { clock, timeoutMs: this.init.timeoutMs, signal, onHalfway, onTimeout })
  }

  /** Carries out what the coherence core decided. Call it after every call of the core. */
  drain(): void {
    for (const effect of this.coherence.effects()) {
      switch (effect.type) {
        case 'send':
          this.connection?.send(effect.lane, effect.message)
          break
        case 'fault-sent':
          this.init.faults.begin(effect.req, effect.kind, this.components.clock.now())
          break
        case 'fault-done':
          this.init.faults.end(effect.req, this.components.clock.now())
          break
        case 'discard-ended':
          this.sizes.discardEnded(effect.file, effect.error)
          break
        case 'writing':
          this.recorder.writing(effect)
          break
        case 'written':
          this.recorder.written(effect.outcome)
          break
      }
    }
    this.awaitHolds()
  }

  /** Pages that are kept for a while are given up when it is over. */
  private awaitHolds(): void {
    this.cancelHold()
    const { nextDeadline } = this.coherence
    if (nextDeadline === Infinity) return
    const { clock } = this.components
    this.cancelHold = clock.schedule(Math.max(0, nextDeadline - clock.now()), () => {
      this.coherence.advance(clock.now())
      this.drain()
    })
  }

  /** Ends the session at the cluster, if one can be reached in time, and stops. What was not flushed, and should have been, is lost: see `isFlushed`. */
  async end(isFlushed: boolean, signal: AbortSignal): Promise<void> {
    this.ending = true
    if (this.failure === undefined && this.id !== 0) {
      try {
        await this.request({ type: 'endSession' }, { signal })
        this.init.logger.info({ session: this.id }, 'session ended')
      } catch (error) {
        // It then ends by expiry.
        this.init.logger.debug({ err: error }, 'the session could not be ended')
      }
    }
    await this.stop(new ClosedError('the client'), isFlushed)
  }

  private async stop(reason: Error, isFlushed: boolean): Promise<void> {
    this.fail(reason, (lost) => {
      // What could not be flushed in time goes with the session, also when it ends in order.
      this.recorder.lost(lost)
      // What was flushed under a pin counts as dirty still: the program may write on.
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
        this.search.heardOf(connection.remote, reason)
      } catch (error) {
        if (error instanceof SessionExpiredError) this.expire()
        else this.fail(error as Error, () => error as Error)
      }
    }
    this.cancelTick()
  }

  private async follow(connection: Connection): Promise<Error> {
    if (this.failure !== undefined) {
      connection.close()
      return this.failure
    }
    const { registered, registeredAt, remote: leader, term } = connection
    const { clock } = this.components
    const { logger } = this.init
    this.connection = connection
    logger.info({ leader, term }, 'connected to the leader')
    if (this.id === 0) this.logOpened(registered)
    this.id = registered.session
    this.ttlMs = registered.ttlMs
    this.lease.begin(registeredAt, registered.ttlMs)
    this.liveness.begin(clock.now(), registered.ttlMs)
    this.init.onLeader(connection.remote, connection.term)
    this.activated()
    this.requests.connected((message) => connection.send('control', message))
    this.coherence.limitBulk(connection.bulkWindowBytes, connection.bulkUnreceivedBytes)
    this.coherence.connected(registered)
    this.sizes.resolveDiscards()
    this.drain()
    connection.start((message) => this.receive(message))
    const reason = await connection.closed
    this.connection = undefined
    if (this.failure === undefined) {
      const why = reason instanceof UnavailableError ? reason.reason : reason.message
      logger.info({ leader, term, reason: why }, 'connection to the leader lost')
    }
    this.requests.disconnected()
    // Unless it said itself who leads now.
    const { cluster } = this.init
    cluster.lost(connection.remote)
    this.coherence.disconnected()
    this.drain()
    return reason
  }

  /** The one line that has the whole id of this client. */
  private logOpened({ session, ttlMs }: LeaderMessageOf<'registered'>): void {
    const { id } = this.components.network
    this.init.logger.info({ session, id, clusterId: this.init.cluster.clusterId, ttlMs }, 'session opened')
  }

  private receive(message: LeaderMessage): void {
    this.liveness.heard(this.components.clock.now())
    switch (message.type) {
      case 'pong':
        break
      case 'bulkReceived':
        this.bulkReceived(message.bytes)
        break
      case 'members':
        this.init.cluster.learn(message.members)
        break
      case 'keepAliveAck':
        this.lease.answered(message.nonce)
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
      case 'failed':
        this.requests.answered(message)
        break
      default:
        this.coherence.advance(this.components.clock.now())
        this.coherence.receive(message)
        this.drain()
        this.slowWaits.served(message)
    }
  }

  /** The core learns what the line carries: what cannot leave yet waits there, in order of urgency, and not in the connection. */
  private bulkReceived(bytes: number): void {
    const { connection } = this
    if (connection === undefined) return
    connection.bulkReceived(bytes)
    this.coherence.limitBulk(connection.bulkWindowBytes, connection.bulkUnreceivedBytes)
    this.drain()
  }

  private activated(): void {
    this.currentState = 'active'
    for (const waiter of this.activeWaiters.splice(0)) waiter.resolve()
  }

  // ---- time

  private tick(): void {
    const { clock } = this.components
    const now = clock.now()
    const { connection, lease, liveness } = this
    const intervalMs = Math.min(MAX_TICK_MS, this.init.ttlMs / 16)
    if (connection !== undefined) {
      // After a pause of this process, the leader's word may wait in its inbox: it is judged at the next tick.
      const isLate = now - this.nextTickAt > intervalMs
      if (!isLate && liveness.isSilent(now)) {
        connection.abort(new StalledError('is silent: it is dead, or has no majority'))
      } else {
        if (lease.isDue(now)) this.askForKeepAlive()
        if (liveness.isDue(now)) this.ping()
      }
      this.coherence.retry()
      this.sizes.resolveDiscards()
      this.drain()
    }
    if (this.failure === undefined) {
      this.nextTickAt = now + intervalMs
      this.cancelTick = clock.schedule(intervalMs, () => this.tick())
    }
  }

  private askForKeepAlive(): void {
    const now = this.components.clock.now()
    if (this.connection === undefined || !this.lease.mayAsk(now)) return
    this.connection.send('control', { type: 'keepAlive', nonce: this.lease.send(now) })
    this.liveness.asked(now)
  }

  private ping(): void {
    this.connection?.send('control', { type: 'ping' })
    this.liveness.asked(this.components.clock.now())
  }

  // ---- the end

  /** Over the connection that is open. */
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
    // When it was being ended, it has only come to its end.
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
    this.coherence.sessionLost((lost) => (error = withLost(lost)))
    this.failure = error
    this.cancelTick()
    this.drain()
    this.cancelHold()
    this.requests.fail(error)
    for (const waiter of this.activeWaiters.splice(0)) waiter.reject(error)
    this.lostController.abort(error)
  }
}
