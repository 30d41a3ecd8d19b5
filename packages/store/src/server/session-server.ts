import {
  InvalidArgumentError,
  MAX_BULK_FRAME_BYTES,
  MAX_CONTROL_FRAME_BYTES,
  MAX_RULES,
  NotAuthorizedError,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  QuireError,
  QuotaExceededError,
  UnavailableError,
  VersionMismatchError,
  clientMessage,
  decodeFrame,
  encodeFrame,
  errorToWire,
  leaderMessage,
  type ClientMessage,
  type ClientMessageOf,
  type Clock,
  type Frame,
  type FrameStream,
  type LeaderMessage,
  type LeaderMessageOf,
  type Network,
  type AdminChange
} from '@quire/protocol'
import { NotLeaderError } from '@quire/raft'
import type { Logger } from 'pino'
import { accessRules } from '../state/access.js'
import type { ReplicatedConfig } from '../state/commands.js'
import type { GroupServer } from './group-server.js'
import { DEFAULT_SERVER_LIMITS, type ServerLimits } from './limits.js'

/** What a peer reports about itself. */
export type StatusReport = Omit<LeaderMessageOf<'status'>, 'type' | 'seq'>

/** The leader's view of the members. */
export type Roster = Omit<LeaderMessageOf<'roster'>, 'type'>

export interface SessionServerInit {
  readonly network: Pick<Network, 'handle'>
  readonly clock: Clock
  /** The servers of the groups of which this node has a replica. */
  readonly groups: readonly GroupServer[]
  /** The answer to `quire status`, which every peer gives, whether it leads or not. */
  readonly status: (group: number) => StatusReport
  /** The newest configuration that is applied here, for its access rules. */
  readonly access: () => ReplicatedConfig
  /** Returns true, or the reason why this remote is no client. The network may let it connect for another purpose. */
  readonly mayServe: (remote: string) => true | string
  /** The members with their progress; undefined unless this peer leads. */
  readonly roster: () => Roster | undefined
  /**
   * Makes a change of the cluster for the admin `by`, who means the cluster with this founding digest. Resolves with
   * the index of its entry, or 0. Rejects with NotLeaderError, or with a QuireError for the admin.
   */
  readonly administer: (by: string, founding: string, change: AdminChange) => Promise<number>
  readonly limits?: Partial<ServerLimits>
  readonly logger?: Logger
}

/** Accepts the streams of clients for the groups of a peer. */
export interface SessionServer {
  /** Closes the streams whose first frame has not arrived, and all new ones. */
  close(): void
}

/**
 * Creates the server that accepts the streams of clients. It reads the first frame of each stream and hands the stream
 * to the server of the group that the frame names.
 */
export function createSessionServer(init: SessionServerInit): SessionServer {
  const limits = { ...DEFAULT_SERVER_LIMITS, ...init.limits }
  const groups = new Map(init.groups.map((server) => [server.group, server]))
  const opening = new Map<FrameStream, () => void>()
  let closed = false

  function refuse(stream: FrameStream, group: number, error: QuireError): void {
    init.logger?.debug({ client: stream.remote, err: error }, 'stream refused')
    finish(stream, group, { type: 'refused', error: errorToWire(error) })
  }

  function settle(stream: FrameStream): void {
    opening.get(stream)?.()
    opening.delete(stream)
  }

  function firstFrame(stream: FrameStream, lane: 'control' | 'bulk', bytes: Uint8Array): void {
    settle(stream)
    let frame: Frame<ClientMessage>
    try {
      frame = decodeFrame(clientMessage, bytes)
    } catch (error) {
      return refuse(stream, 0, new InvalidArgumentError('frame', (error as Error).message, 'a hello'))
    }
    const { group, message } = frame
    const verdict = init.mayServe(stream.remote)
    if (verdict !== true) return refuse(stream, group, new NotAuthorizedError(stream.remote, verdict))
    const server = groups.get(group)
    if (server === undefined)
      return refuse(stream, group, new InvalidArgumentError('group', group, 'a group of this peer'))
    if (message.type === 'status' && lane === 'control') return answerStatus(stream, group, message)
    if (message.type === 'access' && lane === 'control') return answerAccess(stream, group, message)
    if (message.type === 'roster' && lane === 'control') return answerRoster(stream, server, message)
    if (message.type === 'administer' && lane === 'control') return void administer(stream, server, message)
    if (message.type === 'hello' && message.lane === lane) return server.hello(stream, message)
    refuse(stream, group, new InvalidArgumentError('message', message.type, `a hello for the ${lane} lane`))
  }

  function answerAccess(stream: FrameStream, group: number, { version, after }: ClientMessageOf<'access'>): void {
    if (version !== PROTOCOL_VERSION) return refuse(stream, group, wrongVersion(version))
    const config = init.access()
    const left = accessRules(config).filter(({ id }) => id > after)
    const rules = left.slice(0, MAX_RULES)
    finish(stream, group, { type: 'access', any: config.clients === undefined, rules, done: left.length <= MAX_RULES })
  }

  function answerRoster(stream: FrameStream, server: GroupServer, { version }: ClientMessageOf<'roster'>): void {
    if (version !== PROTOCOL_VERSION) return refuse(stream, server.group, wrongVersion(version))
    const roster = init.roster()
    finish(stream, server.group, roster === undefined ? server.redirect() : { type: 'roster', ...roster })
  }

  async function administer(
    stream: FrameStream,
    server: GroupServer,
    { version, founding, change }: ClientMessageOf<'administer'>
  ): Promise<void> {
    const { group } = server
    if (version !== PROTOCOL_VERSION) return refuse(stream, group, wrongVersion(version))
    stream.onFrame = () => {}
    try {
      const index = await init.administer(stream.remote, founding, change)
      finish(stream, group, { type: 'administered', index })
    } catch (error) {
      if (error instanceof NotLeaderError) return finish(stream, group, server.redirect())
      if (!(error instanceof QuireError)) throw error
      refuse(stream, group, error)
    }
  }

  function answerStatus(stream: FrameStream, group: number, message: ClientMessageOf<'status'>): void {
    if (message.version !== PROTOCOL_VERSION) return refuse(stream, group, wrongVersion(message.version))
    finish(stream, group, { type: 'status', seq: message.seq, ...init.status(group) })
  }

  function accept(stream: FrameStream, lane: 'control' | 'bulk'): void {
    const max = limits.maxHandshakes * 2
    if (closed) return stream.close()
    if (opening.size >= max) return refuse(stream, 0, new QuotaExceededError('streams that are being opened', max))
    stream.onFrame = (bytes) => firstFrame(stream, lane, bytes)
    stream.onClose = () => settle(stream)
    const cancel = init.clock.schedule(limits.handshakeTimeoutMs, () => {
      opening.delete(stream)
      refuse(stream, 0, new UnavailableError('no hello in time'))
    })
    opening.set(stream, cancel)
  }

  /** The network limits the number of strangers and the time that each may stay. */
  function refuseStranger(stream: FrameStream, reason: string): void {
    if (closed) return stream.close()
    stream.onFrame = (bytes) => refuse(stream, groupOf(bytes), new NotAuthorizedError(stream.remote, reason))
  }

  init.network.handle(PROTOCOL_CONTROL, MAX_CONTROL_FRAME_BYTES, (stream) => accept(stream, 'control'), refuseStranger)
  init.network.handle(PROTOCOL_BULK, MAX_BULK_FRAME_BYTES, (stream) => accept(stream, 'bulk'))
  return {
    close: () => {
      closed = true
      for (const [stream, cancel] of opening) {
        cancel()
        stream.close()
      }
      opening.clear()
    }
  }
}

function wrongVersion(version: number): VersionMismatchError {
  return new VersionMismatchError('protocol', version, PROTOCOL_VERSION)
}

function finish(stream: FrameStream, group: number, last: LeaderMessage): void {
  stream.onFrame = () => {}
  stream.send(encodeFrame(leaderMessage, last, group))
  stream.close()
}

function groupOf(bytes: Uint8Array): number {
  try {
    return decodeFrame(clientMessage, bytes).group
  } catch {
    return 0
  }
}
