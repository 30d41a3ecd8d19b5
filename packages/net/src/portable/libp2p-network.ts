/** A libp2p node with any transports as Quire's {@link Network}. */
import './polyfill.js'
import type { Libp2p, Upgrader } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { ClosedError, InvalidArgumentError, type DialOptions, type FrameStream, type Network } from '@quire/protocol'
import { CLOSE_TIMEOUT_MS, closeConnection } from './close-connection.js'
import { ConnectionDialer, type Transports } from './connection-dialer.js'
import { throwIfAborted } from './deadline.js'
import type { EventLoop } from './event-loop.js'
import type { Allow, Gate } from './gate.js'
import { IncomingStreams } from './incoming-streams.js'
import type { Log } from './log.js'
import { parsePeerId } from './multiaddr.js'
import { OpenStreams } from './open-streams.js'
import { RelayDialer } from './relay/relay-dialer.js'
import type { RelayRole } from './relay/relay-limits.js'
import { RelayServer } from './relay/relay-server.js'
import { RelayTarget } from './relay/relay-target.js'
import { StreamDialer } from './stream-dialer.js'
import type { Strangers } from './strangers.js'

export interface Libp2pNetwork extends Network {
  readonly peerId: string
  /** The addresses that the node is bound to, with their actual ports. Each ends in /p2p/<PeerId>. */
  readonly multiaddrs: readonly string[]
  /** The number of open connections. */
  readonly connections: number
  /** Replaces `allow`, and closes the connections of every peer that the new one refuses. */
  setAllow(allow: Allow): void
  /** Closes all connections to a peer, which ends their streams. */
  hangUp(peerId: string): Promise<void>
  /**
   * Closes streams, connections and listeners. Afterwards nothing keeps the process alive. Further calls have no
   * effect.
   */
  close(): Promise<void>
}

export interface Libp2pComponents {
  readonly node: Libp2p
  readonly transports: Transports
  readonly upgrader: Upgrader
  /** The node's connection gater consults these two. */
  readonly gate: Gate
  readonly strangers: Strangers
  /** Undefined for a node that neither relays nor is reached through relays. */
  readonly relay: RelayRole | undefined
  readonly eventLoop: EventLoop
  readonly log: Log | undefined
}

export function createNetworkOn(components: Libp2pComponents): Libp2pNetwork {
  return new NetworkNode(components)
}

/** Joins the parts of this folder to a network. */
class NetworkNode implements Libp2pNetwork {
  readonly id: string
  readonly peerId: string
  private readonly node: Libp2p
  private readonly gate: Gate
  private readonly strangers: Strangers
  private readonly log: Log | undefined
  private readonly relay: RelayRole | undefined
  private readonly protocols = new Set<string>()
  private readonly streams: OpenStreams
  private readonly incoming: IncomingStreams
  private readonly connectionDialer: ConnectionDialer
  private readonly streamDialer: StreamDialer
  private closed: Promise<void> | undefined

  constructor({ node, transports, upgrader, gate, strangers, relay, eventLoop, log }: Libp2pComponents) {
    this.id = this.peerId = node.peerId.toString()
    this.node = node
    this.gate = gate
    this.strangers = strangers
    this.relay = relay
    this.log = log
    this.streams = new OpenStreams(eventLoop, log)
    this.incoming = new IncomingStreams(gate, this.streams, log)
    this.connectionDialer = new ConnectionDialer(transports)
    const relays = new RelayDialer(node, this.connectionDialer, upgrader)
    this.streamDialer = new StreamDialer(node, this.connectionDialer, relays, gate, this.streams)
    if (relay !== undefined) {
      new RelayServer({ node, gate, role: relay, log })
      new RelayTarget({ node, upgrader, gate, role: relay, log })
    }
    // libp2p would remember every client that it has ever seen.
    node.addEventListener('peer:disconnect', (event) => {
      node.peerStore.delete(event.detail).catch(() => {})
    })
  }

  get multiaddrs(): readonly string[] {
    return this.node.getMultiaddrs().map((address) => address.toString())
  }

  get connections(): number {
    return this.node.getConnections().length
  }

  handle(
    protocol: string,
    maxFrameBytes: number,
    accept: (stream: FrameStream) => void,
    refuse?: (stream: FrameStream, reason: string) => void
  ): void {
    if (this.closed !== undefined) throw new ClosedError('the network')
    if (this.protocols.has(protocol)) throw new InvalidArgumentError('protocol', protocol, 'handled once')
    this.protocols.add(protocol)
    if (refuse !== undefined) this.strangers.open()
    const handler = { protocol, maxFrameBytes, accept, refuse }
    const runOnLimitedConnection = this.relay?.protocols.includes(protocol) === true
    this.node
      .handle(protocol, (stream, connection) => this.incoming.opened(stream, connection, handler), {
        runOnLimitedConnection
      })
      .catch((error: unknown) => {
        this.log?.error({ protocol, err: error }, 'cannot handle the protocol')
      })
  }

  async dial(remote: string, addresses: readonly string[], options: DialOptions): Promise<FrameStream> {
    if (this.closed !== undefined) throw new ClosedError('the network')
    const stream = await this.streamDialer.dial(remote, addresses, options)
    if (this.closed === undefined) return stream
    stream.abort(new ClosedError('the network'))
    throwIfAborted(options.signal)
    throw new ClosedError('the network')
  }

  setAllow(allow: Allow): void {
    this.gate.setAllow(allow)
    for (const connection of this.node.getConnections()) {
      const peerId = connection.remotePeer.toString()
      if (this.gate.check(peerId, connection.direction) !== true) void this.hangUp(peerId)
    }
  }

  async hangUp(peerId: string): Promise<void> {
    const connections = this.node.getConnections(peerIdFromString(parsePeerId(peerId)))
    await Promise.all(connections.map((connection) => closeConnection(connection)))
  }

  close(): Promise<void> {
    this.closed ??= this.closeAll()
    return this.closed
  }

  private async closeAll(): Promise<void> {
    const reason = new ClosedError('the network')
    this.connectionDialer.close(reason)
    await this.streams.close(CLOSE_TIMEOUT_MS, reason)
    await Promise.all(this.node.getConnections().map((connection) => closeConnection(connection)))
    await this.node.stop()
  }
}
