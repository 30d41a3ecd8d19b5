import {
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
import type { DirectoryStats } from '../directory/types.js'
import type { ReplicatedConfig } from '../state/commands.js'
import type { Applied, StateView } from '../state/view.js'
import type { WhenRepaired } from './bulk-order.js'
import { Leadership, notAttached } from './leadership.js'
import { DEFAULT_SERVER_LIMITS, type ServerLimits } from './limits.js'
import type { RaftPort } from './raft-port.js'
import { Refusals } from '../observability/refusals.js'
import { createStages, type Stages } from '../observability/stages.js'

export interface GroupServerInit {
  /** The number of the Raft group. */
  readonly group: number
  /** This node's PeerId. */
  readonly self: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  /** The newest configuration that this peer knows, which it may not have applied yet. */
  readonly cluster: () => Pick<ReplicatedConfig, 'clusterId' | 'roundTripMs'>
  /** The peers of the cluster, with their current addresses. */
  readonly members: () => Member[]
  /** Differs from an earlier value when `members` may. */
  readonly membersVersion: () => number
  readonly raft: RaftPort
  readonly view: StateView
  readonly whenRepaired: WhenRepaired
  readonly clock: Clock
  readonly random: Random
  readonly limits?: Partial<ServerLimits>
  /** Default: durations are not reported. */
  readonly stages?: Stages
  readonly logger?: Logger
  /** An invariant broke or an unexpected error occurred: the node must stop. Called once. */
  readonly onFatal: (error: Error) => void
}

/**
 * Serves the clients of one Raft group.
 *
 * While this node leads the group, it holds a {@link Leadership}; otherwise it redirects clients to the leader.
 * Streams, the status of the Raft node and applied entries drive it.
 */
export interface GroupServer {
  readonly group: number
  /** Takes over a stream whose first frame was this hello. */
  hello(stream: FrameStream, hello: ClientMessageOf<'hello'>): void
  /** The message that sends a client to the leader. */
  redirect(): LeaderMessage
  /** Call it when role, term, leader or readiness of the Raft node has changed. */
  statusChanged(): void
  /** Call it for every entry, in order, right after the entry was applied. */
  applied(index: number, outcome: Applied): void
  /**
   * With an error, such as NoSpaceError: requests that would store something fail with it, unless leadership is about
   * to move to a peer that has room. With undefined: all requests are accepted again.
   */
  setReadOnly(error: Error | undefined): void
  /** Returns the counts of the owner directory of the term that this node leads; undefined while it does not serve. */
  directoryStats(): DirectoryStats | undefined
  /** The number of clients with a registered session here. */
  readonly connectedSessions: number
  /** Redirects all clients and serves none from now on. */
  close(): void
}

export function createGroupServer(init: GroupServerInit): GroupServer {
  return new Server(init)
}

/** Makes a {@link Leadership} for each term that this node leads. */
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

  get connectedSessions(): number {
    return this.leadership?.connected ?? 0
  }

  directoryStats(): DirectoryStats | undefined {
    return this.leadership?.directoryStats()
  }

  hello(stream: FrameStream, hello: ClientMessageOf<'hello'>): void {
    this.guard(() => this.answerHello(stream, hello))
  }

  statusChanged(): void {
    this.guard(() => this.followStatus())
  }

  applied(index: number, outcome: Applied): void {
    this.guard(() => {
      // The status may have changed since its last report. An entry of the next leader must answer no request here.
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

  /** The term that this node leads, with all earlier entries applied; 0 if it does not. */
  private servingTerm(): number {
    const { role, ready, term } = this.init.raft.status()
    return role === 'leader' && ready && this.init.view.config !== undefined ? term : 0
  }

  private elect(term: number): void {
    const { group, self, raft, view, whenRepaired, clock, random, logger } = this.init
    logger?.info({ term }, 'leading')
    this.leadership = new Leadership({
      group,
      term,
      clusterId: this.init.cluster().clusterId,
      self,
      founding: this.init.founding,
      members: this.init.members,
      membersVersion: this.init.membersVersion,
      roundTripMs: () => this.roundTripMs(),
      redirect: () => this.redirect(),
      // A leader that hands over to a peer with room need not refuse what that peer will store.
      readOnly: () => (this.readOnly !== undefined && raft.status().handsOver === true ? undefined : this.readOnly),
      raft,
      view,
      whenRepaired,
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
    const { clusterId } = this.init.cluster()
    const wrongVersion = refuseVersion(hello.version, hello.features)
    if (wrongVersion !== undefined) return this.refuse(stream, wrongVersion)
    if (hello.clusterId !== '' && hello.clusterId !== clusterId) {
      return this.refuse(stream, new NotAuthorizedError(stream.remote, `it belongs to cluster ${hello.clusterId}`))
    }
    // A client that names no cluster learns the cluster from the answer, and may then try another peer.
    this.followStatus()
    const { leadership } = this
    // A client never accepts a term that is lower than one that it has seen.
    if (leadership === undefined || hello.fence > leadership.term) return this.finish(stream, this.redirect())
    if (hello.lane === 'control') return leadership.welcome(stream)
    if (!leadership.attach(stream, hello.attach)) this.refuse(stream, notAttached(stream.remote))
  }

  redirect(): LeaderMessage {
    const { role, term, leader } = this.init.raft.status()
    const known = leader !== undefined && leader !== this.init.self
    return {
      type: 'redirect',
      clusterId: this.init.cluster().clusterId,
      founding: this.init.founding,
      term,
      role,
      leader: known ? leader : '',
      members: this.init.members(),
      roundTripMs: this.roundTripMs()
    }
  }

  private roundTripMs(): number {
    return this.init.cluster().roundTripMs
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

  /** Any error inside is a bug or damage. The node must stop, because it may have carried out half of a decision. */
  private guard(input: () => void): void {
    try {
      input()
    } catch (error) {
      const fatal = error instanceof Error ? error : new InvariantError(String(error))
      this.abandon()
      // The peer logs the error.
      this.init.onFatal(fatal)
    }
  }

  /** Stops what runs by itself. The peer closes its network, and so clients notice. */
  private abandon(): void {
    const { leadership } = this
    this.closed = true
    this.leadership = undefined
    try {
      leadership?.end()
    } catch {
      // A broken part may throw again. The first error was reported.
    }
  }
}
