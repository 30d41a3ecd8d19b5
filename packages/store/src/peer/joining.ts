/** The side of a peer that asks to join a cluster (docs/membership.md, Joining). */
import {
  CodecError,
  FEATURES,
  MAX_RAFT_FRAME_BYTES,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  UnavailableError,
  decode,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  raftMessage,
  type Clock,
  type FrameStream,
  type Member,
  type Network,
  type RaftStreamMessage
} from '@quire/protocol'
import type { Logger } from 'pino'
import { clusterConfig, memberId, type ReplicatedConfig } from '../state/index.js'
import { isUninvited } from './join-refusal.js'

/** The cluster that a peer joins. */
export interface JoinedCluster {
  /** The configuration that the cluster was founded from. */
  readonly founding: ReplicatedConfig
  /** The newest configuration. */
  readonly config: ReplicatedConfig
}

export interface JoiningInit {
  readonly network: Pick<Network, 'id' | 'dial'>
  readonly clock: Clock
  /** Members of the cluster; one that answers is enough. */
  readonly seeds: readonly Member[]
  /** The id of this peer's member whose data directory is lost, and whose place the peer asks for; or empty. */
  readonly rejoins: string
  /** What an admin has to do, in a few words. It is logged while the peer is not invited. */
  readonly advice: string
  readonly signal?: AbortSignal | undefined
  readonly logger: Logger | undefined
}

/** The limit for each question: a dial, Noise, and a change of the configuration that the leader commits. */
const QUESTION_MS = 15_000
/** The pause before the peer asks the next member. */
const PAUSE_MS = 2_000

type Refusal = Extract<RaftStreamMessage, { type: 'raftRefused' }>
type Invited = Extract<RaftStreamMessage, { type: 'raftInvited' }>
type Answer = Refusal | { readonly type: 'raftInvited'; readonly cluster: JoinedCluster; readonly leader: string }

/**
 * Asks members of a cluster, again and again, until this peer is invited. A peer that has made its data directory asks
 * with `own`, what the directory knows, until the configuration lists the directory as a member.
 *
 * Rejects with the error of a member that belongs to another cluster or speaks another version, and with the reason of
 * `signal`.
 */
export async function askToJoin(
  init: JoiningInit,
  own?: { readonly incarnation: string; readonly cluster: JoinedCluster }
): Promise<JoinedCluster> {
  const asker = new Asker(init, own?.incarnation ?? '', own?.cluster.config.clusterId ?? '')
  if (own !== undefined) asker.learn(own.cluster.config.members)
  return asker.run()
}

/** Asks one member after the other. */
class Asker {
  /** Addresses by PeerId. */
  private readonly known = new Map<string, readonly string[]>()
  /** The members to ask, the next one first. */
  private order: string[] = []
  /** The refusal that was logged last. */
  private logged = ''

  constructor(
    private readonly init: JoiningInit,
    private readonly incarnation: string,
    private readonly clusterId: string
  ) {
    this.learn(init.seeds)
  }

  learn(members: readonly Member[]): void {
    for (const { peerId, addresses } of members) {
      if (peerId === this.init.network.id) continue
      if (!this.known.has(peerId)) this.order.push(peerId)
      this.known.set(peerId, [...new Set([...(this.known.get(peerId) ?? []), ...addresses])])
    }
  }

  async run(): Promise<JoinedCluster> {
    const { signal } = this.init
    for (;;) {
      signal?.throwIfAborted()
      const [peerId, ...others] = this.order
      this.order = [...others, peerId!]
      const answer = await this.ask(peerId!).catch((error: unknown) => this.failed(peerId!, error as Error))
      if (answer?.type === 'raftInvited') {
        const { cluster } = answer
        if (this.isDone(cluster)) return cluster
        this.learn(cluster.config.members)
        // Only the leader can let this peer in.
        if (this.known.has(answer.leader) && answer.leader !== peerId) {
          this.order = [answer.leader, ...this.order.filter((id) => id !== answer.leader)]
          continue
        }
      } else if (answer !== undefined) this.refused(peerId!, answer)
      await this.pause()
    }
  }

  private isDone({ config }: JoinedCluster): boolean {
    if (this.incarnation === '') return true
    const id = memberId({ peerId: this.init.network.id, incarnation: this.incarnation })
    return config.members.some((member) => memberId(member) === id)
  }

  private async ask(peerId: string): Promise<Answer> {
    const { network, clock, rejoins } = this.init
    const timeout = new AbortController()
    let stream: FrameStream | undefined
    const cancel = clock.schedule(QUESTION_MS, () => {
      const error = new UnavailableError(`no answer within ${QUESTION_MS / 1000} s`)
      timeout.abort(error)
      stream?.abort(error)
    })
    try {
      const signal =
        this.init.signal === undefined ? timeout.signal : AbortSignal.any([timeout.signal, this.init.signal])
      const options = { protocol: PROTOCOL_RAFT, maxFrameBytes: MAX_RAFT_FRAME_BYTES, signal }
      const dialed = await network.dial(peerId, this.known.get(peerId)!, options)
      stream = dialed
      const answer = await new Promise<Refusal | Invited>((resolve, reject) => {
        dialed.onFrame = (frame) => {
          try {
            const { message } = decodeFrame(raftMessage, frame)
            if (message.type === 'raftInvited' || message.type === 'raftRefused') resolve(message)
            else reject(new UnavailableError(`it answered with ${message.type}`))
          } catch (error) {
            reject(error)
          }
        }
        dialed.onClose = (reason) => reject(reason ?? new UnavailableError('it closed the stream'))
        const { clusterId, incarnation } = this
        const from = network.id
        dialed.send(
          encodeFrame(raftMessage, {
            type: 'raftJoin',
            version: PROTOCOL_VERSION,
            features: FEATURES,
            clusterId,
            from,
            incarnation,
            rejoins
          })
        )
      })
      if (answer.type === 'raftRefused') return answer
      return { type: 'raftInvited', cluster: decodeCluster(answer), leader: answer.leader }
    } finally {
      cancel()
      stream?.close()
    }
  }

  private failed(peerId: string, error: Error): undefined {
    this.init.signal?.throwIfAborted()
    this.log(`${peerId} ${error.message}`, { peer: peerId, reason: error.message }, 'no answer from a member')
  }

  private refused(peerId: string, { error, reason }: Refusal): void {
    const cause = errorFromWire(error)
    // Waiting does not help.
    if (reason === 'version' || reason === 'founding') throw cause
    const { advice } = this.init
    const facts = { peer: peerId, reason: cause.message, ...(isUninvited(cause) && { advice }) }
    this.log(cause.message, facts, 'the cluster does not let this peer in yet')
  }

  /** Logs each reason once in a row. */
  private log(what: string, facts: object, message: string): void {
    if (what !== this.logged) this.init.logger?.warn(facts, message)
    this.logged = what
  }

  private pause(): Promise<void> {
    const { clock, signal } = this.init
    return new Promise((resolve) => {
      const end = (): void => {
        cancel()
        signal?.removeEventListener('abort', end)
        resolve()
      }
      const cancel = clock.schedule(PAUSE_MS, end)
      signal?.addEventListener('abort', end)
    })
  }
}

function decodeCluster({ founding, config }: Invited): JoinedCluster {
  try {
    return { founding: decode(clusterConfig, founding), config: decode(clusterConfig, config) }
  } catch (error) {
    if (error instanceof CodecError)
      throw new UnavailableError(`a member sent a damaged configuration: ${error.message}`)
    throw error
  }
}
