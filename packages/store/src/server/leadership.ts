import {
  ClosedError,
  FEATURES,
  InvalidArgumentError,
  NotAuthorizedError,
  PROTOCOL_VERSION,
  QuotaExceededError,
  clientMessage,
  decodeFrame,
  errorToWire,
  isRequest,
  timingOf,
  type ClientMessage,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type Member,
  type QuireError,
  type Random
} from '@quire/protocol'
import type { Logger } from 'pino'
import { Directory } from '../directory/directory.js'
import type { CoherenceMessage } from '../directory/types.js'
import type { Applied, SessionId, StateView } from '../state/view.js'
import { Connection } from './connection.js'
import type { LaneQueue, OutgoingBytes } from './lane.js'
import { createLeases, type Leases } from './leases.js'
import type { ServerLimits } from './limits.js'
import { Proposals } from './proposals.js'
import { QuorumRounds } from './quorum-rounds.js'
import type { RaftPort } from './raft-port.js'
import type { Refusals } from '../observability/refusals.js'
import { Registrations } from './registrations.js'
import { RequestHandler } from './request-handler.js'
import type { Stages } from '../observability/stages.js'

export interface LeadershipInit {
  readonly group: number
  readonly term: number
  readonly clusterId: string
  /** This node's PeerId. */
  readonly self: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  readonly members: () => Member[]
  /** Differs from an earlier value when `members` may. */
  readonly membersVersion: () => number
  readonly roundTripMs: () => number
  /** The message that tells a client to look for the leader again. */
  readonly redirect: () => LeaderMessage
  /** The reason why nothing may be stored now, if there is one. */
  readonly readOnly: () => QuireError | undefined
  readonly raft: RaftPort
  readonly view: StateView
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
  /** The owner directory of this term. */
  readonly directory: Directory
  private readonly leases: Leases
  private readonly proposals: Proposals
  private readonly rounds: QuorumRounds
  private readonly requests: RequestHandler
  private readonly registrations: Registrations
  private readonly connections = new Map<number, Connection>()
  private readonly sessions = new Map<SessionId, Connection>()
  private readonly outgoing: OutgoingBytes = { total: 0 }
  private readonly stopTicking: () => void
  private ended = false

  constructor(private readonly init: LeadershipInit) {
    const { raft, clock, limits, view } = init
    this.term = init.term
    this.directory = new Directory(init.term, view)
    this.leases = createLeases({ tickMs: limits.leaseTickMs, nowMs: clock.now(), sessions: view.sessions() })
    this.proposals = new Proposals(raft, clock, limits.maxProposalBytes)
    this.rounds = new QuorumRounds(raft)
    this.requests = new RequestHandler({
      view,
      directory: this.directory,
      proposals: this.proposals,
      rounds: this.rounds,
      readOnly: init.readOnly,
      connection: (session) => this.sessions.get(session),
      violation: (connection, error) => this.violation(connection, error),
      guard: init.guard
    })
    this.registrations = new Registrations({
      term: init.term,
      raft,
      view,
      leases: this.leases,
      proposals: this.proposals,
      rounds: this.rounds,
      limits,
      clock,
      minTtlMs: () => timingOf(init.roundTripMs()).minSessionTtlMs,
      registered: (connection, session, ttlMs) => this.registered(connection, session, ttlMs),
      violation: (connection, error) => this.violation(connection, error),
      forget: (connection) => this.forget(connection),
      guard: init.guard
    })
    // Last, so that an error above leaves no timer behind.
    this.stopTicking = this.tickRegularly()
  }

  /** The number of registered sessions. */
  get connected(): number {
    return this.sessions.size
  }

  /** Takes over a control stream whose hello is valid. */
  welcome(stream: FrameStream): void {
    const { limits, random, clock, group, self, clusterId, founding, stages } = this.init
    let attach: number
    do attach = 1 + Math.floor(random.next() * (2 ** 52 - 1))
    while (this.connections.has(attach))
    const openedAtMs = clock.now()
    const connection = new Connection({
      group,
      control: stream,
      attach,
      openedAtMs,
      limits,
      outgoing: this.outgoing,
      onTotalExceeded: () => this.dropSlowest(),
      clock,
      stages
    })
    if (this.connections.size >= limits.maxSessions + limits.maxHandshakes) {
      return connection.refuse(new QuotaExceededError('connections', limits.maxSessions + limits.maxHandshakes))
    }
    this.connections.set(attach, connection)
    this.listen(connection, connection.control, 'control')
    const members = this.init.members()
    connection.membersTold = this.init.membersVersion()
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
      attach
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
    this.drain()
    if (outcome.type === 'session-ended') this.sessionEnded(outcome.session, outcome.expired)
    else this.requests.settle(outcome)
  }

  /** Ends the term and redirects its clients. */
  depose(): void {
    this.end()
    const redirect = this.init.redirect()
    for (const connection of this.connections.values()) connection.finish(redirect)
    this.connections.clear()
  }

  /** Stops everything that runs by itself. Calling it again is harmless. */
  end(): void {
    this.ended = true
    this.stopTicking()
    this.proposals.end()
    this.rounds.stop()
    this.sessions.clear()
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
    if (isRequest(message)) {
      this.requests.arrived(connection, message)
      return this.drain()
    }
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
    if (!this.connections.delete(connection.attach)) return
    if (this.sessions.get(connection.session) !== connection) return
    this.sessions.delete(connection.session)
    this.directory.disconnected(connection.session)
    this.drain()
  }

  /** Drops the client that has read least, so that the others do not suffer for it. */
  private dropSlowest(): void {
    let slowest: Connection | undefined
    for (const connection of this.connections.values()) {
      if (slowest === undefined || connection.waitingBytes > slowest.waitingBytes) slowest = connection
    }
    slowest?.abort(new QuotaExceededError('outgoing bytes of all clients', this.init.limits.maxTotalOutgoingBytes))
  }

  // ---- sessions

  private registered(connection: Connection, session: SessionId, ttlMs: number): void {
    const { maxFaults, creditBytes } = this.init.limits
    const older = this.sessions.get(session)
    if (older !== undefined) {
      older.abort(new ClosedError('a connection that was replaced by a newer one'))
      this.rounds.forget(older)
      this.connections.delete(older.attach)
    }
    connection.registered(session, ttlMs)
    this.sessions.set(session, connection)
    // Before the directory sends anything to the session.
    connection.send('control', { type: 'registered', term: this.term, session, ttlMs, creditBytes, maxFaults })
    this.directory.connected(session)
    this.drain()
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
    this.tellMembers()
    for (const connection of [...this.connections.values()]) {
      if (connection.session !== 0 || now - connection.openedAtMs < this.init.limits.handshakeTimeoutMs) continue
      connection.finish(this.init.redirect())
      this.forget(connection)
    }
  }

  /**
   * Sends new addresses of members to clients, which need them before this leader is gone. A client that does not keep
   * up gets the newest list when it has read everything else.
   */
  private tellMembers(): void {
    const version = this.init.membersVersion()
    const behind = [...this.sessions.values()].filter(
      ({ membersTold, control }) => membersTold !== version && control.waitingBytes === 0
    )
    if (behind.length === 0) return
    const members = this.init.members()
    for (const connection of behind) {
      connection.membersTold = version
      connection.send('control', { type: 'members', members })
    }
  }

  private sessionEnded(session: SessionId, expired: boolean): void {
    this.leases.ended(session)
    for (const connection of [...this.connections.values()]) {
      if (connection.session === 0 && connection.register?.session === session)
        this.registrations.expired(connection, session)
    }
    const connection = this.sessions.get(session)
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
          ? connection.writebackArrived(message)
          : undefined
    if (over !== undefined) return this.violation(connection, over)
    const refusal = message.type === 'writeback' ? this.requests.refusal(true) : undefined
    if (message.type === 'writeback' && refusal !== undefined) {
      // The pages stay dirty at the client, which repeats the writeback.
      const error = errorToWire(refusal)
      return connection.send('bulk', { type: 'writebackFailed', term: this.term, req: message.req, error })
    }
    this.directory.receive(connection.session, message)
    this.drain()
  }

  /** Carries out the effects of the directory. Call it after every input of the directory. */
  private drain(): void {
    if (this.ended) return
    for (const effect of this.directory.effects()) {
      switch (effect.type) {
        case 'send':
          this.sessions.get(effect.session)?.send(effect.lane, effect.message)
          break
        case 'propose': {
          const { command } = effect
          if (command.type === 'handover') this.sessions.get(command.to)?.faultProposed(command.file, command.page)
          this.proposals.add(command)
          break
        }
        case 'discarded':
          this.requests.discarded(effect.file)
          break
      }
    }
  }
}

/** The error for a bulk stream that names no connection. */
export function notAttached(remote: string): NotAuthorizedError {
  return new NotAuthorizedError(remote, 'the bulk stream belongs to no connection')
}
