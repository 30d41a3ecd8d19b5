import '../polyfill.js'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { NotAuthorizedError } from '@quire/protocol'
import { toError } from '../failures.js'
import type { Gate } from '../gate.js'
import type { Log } from '../log.js'
import { joinStreams } from './join-streams.js'
import { MAX_RELAYED, MAX_RELAYED_OF_A_CLIENT, RELAY_HANDSHAKE_MS, type RelayRole } from './relay-limits.js'
import {
  HOP_PROTOCOL,
  STATUS,
  STOP_PROTOCOL,
  hopMessage,
  stopMessage,
  type RelayMessage,
  type Status
} from './relay-messages.js'
import { relayStream } from './relay-stream.js'
import { relayIn } from './relay-address.js'

export interface RelayServerInit {
  readonly node: Libp2p
  readonly gate: Gate
  readonly role: RelayRole
  readonly log: Log | undefined
}

/** Joins clients to members that they do not reach themselves. */
export class RelayServer {
  /** The relayed connections of each client, those in the handshake included. */
  private readonly relayed = new Map<string, number>()
  private total = 0

  constructor(private readonly init: RelayServerInit) {
    const { node, log } = init
    node
      .handle(HOP_PROTOCOL, (stream, connection) => this.opened(stream, connection), {
        // Beyond the limit of a client, so that one too many is told so.
        maxInboundStreams: 2 * MAX_RELAYED_OF_A_CLIENT
      })
      .catch((error: unknown) => log?.error({ protocol: HOP_PROTOCOL, err: error }, 'cannot handle the protocol'))
  }

  /** A client asks for a connection. Any failure here ends its stream and nothing else. */
  private async opened(stream: Stream, connection: Connection): Promise<void> {
    const client = connection.remotePeer.toString()
    const verdict = this.init.gate.check(client, connection.direction)
    // A stranger learns nothing here.
    if (verdict !== true) return stream.abort(new NotAuthorizedError(client, verdict))
    const signal = AbortSignal.timeout(RELAY_HANDSHAKE_MS)
    const messages = relayStream(stream, hopMessage)
    try {
      const outcome = await this.decide(client, await messages.read(signal), signal)
      if (typeof outcome === 'number') {
        await messages.write({ type: 'status', status: outcome }, signal)
        await stream.close({ signal })
        return
      }
      try {
        await messages.write({ type: 'status', status: STATUS.OK }, signal)
        joinStreams(messages.unwrap(), outcome)
      } catch (error) {
        outcome.abort(toError(error))
        throw error
      }
    } catch (error) {
      stream.abort(toError(error))
    }
  }

  /** Resolves with the stream to the member, or with the reason why there is none. */
  private async decide(client: string, request: RelayMessage, signal: AbortSignal): Promise<Stream | Status> {
    const { isMember } = this.init.role
    if (request.type === 'reserve') return STATUS.RESERVATION_REFUSED
    if (request.type !== 'connect') return STATUS.UNEXPECTED_MESSAGE
    if (isMember(client) || !isMember(request.peer)) return STATUS.PERMISSION_DENIED
    const ofClient = this.relayed.get(client) ?? 0
    if (ofClient >= MAX_RELAYED_OF_A_CLIENT || this.total >= MAX_RELAYED) return STATUS.RESOURCE_LIMIT_EXCEEDED
    const path = this.init.node
      .getConnections(peerIdFromString(request.peer))
      .find(({ status, remoteAddr }) => status === 'open' && relayIn(remoteAddr) === undefined)
    if (path === undefined) return STATUS.NO_RESERVATION
    this.count(client, 1)
    const stream = await this.connect(path, client, signal)
    if (stream === undefined) this.count(client, -1)
    else stream.addEventListener('close', () => this.count(client, -1), { once: true })
    return stream ?? STATUS.CONNECTION_FAILED
  }

  /** Resolves with undefined if the member does not accept the connection. Not logged: clients could fill the log. */
  private async connect(path: Connection, client: string, signal: AbortSignal): Promise<Stream | undefined> {
    let stream: Stream | undefined
    try {
      stream = await path.newStream(STOP_PROTOCOL, { signal, maxOutboundStreams: MAX_RELAYED })
      const messages = relayStream(stream, stopMessage)
      await messages.write({ type: 'connect', peer: client }, signal)
      const answer = await messages.read(signal)
      if (answer.type !== 'status' || answer.status !== STATUS.OK) throw new Error('the member refuses the connection')
      messages.unwrap()
      if (stream.status === 'open') return stream
    } catch (error) {
      stream?.abort(toError(error))
    }
    return undefined
  }

  private count(client: string, change: 1 | -1): void {
    const count = (this.relayed.get(client) ?? 0) + change
    this.total += change
    if (count > 0) this.relayed.set(client, count)
    else this.relayed.delete(client)
  }
}
