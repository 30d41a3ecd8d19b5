import {
  InvalidArgumentError,
  MAX_RAFT_FRAME_BYTES,
  PROTOCOL_RAFT,
  QuotaExceededError,
  decodeFrame,
  encodeFrame,
  raftMessage,
  type Clock,
  type FrameStream,
  type Network,
  type RaftIntroduction,
  type RaftStreamMessage
} from '@quire/protocol'
import type { Logger } from 'pino'
import type { IntroductionRefusal } from './identity.js'
import { HELLO_TIMEOUT_MS } from './link.js'
import type { PeerRefusals } from './peer-refusals.js'

export type JoinMessage = Extract<RaftStreamMessage, { type: 'raftJoin' }>
/** An invitation, or the reason why there is none. */
export type JoinAnswer = Omit<Extract<RaftStreamMessage, { type: 'raftInvited' }>, 'type'> | IntroductionRefusal

export interface IncomingHandshakesInit {
  readonly network: Network
  readonly clock: Clock
  readonly refusals: PeerRefusals
  readonly isMember: (peerId: string) => boolean
  /** Answers a peer that asks to join. */
  readonly join: (remote: string, request: JoinMessage) => Promise<JoinAnswer>
  /** Returns the reason to refuse the remote; undefined if there is none so far. */
  readonly refusal: (remote: string, introduction: RaftIntroduction) => IntroductionRefusal | undefined
  /** Makes the introduction durable. Resolves with a reason to refuse the remote that came up meanwhile, if any. */
  readonly record: (remote: string, introduction: RaftIntroduction) => Promise<IntroductionRefusal | undefined>
  /** Takes a stream whose remote has been accepted, and answers the hello. */
  readonly accepted: (stream: FrameStream, introduction: RaftIntroduction) => void
  readonly ended: (stream: FrameStream) => void
  /** A remote whose introduction this peer refused as `behind` shows its configuration. Throws CodecError. */
  readonly shown: (introduction: RaftIntroduction, config: Uint8Array) => void
  readonly logger: Logger | undefined
}

/**
 * Limits the streams in the handshake, which any remote that may connect can open. Further streams are cut: a member
 * opens its link again, and a stranger would be refused anyway.
 */
const MAX_OPENING_OF_STRANGERS = 16
const MAX_OPENING_OF_A_MEMBER = 4

/** Holds the streams that remotes have opened and whose hello has no answer yet (docs/identity.md, Handshake). */
export class IncomingHandshakes {
  /** The streams in the handshake, each with a function that cancels its time limit. */
  private readonly opening = new Map<FrameStream, () => void>()
  private closed = false

  constructor(private readonly init: IncomingHandshakesInit) {
    const accept = (stream: FrameStream): void => this.accept(stream)
    // A remote that may not connect is told why, too, because it may be a voter of another configuration of this
    // cluster.
    init.network.handle(PROTOCOL_RAFT, MAX_RAFT_FRAME_BYTES, accept, accept)
  }

  close(): void {
    this.closed = true
    for (const [stream, cancel] of this.opening) {
      cancel()
      stream.close()
    }
    this.opening.clear()
  }

  private accept(stream: FrameStream): void {
    if (this.closed) return stream.close()
    const quota = this.quota(stream.remote)
    if (quota.used >= quota.limit) return stream.abort(new QuotaExceededError('streams in the handshake', quota.limit))
    stream.onFrame = (frame) => void this.greeted(stream, frame)
    stream.onClose = () => {
      this.settle(stream)
      this.init.ended(stream)
    }
    this.opening.set(
      stream,
      this.init.clock.schedule(HELLO_TIMEOUT_MS, () => {
        this.opening.delete(stream)
        stream.abort(new Error('no hello in time'))
      })
    )
  }

  private quota(remote: string): { readonly used: number; readonly limit: number } {
    const { isMember } = this.init
    const opening = [...this.opening.keys()]
    if (isMember(remote)) {
      return { used: opening.filter((other) => other.remote === remote).length, limit: MAX_OPENING_OF_A_MEMBER }
    }
    return { used: opening.filter((other) => !isMember(other.remote)).length, limit: MAX_OPENING_OF_STRANGERS }
  }

  /** Any failure here ends the stream and nothing else. A failed write of evidence has been logged. */
  private async greeted(stream: FrameStream, frame: Uint8Array): Promise<void> {
    try {
      await this.hello(stream, frame)
    } catch (error) {
      this.init.logger?.debug({ err: error, peer: stream.remote }, 'no answer to a hello')
      this.settle(stream)
      stream.abort(error as Error)
    }
  }

  private async hello(stream: FrameStream, frame: Uint8Array): Promise<void> {
    stream.onFrame = () => stream.abort(new Error('a frame before the answer to the hello'))
    const message = this.readFirst(stream, frame)
    if (message === undefined) return
    if (message.type === 'raftJoin') return this.answerJoin(stream, message)
    const { type: _type, ...introduction } = message
    const { refusal: refuse, record } = this.init
    const refusal = refuse(stream.remote, introduction) ?? (await record(stream.remote, introduction))
    if (!this.opening.has(stream)) return
    if (refusal !== undefined) return this.turnAway(stream, refusal, introduction)
    this.settle(stream)
    this.init.accepted(stream, introduction)
  }

  private async answerJoin(stream: FrameStream, request: JoinMessage): Promise<void> {
    const answer = await this.init.join(stream.remote, request)
    if (!this.opening.has(stream)) return
    if ('error' in answer) return this.turnAway(stream, answer)
    stream.send(encodeFrame(raftMessage, { type: 'raftInvited', ...answer }))
    this.settle(stream)
    stream.close()
  }

  private readFirst(
    stream: FrameStream,
    frame: Uint8Array
  ): Extract<RaftStreamMessage, { type: 'raftHello' | 'raftJoin' }> | undefined {
    try {
      const { message } = decodeFrame(raftMessage, frame)
      if (message.type === 'raftHello' || message.type === 'raftJoin') return message
      throw new Error(`unexpected ${message.type}`)
    } catch (error) {
      const problem = new InvalidArgumentError('frame', (error as Error).message, 'raftHello')
      this.turnAway(stream, { error: problem, reason: 'version', founding: undefined })
      return undefined
    }
  }

  /**
   * Tells the remote why it is refused. If the founding configurations differ, the remote may answer with its own, so
   * that this peer can log the difference. If this peer's configuration is behind, the remote answers with a newer one.
   */
  private turnAway(stream: FrameStream, refusal: IntroductionRefusal, introduction?: RaftIntroduction): void {
    const { remote } = stream
    const { refusals } = this.init
    stream.send(encodeFrame(raftMessage, refusals.refuse(remote, refusal)))
    const done = (): void => {
      this.settle(stream)
      stream.close()
    }
    const answered = this.answerTo(refusal, introduction)
    if (answered === undefined) return done()
    stream.onFrame = (frame) => {
      try {
        answered(remote, decodeFrame(raftMessage, frame).message)
      } catch (error) {
        refusals.broken(remote, error as Error)
      }
      done()
    }
  }

  /** Returns what takes the remote's answer to a refusal; undefined if the remote may not answer. */
  private answerTo(
    { reason }: IntroductionRefusal,
    introduction: RaftIntroduction | undefined
  ): ((remote: string, answer: RaftStreamMessage) => void) | undefined {
    const { shown, refusals } = this.init
    if (reason === 'behind' && introduction !== undefined) {
      return (_, answer) => {
        if (answer.type !== 'raftConfiguration') throw new Error(`${answer.type} in place of a configuration`)
        shown(introduction, answer.config)
      }
    }
    if (reason !== 'founding') return undefined
    return (remote, answer) => {
      // Only the configuration counts, because the remote has proved no more than its key.
      if (answer.type === 'raftRefused' && answer.founding !== undefined)
        refusals.foundedElsewhere(remote, answer.founding)
    }
  }

  private settle(stream: FrameStream): void {
    this.opening.get(stream)?.()
    this.opening.delete(stream)
  }
}
