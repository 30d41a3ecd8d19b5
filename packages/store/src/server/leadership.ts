import {
  ClosedError,
  FEATURES,
  InvalidArgumentError,
  NotAuthorizedError,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  errorToWire,
  isRequest,
  timingOf,
  type ClientMessage,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type QuireError,
  type Random
} from '@quire/protocol'
import type { Logger } from 'pino'
import type { CoherenceMessage, DirectoryStats } from '../directory/types.js'
import { isAnswer } from '../state/replies.js'
import type { Applied, SessionId, StateView } from '../state/view.js'
import type { Connection } from './connection.js'
import type { WhenRepaired } from './bulk-order.js'
import { ConnectionTable } from './connection-table.js'
import { DirectoryDriver } from './directory-driver.js'
import type { LaneQueue } from './lane.js'
import { createLeases, type Leases } from './leases.js'
import type { ServerLimits } from './limits.js'
import { MemberNews, type MemberNewsInit } from './member-news.js'
import { Proposals } from './proposals.js'
import { QuorumRounds } from './quorum-rounds.js'
import type { RaftPort } from './raft-port.js'
import type { Refusals } from '../observability/refusals.js'
import { Registrations } from './registrations.js'
import { RequestHandler } from './request-handler.js'
import type { Stages } from '../observability/stages.js'

export interface LeadershipInit extends MemberNewsInit {
  readonly group: number
  readonly term: number
  readonly clusterId: string
  /** This node's PeerId. */
  readonly self: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  readonly roundTripMs: () => number
  /** The message that tells a client to look for the leader again. */
  readonly redirect: () => LeaderMessage
  /** The reason why nothing may be stored now, if there is one. */
  readonly readOnly: () => QuireError | undefined
  readonly raft: RaftPort
  readonly view: StateView
  readonly whenRepaired: WhenRepaired
  readonly clock: Clock
  readonly random: Random
  readonly limits: ServerLimits
  readonly stages: Stages
  /** Shared by all terms. */
  readonly refusals: Refusals
  readonly logger?: Logger | undefined
  /** Runs an input that does not come through the group server. An error in it ends the node. */
  readonly guard: (input: () => void) => void
}

/** Messages that a connection may send before it has registered. */
const UNREGISTERED: ReadonlySet<ClientMessage['type']> = new Set<ClientMessage['type']>(['register'])
const BULK: ReadonlySet<ClientMessage['type']> = new Set<ClientMessage['type']>(['ownerAckDirty', 'writeback'])

/**
 * Serves the clients of one Raft group during one term of this node.
 *
 * The group server makes it when the node has won an election, and drops it when the term ends. So each term begins
 * with empty volatile state and new streams (rule 2).
 */
export class Leadership {
  readonly term: number
  private readonly directory: DirectoryDriver
  private readonly leases: Leases
  private readonly proposals: Proposals
  private readonly rounds: QuorumRounds
  private readonly requests: RequestHandler
  private readonly registrations: Registrations
  private readonly connections: ConnectionTable
  private readonly members: MemberNews
  private readonly stopTicking: () => void
  private ended = false

  constructor(private readonly init: LeadershipInit) {
    const { term, raft, clock, limits, view } = init
    this.term = term
    this.connections = new ConnectionTable(init)
    this.members = new MemberNews(init)
    this.leases = createLeases({ tickMs: limits.leaseTickMs, nowMs: clock.now(), sessions: view.sessions() })
    this.proposals = new Proposals(raft, clock, limits.maxProposalBytes)
    this.rounds = new QuorumRounds(raft)
    const connectionOf = (session: SessionId) => this.connections.ofSession(session)
    const violation = (client: Connection, error: QuireError) => this.violation(client, error)
    this.directory = new DirectoryDriver({
      term,
      view,
      proposals: this.proposals,
      connection: connectionOf,
      discarded: (file) => this.requests.discarded(file),
      whenRepaired: init.whenRepaired,
      guard: init.guard
    })
    this.requests = new RequestHandler({
      view,
      directory: this.directory,
      proposals: this.proposals,
      rounds: this.rounds,
      readOnly: init.readOnly,
      connection: connectionOf,
      violation,
      clock,
      whenRepaired: init.whenRepaired,
      guard: init.guard
    })
    this.registrations = new Registrations({
      term,
      raft,
      view,
      leases: this.leases,
      proposals: this.proposals,
      rounds: this.rounds,
      limits,
      clock,
      minTtlMs: () => timingOf(init.roundTripMs()).minSessionTtlMs,
      registered: (client, session, ttlMs) => this.registered(client, session, ttlMs),
      violation,
      forget: (client) => this.forget(client),
      guard: init.guard
    })
    // Last, so that an error above leaves no timer behind.
    this.stopTicking = this.tickRegularly()
  }

  /** The number of registered sessions. */
  get connected(): number {
    return this.connections.sessions
  }

  directoryStats(): DirectoryStats {
    return this.directory.stats()
  }

  /** Takes over a control stream whose hello is valid. */
  welcome(stream: FrameStream): void {
    const { self, clusterId, founding } = this.init
    const connection = this.connections.add(stream)
    if (connection === undefined) return
    this.listen(connection, connection.control, 'control')
    const members = this.members.welcome(connection)
    const roundTripMs = this.init.roundTripMs()
    connection.send('control', {
      type: 'welcome',
      version: PROTOCOL_VERSION,
      features: FEATURES,
      clusterId,
      founding,
      term: this.term,
      leader: self,
      members,
      roundTripMs,
      attach: connection.attach
    })
  }

  /** Takes over a bulk stream. Returns false if no connection has the number `attach`, which its welcome named. */
  attach(stream: FrameStream, attach: number): boolean {
    const connection = this.connections.get(attach)
    if (connection === undefined || connection.remote !== stream.remote || connection.bulk !== undefined) return false
    connection.attachBulk(stream)
    this.listen(connection, connection.bulk!, 'bulk')
    connection.send('bulk', { type: 'attached' })
    this.registrations.attached(connection)
    return true
  }

  /** An entry was applied. */
  applied(index: number, outcome: Applied): void {
    this.proposals.retry()
    if (outcome.type === 'session-opened') this.registrations.opened(index, outcome.session)
    this.directory.applied(outcome)
    if (outcome.type === 'session-ended') this.sessionEnded(outcome.session, outcome.expired)
    else if (isAnswer(outcome)) this.requests.settle(outcome)
  }

  /** Ends the term and redirects its clients. */
  depose(): void {
    this.end()
    const redirect = this.init.redirect()
    for (const connection of this.connections.all()) connection.finish(redirect)
    this.connections.clear()
  }

  /** Stops everything that runs by itself. Calling it again is harmless. */
  end(): void {
    this.ended = true
    this.stopTicking()
    this.proposals.end()
    this.rounds.stop()
    this.requests.end()
    this.directory.end()
    this.connections.unregisterAll()
    this.registrations.stop()
  }

  // ---- streams

  private listen(connection: Connection, lane: LaneQueue, name: 'control' | 'bulk'): void {
    lane.stream.onFrame = (frame) => this.init.guard(() => this.frame(connection, name, frame))
    lane.stream.onClose = (reason) =>
      this.init.guard(() => {
        if (reason !== undefined)
          this.init.logger?.debug({ client: connection.remote, lane: name, reason: reason.message }, 'stream ended')
        connection.streamEnded(lane)
        this.forget(connection)
      })
  }

  private frame(connection: Connection, lane: 'control' | 'bulk', frame: Uint8Array): void {
    if (this.ended || connection.closed) return
    let message: ClientMessage
    try {
      const decoded = decodeFrame(clientMessage, frame)
      if (decoded.group !== this.init.group) throw new Error(`for group ${decoded.group}`)
      message = decoded.message
    } catch (error) {
      return this.violation(
        connection,
        new InvalidArgumentError('frame', (error as Error).message, 'a message of this protocol')
      )
    }
    const expected = connection.session === 0 ? UNREGISTERED.has(message.type) : message.type !== 'register'
    if (!expected || BULK.has(message.type) !== (lane === 'bulk')) {
      const what = connection.session === 0 ? 'a message that opens a session' : 'a message of this lane'
      return this.violation(connection, new InvalidArgumentError('message', message.type, what))
    }
    if (lane === 'bulk') connection.bulkArrived(frame.length)
    this.message(connection, message)
    if (connection.closed) this.forget(connection)
  }

  private message(connection: Connection, message: ClientMessage): void {
    if (isRequest(message)) return this.requests.arrived(connection, message)
    switch (message.type) {
      case 'register':
        return this.registrations.arrived(connection, message)
      case 'keepAlive':
        return this.keepAlive(connection, message.nonce)
      case 'ping':
        return connection.send('control', { type: 'pong' })
      case 'bulkReceived': {
        const impossible = connection.bulkReceived(message.bytes)
        return impossible && this.violation(connection, impossible)
      }
      case 'fault':
      case 'invalidateAck':
      case 'ownerAck':
      case 'ownerAckDirty':
      case 'discardAck':
      case 'dropped':
      case 'writeback':
        return this.coherence(connection, message)
      default:
        return this.violation(connection, new InvalidArgumentError('message', message.type, 'a message of a session'))
    }
  }

  private violation(connection: Connection, error: QuireError): void {
    const { remote, session } = connection
    this.init.refusals.log({ remote, kind: `violation ${error.code}`, error, facts: { session } })
    connection.refuse(error)
    this.forget(connection)
  }

  private forget(connection: Connection): void {
    this.rounds.forget(connection)
    this.registrations.forget(connection)
    const session = this.connections.remove(connection)
    if (session !== undefined) this.directory.disconnected(session)
  }

  // ---- sessions

  private registered(connection: Connection, session: SessionId, ttlMs: number): void {
    const { maxFaults, creditBytes } = this.init.limits
    const older = this.connections.ofSession(session)
    if (older !== undefined) {
      older.abort(new ClosedError('a connection that was replaced by a newer one'))
      this.rounds.forget(older)
    }
    connection.registered(session, ttlMs)
    this.connections.register(connection, session)
    // Before the directory sends anything to the session.
    connection.send('control', { type: 'registered', term: this.term, session, ttlMs, creditBytes, maxFaults })
    this.directory.connected(session)
  }

  private keepAlive(connection: Connection, nonce: number): void {
    const over = connection.keepAliveArrived()
    if (over !== undefined) return this.violation(connection, over)
    this.rounds.confirm(connection, (confirmed) =>
      this.init.guard(() => {
        connection.keepAliveSettled()
        if (this.ended || connection.closed || !confirmed) return
        if (!this.leases.renewed(connection.session, this.init.clock.now())) return
        connection.send('control', { type: 'keepAliveAck', term: this.term, nonce })
      })
    )
  }

  private tickRegularly(): () => void {
    const { clock, limits } = this.init
    let cancel = (): void => {}
    const next = (): void => {
      cancel = clock.schedule(limits.leaseTickMs, () => {
        next()
        this.init.guard(() => this.tick())
      })
    }
    next()
    return () => cancel()
  }

  private tick(): void {
    if (this.ended) return
    const now = this.init.clock.now()
    for (const session of this.leases.tick(now)) {
      this.init.logger?.info({ session, client: this.init.view.session(session)?.clientId }, 'session lease ran out')
      this.proposals.add({ type: 'expireSession', session })
    }
    // The log may have room again although no entry was applied.
    this.proposals.retry()
    this.members.update(this.connections.registered())
    for (const connection of this.connections.all()) {
      if (connection.session !== 0 || now - connection.openedAtMs < this.init.limits.handshakeTimeoutMs) continue
      connection.finish(this.init.redirect())
      this.forget(connection)
    }
  }

  private sessionEnded(session: SessionId, expired: boolean): void {
    this.leases.ended(session)
    for (const connection of this.connections.all()) {
      if (connection.session === 0 && connection.register?.session === session)
        this.registrations.expired(connection, session)
    }
    const connection = this.connections.ofSession(session)
    if (connection === undefined) return
    const seq = expired ? undefined : connection.endSessionSeq()
    connection.finish(seq === undefined ? { type: 'expired', session } : { type: 'done', seq })
    this.forget(connection)
  }

  // ---- coherence

  private coherence(connection: Connection, message: CoherenceMessage): void {
    const over =
      message.type === 'fault'
        ? connection.faultArrived(message)
        : message.type === 'writeback'
          ? connection.writebackArrived(message, (file) => this.init.view.file(file)?.pageSize ?? 0)
          : undefined
    if (over !== undefined) return this.violation(connection, over)
    const refusal = message.type === 'writeback' ? this.requests.refusal(true) : undefined
    if (message.type === 'writeback' && refusal !== undefined) {
      // The pages stay dirty at the client, which repeats the writeback.
      const error = errorToWire(refusal)
      return connection.send('bulk', { type: 'writebackFailed', term: this.term, req: message.req, error })
    }
    this.directory.receive(connection.session, message)
  }
}

/** The error for a bulk stream that names no connection. */
export function notAttached(remote: string): NotAuthorizedError {
  return new NotAuthorizedError(remote, 'the bulk stream belongs to no connection')
}
