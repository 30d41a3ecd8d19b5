import type { Connection, Stream } from '@libp2p/interface'
import { NotAuthorizedError, type FrameStream } from '@quire/protocol'
import { closeConnection } from './close-connection.js'
import { toError } from './failures.js'
import type { Gate } from './gate.js'
import type { Log } from './log.js'
import type { OpenStreams } from './open-streams.js'

/** One protocol's part of {@link Network.handle}. */
export interface ProtocolHandler {
  readonly protocol: string
  readonly maxFrameBytes: number
  readonly accept: (stream: FrameStream) => void
  readonly refuse: ((stream: FrameStream, reason: string) => void) | undefined
}

/** Decides whether an incoming stream is accepted, answered with a refusal or cut. */
export class IncomingStreams {
  /** Strangers' connections that have had their one stream. */
  private readonly refused = new WeakSet<Connection>()

  constructor(
    private readonly gate: Gate,
    private readonly streams: OpenStreams,
    private readonly log: Log | undefined
  ) {}

  /** libp2p calls this once both sides have agreed on the protocol of a stream. */
  opened(stream: Stream, connection: Connection, handler: ProtocolHandler): void {
    const peerId = connection.remotePeer.toString()
    const verdict = this.gate.check(peerId, connection.direction)
    if (verdict !== true && (handler.refuse === undefined || this.refused.has(connection))) {
      return stream.abort(new NotAuthorizedError(peerId, verdict))
    }
    const frames = this.streams.add(stream, connection, handler.maxFrameBytes)
    try {
      if (verdict === true) return handler.accept(frames)
      this.refused.add(connection)
      stream.addEventListener('close', () => void closeConnection(connection))
      handler.refuse?.(frames, verdict)
    } catch (error) {
      this.log?.error({ peer: frames.remote, protocol: handler.protocol, err: error }, 'accept failed')
      frames.abort(toError(error))
    }
  }
}
