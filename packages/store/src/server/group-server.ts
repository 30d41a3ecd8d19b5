import {
  DEFAULT_ROUND_TRIP_MS,
  InvariantError,
  NotAuthorizedError,
  QuireError,
  UnavailableError,
  encodeFrame,
  errorToWire,
  leaderMessage,
  refuseVersion,
  type ClientMessageOf,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type Member,
  type Random
} from '@quire/protocol'
import type { Logger } from 'pino'
import type { Directory } from '../directory/directory.js'
import type { Applied, StateView } from '../state/view.js'
import { Leadership, notAttached } from './leadership.js'
import { DEFAULT_SERVER_LIMITS, type ServerLimits } from './limits.js'
import type { RaftPort } from './raft-port.js'
import { Refusals } from '../observability/refusals.js'
import { createStages, type Stages } from '../observability/stages.js'

export interface GroupServerInit {
  /** The Raft group that this serves. */
  readonly group: number
  /** This node's PeerId. */
  readonly self: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  /** The peers of the cluster, with their current addresses. */
  readonly members: () => Member[]
  /** Differs from an earlier value when `members` may. */
  readonly membersVersion: () => number
  readonly raft: RaftPort
  readonly view: StateView
  readonly clock: Clock
  readonly random: Random
  readonly limits?: Partial<ServerLimits>
  /** Default: nobody looks at them. */
  readonly stages?: Stages
  readonly logger?: Logger
  /** A broken invariant, or an error that nobody expected: the node must stop. Called once. */
  readonly onFatal: (error: Error) => void
}

/**
 * Serves the clients of one Raft group while this node leads it, and sends them to the leader while it does not. Driven from
 * outside: by streams, by the Raft node's status and by applied entries. Reads no clock but the one that it was given.
 */
export interface GroupServer {
  readonly group: number
  /** The first frame of a stream was this hello. Takes the stream over. */
  hello(stream: FrameStream, hello: ClientMessageOf<'hello'>): void
  /** Role, term, leader or readiness of the Raft node changed. */
  statusChanged(): void
  /** Call for every entry, in order, right after it was applied. */
  applied(index: number, outcome: Applied): void
  /**
   * With an error, such as NoSpaceError: what would store something fails with it, unless leadership is about to go
   * to a peer that has room. With undefined: everything is taken again.
   */
  setReadOnly(error: Error | undefined): void
  /** The owner directory of the term that this node leads; undefined while it does not serve. */
  readonly directory: Directory | undefined
  /** Clients with a registered session here. */
  readonly connectedSessions: number
  /** Sends all clients away; nothing is served any more. */
  close(): void
}

export function createGroupServer(init: GroupServerInit): GroupServer {
  return new Server(init)
}

class Server implements GroupServer {
  readonly group: number
  private readonly limits: ServerLimits
  private readonly stages: Stages
  private readonly refusals: Refusals
  private leadership: Leadership | undefined
  private closed = false
  private readOnly: QuireError | undefined

  constructor(private readonly init: GroupServerInit) {
    this.group = init.group
    this.limits = { ...DEFAULT_SERVER_LIMITS, ...init.limits }
    this.refusals = new Refusals(init.logger, 'client', init.clock)
    this.stages = init.stages ?? createStages(init.clock)
  }

  get directory(): Directory | undefined {
    return this.leadership?.directory
  }

  get connectedSessions(): number {
    return this.leadership?.connected ?? 0
  }

  hello(stream: FrameStream, hello: ClientMessageOf<'hello'>): void {
    this.guard(() => this.answerHello(stream, hello))
  }

  statusChanged(): void {
    this.guard(() => this.followStatus())
  }

  applied(index: number, outcome: Applied): void {
    this.guard(() => {
      // The status may have changed since it was last reported: an entry of the next leader must settle nothing here.
      this.followStatus()
      this.leadership?.applied(index, outcome)
    })
  }

  setReadOnly(error: Error | undefined): void {
    if (error === undefined) this.readOnly = undefined
    else this.readOnly = error instanceof QuireError ? error : new UnavailableError(error.message)
  }

  close(): void {
    this.closed = true
    this.leadership?.depose()
    this.leadership = undefined
  }

  private followStatus(): void {
    const term = this.closed ? 0 : this.servingTerm()
    if (this.leadership !== undefined && this.leadership.term !== term) {
      this.init.logger?.info({ term: this.leadership.term }, 'no longer leading')
      this.leadership.depose()
      this.leadership = undefined
    }
    if (this.leadership === undefined && term > 0) this.elect(term)
  }

  /** The term that this node leads with everything before it applied; 0 when it does not. */
  private servingTerm(): number {
    const { role, ready, term } = this.init.raft.status()
    return role === 'leader' && ready && this.init.view.config !== undefined ? term : 0
  }

  private elect(term: number): void {
    const { group, self, raft, view, clock, random, logger } = this.init
    logger?.info({ term }, 'leading')
    this.leadership = new Leadership({
      group,
      term,
      clusterId: view.config?.clusterId ?? '',
      self,
      founding: this.init.founding,
      members: this.init.members,
      membersVersion: this.init.membersVersion,
      roundTripMs: () => this.roundTripMs(),
      redirect: () => this.redirect(),
      // What a leader with more room will store need not fail here.
      readOnly: () => (this.readOnly !== undefined && raft.status().handsOver === true ? undefined : this.readOnly),
      raft,
      view,
      clock,
      random,
      limits: this.limits,
      stages: this.stages,
      refusals: this.refusals,
      logger,
      guard: (input) => this.guard(input)
    })
  }

  private answerHello(stream: FrameStream, hello: ClientMessageOf<'hello'>): void {
    const clusterId = this.init.view.config?.clusterId
    const wrongVersion = refuseVersion(hello.version, hello.features)
    if (wrongVersion !== undefined) return this.refuse(stream, wrongVersion)
    if (hello.clusterId !== '' && clusterId !== undefined && hello.clusterId !== clusterId) {
      return this.refuse(stream, new NotAuthorizedError(stream.remote, `it belongs to cluster ${hello.clusterId}`))
    }
    // Otherwise the client finds out from the answer, and may go on to a peer of its own cluster.
    this.followStatus()
    const { leadership } = this
    // A client never goes back to a term lower than one that it has seen.
    if (leadership === undefined || hello.fence > leadership.term) return this.finish(stream, this.redirect())
    if (hello.lane === 'control') return leadership.welcome(stream)
    if (!leadership.attach(stream, hello.attach)) this.refuse(stream, notAttached(stream.remote))
  }

  private redirect(): LeaderMessage {
    const { role, term, leader } = this.init.raft.status()
    const known = leader !== undefined && leader !== this.init.self
    return {
      type: 'redirect',
      clusterId: this.init.view.config?.clusterId ?? '',
      founding: this.init.founding,
      term,
      role,
      leader: known ? leader : '',
      members: this.init.members(),
      roundTripMs: this.roundTripMs()
    }
  }

  private roundTripMs(): number {
    return this.init.view.config?.roundTripMs ?? DEFAULT_ROUND_TRIP_MS
  }

  private refuse(stream: FrameStream, error: QuireError): void {
    this.refusals.log({ remote: stream.remote, kind: error.code, error })
    this.finish(stream, { type: 'refused', error: errorToWire(error) })
  }

  private finish(stream: FrameStream, last: LeaderMessage): void {
    stream.onFrame = () => {}
    stream.send(encodeFrame(leaderMessage, last, this.group))
    stream.close()
  }

  /** Whatever goes wrong inside is a bug or damage, and this node must not go on with half a decision. */
  private guard(input: () => void): void {
    try {
      input()
    } catch (error) {
      const fatal = error instanceof Error ? error : new InvariantError(String(error))
      this.abandon()
      // The peer logs it.
      this.init.onFatal(fatal)
    }
  }

  /** Ends what runs by itself. Clients hear from the peer, which closes its network. */
  private abandon(): void {
    const { leadership } = this
    this.closed = true
    this.leadership = undefined
    try {
      leadership?.end()
    } catch {
      // What is broken may break again; it has been reported.
    }
  }
}
