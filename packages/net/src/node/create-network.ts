/**
 * A libp2p node for Node: TCP, Noise and Yamux between nodes that know each other. It runs no discovery and no identify
 * protocol, and it dials only on request.
 */
import '../portable/polyfill.js'
import type { YamuxMuxerInit } from '@chainsafe/libp2p-yamux'
import type { MultiaddrConnection, PeerId, PrivateKey, Upgrader } from '@libp2p/interface'
import { MAX_ROUND_TRIP_MS } from '@quire/protocol'
import type { Libp2pOptions } from 'libp2p'
import type { Logger } from 'pino'
import { CLOSE_TIMEOUT_MS } from '../portable/close-connection.js'
import type { Transports } from '../portable/connection-dialer.js'
import { messageOf } from '../portable/failures.js'
import { createGate, type Allow, type Gate } from '../portable/gate.js'
import { withLateWindowUpdates } from '../portable/late-window-updates.js'
import type { Libp2pNetwork } from '../portable/libp2p-network.js'
import { parseListenAddress } from '../portable/multiaddr.js'
import { withCheapLengths } from '../portable/packet-lengths.js'
import { PEER_WINDOW_BYTES, type RelayRole } from '../portable/relay/relay-limits.js'
import { relayIn } from '../portable/relay/relay-address.js'
import { Strangers } from '../portable/strangers.js'
import { ListenError } from './errors.js'
import { nodeEventLoop } from './event-loop.js'
import { withJoinedWrites } from './joined-writes.js'
import { cryptoOfRuntime, type NoiseCrypto } from './noise-crypto.js'

export interface Libp2pNetworkInit {
  readonly privateKey: PrivateKey
  /** The multiaddrs to listen on. Port 0 stands for any free port. Empty for a node that only dials. */
  readonly listen: readonly string[]
  /** Default: no log. */
  readonly logger?: Logger
  /** Decides which peers may connect and may be dialed. Default: all. */
  readonly allow?: Allow
  /** Limit of connections whose remote has proved its identity. The node refuses further ones. Default: 1024. */
  readonly maxConnections?: number
  /**
   * Limit of accepted connections whose remote has not proved its identity yet. The node refuses further ones, and
   * closes those that take too long. Default: 256.
   *
   * This and `maxConnections` together also limit the sockets of incoming connections, which includes those that are
   * being closed. The listen addresses share that limit equally.
   */
  readonly maxPendingConnections?: number
  /** Makes the node a relay for others, and lets others reach it through relays. Default: neither. */
  readonly relay?: RelayRole
  /** Replaces Noise's cryptographic primitives, for example with faster ones. Default: those that the runtime has. */
  readonly noiseCrypto?: NoiseCrypto
}

const MAX_CONNECTIONS = 1024
const MAX_PENDING_CONNECTIONS = 256
/**
 * How long a remote may keep a connection open before it has proved its identity. This cannot follow a cluster's
 * timing, because clients may be farther away than peers. An upgrade takes three round trips, the choice of a protocol
 * one.
 */
const INBOUND_TIMEOUT_MS = 5 * MAX_ROUND_TRIP_MS
/** libp2p's own limit for the choice of a stream's protocol. The node's dials have shorter limits of their own. */
const LIBP2P_NEGOTIATION_TIMEOUT_MS = 60_000
const MAX_EARLY_STREAMS = 64
/** Probes detect a remote that is lost without a packet: one every 10 s, to be answered within 15 s. */
const PROBE_INTERVAL_MS = 10_000
const PROBE_TIMEOUT_MS = 15_000

/** Starts a node. Rejects with InvalidArgumentError for a malformed address, with ListenError if a port is in use. */
export async function createLibp2pNetwork(init: Libp2pNetworkInit): Promise<Libp2pNetwork> {
  const listen = init.listen.map((address) => parseListenAddress(address))
  const gate = createGate(init.allow, init.logger)
  const strangers = new Strangers(nodeEventLoop)
  const libp2p = await loadLibp2p()
  const noiseCrypto = init.noiseCrypto ?? (await cryptoOfRuntime())
  const node = await libp2p
    .createLibp2p(libp2pOptions(libp2p, { ...init, noiseCrypto }, listen, gate, strangers))
    .catch((error: unknown) => {
      // libp2p's message holds a stack for each address; the system's error is in its first line.
      const reason = /Error: (listen .*)/.exec(messageOf(error))?.[1]
      throw reason === undefined ? error : new ListenError(listen, reason, { cause: error })
    })
  const { transports, upgrader } = node.services
  const { relay, logger: log } = init
  return libp2p.createNetworkOn({ node, transports, upgrader, gate, strangers, relay, eventLoop: nodeEventLoop, log })
}

/**
 * libp2p and its parts are most of the modules that a Quire program loads. A program that only reads keys or addresses,
 * or that prints its usage, starts without them.
 */
async function loadLibp2p() {
  const [{ createLibp2p }, { tcp }, { noise }, { yamux }, { createNetworkOn }] = await Promise.all([
    import('libp2p'),
    import('@libp2p/tcp'),
    import('@chainsafe/libp2p-noise'),
    import('@chainsafe/libp2p-yamux'),
    import('../portable/libp2p-network.js')
  ])
  return { createLibp2p, tcp, noise, yamux, createNetworkOn }
}

/** libp2p gives its components to services only. These services hand out the ones that dial and that secure. */
interface Services extends Record<string, unknown> {
  readonly transports: Transports
  readonly upgrader: Upgrader
}

function libp2pOptions(
  { tcp, noise, yamux }: Awaited<ReturnType<typeof loadLibp2p>>,
  init: Libp2pNetworkInit,
  listen: string[],
  gate: Gate,
  strangers: Strangers
): Libp2pOptions<Services> {
  const { maxConnections = MAX_CONNECTIONS, maxPendingConnections = MAX_PENDING_CONNECTIONS } = init
  // libp2p's own limits do not count sockets that wait for the remote to end the connection.
  const maxSockets = Math.ceil((maxConnections + maxPendingConnections) / Math.max(1, listen.length))
  return {
    privateKey: init.privateKey,
    addresses: { listen },
    transports: [tcp({ maxConnections: maxSockets })],
    connectionEncrypters: [
      (components) => withCheapLengths(withJoinedWrites(noise({ crypto: init.noiseCrypto })(components)))
    ],
    streamMuxers: [() => withLateWindowUpdates(yamux(muxerOptions(init.relay))())],
    services: {
      transports: ({ transportManager }) => ({ dial: (address, options) => transportManager.dial(address, options) }),
      upgrader: ({ upgrader }) => upgrader
    },
    connectionGater: {
      // libp2p's default refuses addresses of private networks. Quire dials only what its caller asks for.
      denyDialMultiaddr: () => false,
      denyInboundEncryptedConnection: (peer, connection) => !mayEnter(peer, connection, init.relay, gate, strangers)
    },
    connectionManager: {
      maxConnections,
      maxIncomingPendingConnections: maxPendingConnections,
      // Per second and host. A cluster on one machine, or all clients behind one address, may reconnect at once.
      inboundConnectionThreshold: 1024,
      inboundUpgradeTimeout: INBOUND_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: INBOUND_TIMEOUT_MS,
      outboundStreamProtocolNegotiationTimeout: LIBP2P_NEGOTIATION_TIMEOUT_MS,
      connectionCloseTimeout: CLOSE_TIMEOUT_MS,
      reconnectRetries: 0
    },
    connectionMonitor: {
      pingInterval: PROBE_INTERVAL_MS,
      pingTimeout: { minTimeout: PROBE_TIMEOUT_MS, maxTimeout: PROBE_TIMEOUT_MS }
    }
  }
}

/** Decides about an accepted connection. `peer` has proved its identity, also through a relay. */
function mayEnter(
  peer: PeerId,
  connection: MultiaddrConnection,
  relay: RelayRole | undefined,
  gate: Gate,
  strangers: Strangers
): boolean {
  const peerId = peer.toString()
  const isAllowed = gate.check(peerId, 'inbound', connection.remoteAddr.toString()) === true
  if (relayIn(connection.remoteAddr) !== undefined) return isAllowed && relay?.isMember(peerId) === false
  return isAllowed || strangers.admit(connection)
}

function muxerOptions(relay: RelayRole | undefined): YamuxMuxerInit {
  // A remote opens early streams before this node has finished accepting the connection.
  const maxEarlyStreams = MAX_EARLY_STREAMS
  // A relay keeps up to a window of each stream that it relays.
  return relay === undefined
    ? { maxEarlyStreams }
    : { maxEarlyStreams, streamOptions: { maxStreamWindowSize: PEER_WINDOW_BYTES } }
}
