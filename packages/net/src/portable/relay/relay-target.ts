import '../polyfill.js'
import type { Connection, Libp2p, Stream, Upgrader } from '@libp2p/interface'
import { NotAuthorizedError } from '@quire/protocol'
import { toError } from '../failures.js'
import type { Gate } from '../gate.js'
import type { Log } from '../log.js'
import { MAX_RELAYED, RELAY_HANDSHAKE_MS, type RelayRole } from './relay-limits.js'
import { STATUS, STOP_PROTOCOL, stopMessage, type RelayMessage } from './relay-messages.js'
import { relayStream } from './relay-stream.js'
import { relayedAddress } from './relay-address.js'
import { RelayedSocket } from './relayed-socket.js'

export interface RelayTargetInit {
  readonly node: Libp2p
  readonly upgrader: Upgrader
  readonly gate: Gate
  readonly role: RelayRole
  readonly log: Log | undefined
}

/**
 * libp2p runs only those protocols on a connection with limits that are marked for it. So everything else, Raft and the
 * relay protocols among it, is refused on a relayed connection.
 */
const LIMITED = {}

/** Accepts the connections of clients that come through other members. */
export class RelayTarget {
  constructor(private readonly init: RelayTargetInit) {
    const { node, log } = init
    node
      .handle(STOP_PROTOCOL, (stream, connection) => this.opened(stream, connection), {
        maxInboundStreams: MAX_RELAYED
      })
      .catch((error: unknown) => log?.error({ protocol: STOP_PROTOCOL, err: error }, 'cannot handle the protocol'))
  }

  /** A relay names a client that wants to connect. Any failure here ends the stream and nothing else. */
  private async opened(stream: Stream, connection: Connection): Promise<void> {
    const { gate, role, upgrader } = this.init
    const relay = connection.remotePeer.toString()
    if (!role.isMember(relay) || gate.check(relay, connection.direction) !== true) {
      return stream.abort(new NotAuthorizedError(relay, 'only a member may relay'))
    }
    const signal = AbortSignal.timeout(RELAY_HANDSHAKE_MS)
    const messages = relayStream(stream, stopMessage)
    try {
      const request = await messages.read(signal)
      const client = this.clientOf(request, relay)
      const status = client === undefined ? STATUS.PERMISSION_DENIED : STATUS.OK
      await messages.write({ type: 'status', status }, signal)
      if (client === undefined) return await stream.close({ signal })
      const socket = new RelayedSocket(messages.unwrap(), relayedAddress(connection.remoteAddr, client))
      // Asks the gate again, with the PeerId that Noise has proved.
      await upgrader.upgradeInbound(socket, { signal, limits: LIMITED })
    } catch (error) {
      stream.abort(toError(error))
    }
  }

  /** The client that the relay names, if it may connect. */
  private clientOf(request: RelayMessage, relay: string): string | undefined {
    const { gate, role } = this.init
    if (request.type !== 'connect' || role.isMember(request.peer)) return undefined
    return gate.check(request.peer, 'inbound', `through ${relay}`) === true ? request.peer : undefined
  }
}
