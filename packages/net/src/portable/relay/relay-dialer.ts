import '../polyfill.js'
import type { Connection, Libp2p, Stream, Upgrader } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { AbortSignalLike } from '@quire/protocol'
import type { ConnectionDialer } from '../connection-dialer.js'
import { withDeadline } from '../deadline.js'
import { toError } from '../failures.js'
import { shortId } from '../short-id.js'
import { HOP_PROTOCOL, STATUS, hopMessage, meaningOf } from './relay-messages.js'
import { relayStream } from './relay-stream.js'
import { relayIn, relayedAddress } from './relay-address.js'
import { RelayedSocket } from './relayed-socket.js'

/** A relay, and the whole multiaddrs at which to dial it. */
export interface RelayPlaces {
  readonly peerId: string
  readonly addresses: readonly string[]
}

/** Makes connections through relays. */
export class RelayDialer {
  constructor(
    private readonly node: Libp2p,
    private readonly connections: ConnectionDialer,
    private readonly upgrader: Upgrader
  ) {}

  /**
   * Connects to the relay, if there is no connection yet, and through it to `remote`. Each step may take `stepMs`: see
   * `DialOptions`. A relay's own steps are its answer, and the security of the connection through it.
   */
  async connect(
    remote: string,
    relay: RelayPlaces,
    stepMs: number,
    signal: AbortSignalLike | undefined
  ): Promise<Connection> {
    const path = this.open(relay.peerId) ?? (await this.connections.connect(relay.addresses, stepMs, signal)).value
    const stream = await withDeadline(stepMs, signal, (deadline) =>
      path.newStream(HOP_PROTOCOL, { signal: deadline.signal })
    )
    try {
      const whole = await withDeadline(stepMs, signal, (deadline) => this.ask(stream, remote, relay, deadline.signal))
      const socket = new RelayedSocket(whole, relayedAddress(path.remoteAddr, remote))
      return await withDeadline(stepMs, signal, (deadline) =>
        this.upgrader.upgradeOutbound(socket, { signal: deadline.signal, limits: {} })
      )
    } catch (error) {
      stream.abort(toError(error))
      throw error
    }
  }

  /** A direct connection to the relay that is open. */
  private open(relay: string): Connection | undefined {
    return this.node
      .getConnections(peerIdFromString(relay))
      .find(({ status, remoteAddr }) => status === 'open' && relayIn(remoteAddr) === undefined)
  }

  private async ask(stream: Stream, remote: string, relay: RelayPlaces, signal: AbortSignal): Promise<Stream> {
    const messages = relayStream(stream, hopMessage)
    await messages.write({ type: 'connect', peer: remote }, signal)
    const answer = await messages.read(signal)
    const status = answer.type === 'status' ? answer.status : undefined
    if (status !== STATUS.OK) throw new Error(`the relay ${shortId(relay.peerId)} answers: ${meaningOf(status)}`)
    return messages.unwrap()
  }
}
