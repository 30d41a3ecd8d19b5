/**
 * libp2p as Quire's {@link Network}: TCP, Noise and Yamux between nodes that know each other. No discovery, no relays, no identify,
 * nothing dials by itself.
 */
import '../portable/polyfill.js'
import type { noise as createNoise } from '@chainsafe/libp2p-noise'
import type { Connection, Libp2p, PrivateKey, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import {
  ClosedError,
  DEFAULT_ROUND_TRIP_MS,
  InvalidArgumentError,
  MAX_ROUND_TRIP_MS,
  NotAuthorizedError,
  timingOf,
  type DialOptions,
  type FrameStream,
  type Network
} from '@quire/protocol'
import type { Libp2pOptions } from 'libp2p'
import type { Logger } from 'pino'
import { createDeadline, throwIfAborted, withDeadline } from '../portable/deadline.js'
import { Dialer, type Transports } from '../portable/dialer.js'
import { DialError } from '../portable/errors.js'
import { createGate, type Allow, type Gate } from '../portable/gate.js'
import { isAddressOf, parseListenAddress, parsePeerAddress, parsePeerId } from '../portable/multiaddr.js'
import { OpenStreams } from '../portable/open-streams.js'
import { Strangers } from '../portable/strangers.js'
import { ListenError } from './errors.js'
import { nodeEventLoop } from './event-loop.js'

export interface Libp2pNetworkInit {
  readonly privateKey: PrivateKey
  /** Multiaddrs to listen on, port 0 for any; empty for a node that only dials. */
  readonly listen: readonly string[]
  /** pino; default silent. */
  readonly logger?: Logger
  /** Who may connect, and be dialled. Default: anybody. */
  readonly allow?: Allow
  /** Connections of remotes that have proved their identity; more are refused. Default 1024. */
  readonly maxConnections?: number
  /**
   * Accepted connections that have not proved an identity yet; more are refused, and one that does not get there in time is closed. Default
   * 256. Sockets of incoming connections, those being closed included, are never more than this and `maxConnections` together, shared
   * equally by the addresses to listen on.
   */
  readonly maxPendingConnections?: number
  /** Another implementation of Noise's primitives, such as a faster one. */
  readonly noiseCrypto?: NonNullable<Parameters<typeof createNoise>[0]>['crypto']
}

export interface Libp2pNetwork extends Network {
  readonly peerId: string
  /** Bound addresses, with the ports that were really taken, each ending in /p2p/<PeerId>. */
  readonly multiaddrs: readonly string[]
  /** Open connections. */
  readonly connections: number
  /** Replaces `allow` and hangs up on everybody whom the new one refuses. */
  setAllow(allow: Allow): void
  /** Closes the connections to a peer; its streams end. Nothing happens when there is none. */
  hangUp(peerId: string): Promise<void>
  /** Closes streams, connections and listeners. Afterwards nothing keeps the process alive. Repeating it is harmless. */
  close(): Promise<void>
}

const MAX_CONNECTIONS = 1024
const MAX_PENDING_CONNECTIONS = 256
const DEFAULT_STEP_MS = timingOf(DEFAULT_ROUND_TRIP_MS).stepMs
/**
 * What a remote may keep open here before it has proved who it is. It cannot follow a cluster's timing: how far a
 * client is depends on the client. An upgrade takes three round trips, the choice of a protocol one.
 */
const INBOUND_TIMEOUT_MS = 5 * MAX_ROUND_TRIP_MS
/** libp2p's own limit for the choice of a stream's protocol. This node ends dials itself, and long before. */
const LIBP2P_NEGOTIATION_TIMEOUT_MS = 60_000
/** One round trip. */
const CLOSE_TIMEOUT_MS = MAX_ROUND_TRIP_MS
const MAX_EARLY_STREAMS = 64
/** A lost remote that sends no more packets is found out by probes: every 10 s, answered within 15 s. */
const PROBE_INTERVAL_MS = 10_000
const PROBE_TIMEOUT_MS = 15_000

/** Starts a node. Rejects with InvalidArgumentError for a malformed address, with ListenError when a port is taken. */
export async function createLibp2pNetwork(init: Libp2pNetworkInit): Promise<Libp2pNetwork> {
  const listen = init.listen.map((address) => parseListenAddress(address))
  const gate = createGate(init.allow, init.logger)
  const strangers = new Strangers(nodeEventLoop)
  const libp2p = await loadLibp2p()
  const node = await libp2p
    .createLibp2p(libp2pOptions(libp2p, init, listen, gate, strangers))
    .catch((error: unknown) => {
      // libp2p's message holds a stack for each address; the system's error is in its first line.
      const reason = /Error: (listen .*)/.exec(messageOf(error))?.[1]
      throw reason === undefined ? error : new ListenError(listen, reason, { cause: error })
    })
  return new NetworkNode(node, gate, strangers, init)
}

/**
 * libp2p and its parts are most of the modules that a Quire program loads. A program that only reads keys or addresses,
 * or that prints its usage, starts without them.
 */
async function loadLibp2p() {
  const [{ createLibp2p }, { tcp }, { noise }, { yamux }] = await Promise.all([
    import('libp2p'),
    import('@libp2p/tcp'),
    import('@chainsafe/libp2p-noise'),
    import('@chainsafe/libp2p-yamux')
  ])
  return { createLibp2p, tcp, noise, yamux }
}

/** A service gets libp2p's components; this one hands out what a dial needs of them. */
interface Services extends Record<string, unknown> {
  readonly transports: Transports
}

function libp2pOptions(
  { tcp, noise, yamux }: Awaited<ReturnType<typeof loadLibp2p>>,
  init: Libp2pNetworkInit,
  listen: string[],
  gate: Gate,
  strangers: Strangers
): Libp2pOptions<Services> {
  const { maxConnections = MAX_CONNECTIONS, maxPendingConnections = MAX_PENDING_CONNECTIONS } = init
  // libp2p's own limits do not count sockets whose remote never answers their end.
  const maxSockets = Math.ceil((maxConnections + maxPendingConnections) / Math.max(1, listen.length))
  return {
    privateKey: init.privateKey,
    addresses: { listen },
    transports: [tcp({ maxConnections: maxSockets })],
    connectionEncrypters: [noise({ crypto: init.noiseCrypto })],
    // Early streams are those that a remote opens before this side has finished accepting the connection.
    streamMuxers: [yamux({ maxEarlyStreams: MAX_EARLY_STREAMS })],
    services: {
      transports: ({ transportManager }) => ({ dial: (address, options) => transportManager.dial(address, options) })
    },
    // Only what Quire asks for is dialled; addresses of private networks are as good as any.
    connectionGater: {
      denyDialMultiaddr: () => false,
      denyInboundEncryptedConnection: (peer, connection) =>
        gate.check(peer.toString(), 'inbound', connection.remoteAddr.toString()) !== true &&
        !strangers.admit(connection)
    },
    connectionManager: {
      maxConnections,
      maxIncomingPendingConnections: maxPendingConnections,
      // Per second and host: a cluster on one machine, or clients behind one address, reconnect all at once.
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

class NetworkNode implements Libp2pNetwork {
  readonly id: string
  readonly peerId: string
  private readonly logger: Logger | undefined
  private readonly protocols = new Set<string>()
  private readonly streams: OpenStreams
  /** Connections of strangers that had their one stream. */
  private readonly refused = new WeakSet<Connection>()
  private closed: Promise<void> | undefined
  private readonly dialer: Dialer

  constructor(
    private readonly node: Libp2p<Services>,
    private readonly gate: Gate,
    private readonly strangers: Strangers,
    init: Libp2pNetworkInit
  ) {
    this.id = this.peerId = node.peerId.toString()
    this.logger = init.logger
    this.streams = new OpenStreams(nodeEventLoop, init.logger)
    this.dialer = new Dialer(node.services.transports)
    // What libp2p remembers of a peer is not needed once it is gone, and would grow with every client ever seen.
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
    const onStream = (stream: Stream, connection: Connection): void => {
      const verdict = this.gate.check(connection.remotePeer.toString(), connection.direction)
      if (verdict !== true && (refuse === undefined || this.refused.has(connection))) {
        return stream.abort(new NotAuthorizedError(connection.remotePeer.toString(), verdict))
      }
      const frames = this.streams.add(stream, connection, maxFrameBytes)
      try {
        if (verdict === true) return accept(frames)
        this.refused.add(connection)
        stream.addEventListener('close', () => void closeConnection(connection))
        refuse?.(frames, verdict)
      } catch (error) {
        this.logger?.error({ peer: frames.remote, protocol, err: error }, 'accept failed')
        frames.abort(toError(error))
      }
    }
    this.node.handle(protocol, onStream).catch((error: unknown) => {
      this.logger?.error({ protocol, err: error }, 'cannot handle the protocol')
    })
  }

  async dial(remote: string, addresses: readonly string[], options: DialOptions): Promise<FrameStream> {
    if (this.closed !== undefined) throw new ClosedError('the network')
    const peerId = parsePeerId(remote, 'remote')
    const targets = targetsOf(addresses, peerId)
    const verdict = this.gate.check(peerId, 'outbound')
    if (verdict !== true) throw new NotAuthorizedError(peerId, verdict)
    throwIfAborted(options.signal)

    try {
      const stream = (await this.openOnExisting(peerId, options)) ?? (await this.openOnNew(peerId, targets, options))
      if (this.closed !== undefined) {
        stream.abort(new ClosedError('the network'))
        throw new ClosedError('the network')
      }
      return stream
    } catch (error) {
      throwIfAborted(options.signal)
      if (error instanceof DialError || error instanceof ClosedError) throw error
      throw new DialError(peerId, addresses, reasonOf(error), { cause: error })
    }
  }

  /** A stream over a connection that is open already; undefined when there is none that works. */
  private async openOnExisting(peerId: string, options: DialOptions): Promise<FrameStream | undefined> {
    for (const connection of this.connectionsTo(peerId)) {
      const deadline = createDeadline(stepMsOf(options), options.signal)
      try {
        return await this.open(connection, options, deadline.signal)
      } catch (error) {
        if (options.signal?.aborted === true || isUnsupported(error)) throw error
        // Its remote vanished without a word, or took leave and the socket has not noticed yet. libp2p would hand it out
        // again and again until TCP gives up.
        if (deadline.expired || isClosed(error)) connection.abort(toError(error))
      } finally {
        deadline.clear()
      }
    }
    return undefined
  }

  private async openOnNew(peerId: string, targets: Targets, options: DialOptions): Promise<FrameStream> {
    if (targets.size === 0) throw new DialError(peerId, [], 'not connected and no address is known')
    if (peerId === this.peerId) throw new DialError(peerId, [...targets.values()], 'a node cannot dial itself')
    const left = new Set(targets.keys())
    const errors: unknown[] = []
    try {
      for (;;) {
        const { address, value } = await this.dialer.connect([...left], stepMsOf(options), options.signal)
        options.answered?.(targets.get(address)!)
        try {
          return await withDeadline(stepMsOf(options), options.signal, ({ signal }) =>
            this.open(value, options, signal)
          )
        } catch (error) {
          if (options.signal?.aborted === true || isUnsupported(error) || left.size === 1) throw error
          // The peer is there and does not get on. It may at another of its addresses.
          errors.push(error)
          left.delete(address)
        }
      }
    } catch (error) {
      throw errors.length === 0 || isUnsupported(error) ? error : new AggregateError([...errors, error])
    }
  }

  private async open(connection: Connection, options: DialOptions, signal: AbortSignal): Promise<FrameStream> {
    const stream = await connection.newStream(options.protocol, { signal })
    return this.streams.add(stream, connection, options.maxFrameBytes)
  }

  private connectionsTo(peerId: string): Connection[] {
    return this.node.getConnections(peerIdFromString(peerId)).filter((connection) => connection.status === 'open')
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
    this.dialer.close(new ClosedError('the network'))
    await this.streams.close(CLOSE_TIMEOUT_MS, new ClosedError('the network'))
    await Promise.all(this.node.getConnections().map((connection) => closeConnection(connection)))
    await this.node.stop()
  }
}

function stepMsOf({ stepMs = DEFAULT_STEP_MS }: DialOptions): number {
  return stepMs
}

/** Closes in order, and cuts the connection when that takes too long. */
async function closeConnection(connection: Connection): Promise<void> {
  try {
    await connection.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
  } catch (error) {
    connection.abort(toError(error))
  }
}

/** Whole multiaddrs, with what the caller calls each of them. */
type Targets = ReadonlyMap<string, string>

/**
 * Those of the addresses that this version can dial and that are the peer's: a peer may have others, for other
 * versions. Throws InvalidArgumentError when none of them is.
 */
function targetsOf(addresses: readonly string[], peerId: string): Targets {
  const targets = new Map<string, string>()
  const usable = addresses.filter((address) => isAddressOf(peerId, address))
  for (const address of usable.length > 0 ? usable : addresses) {
    const full = address.includes('/p2p/') ? address : `${address}/p2p/${peerId}`
    const target = parsePeerAddress(full, 'addresses')
    if (target.peerId !== peerId) throw new InvalidArgumentError('addresses', address, `an address of ${peerId}`)
    if (!targets.has(target.address)) targets.set(target.address, address)
  }
  return targets
}

function isClosed(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ConnectionClosedError' || error.name === 'MuxerClosedError')
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function isUnsupported(error: unknown): boolean {
  return error instanceof Error && error.name === 'UnsupportedProtocolError'
}

/** libp2p's error in a word for people. */
function reasonOf(error: unknown): string {
  // A stream that closes in the middle of a handshake rejects with its close event.
  if (error instanceof Event) return CUT_OFF_REASON
  if (!(error instanceof Error)) return String(error)
  if (error instanceof AggregateError) return error.errors.map((each) => reasonOf(each)).join('; ')
  if (isUnsupported(error)) return 'the remote does not speak the protocol'
  if (CUT_OFF.has(error.name)) return `${CUT_OFF_REASON} (${error.name})`
  const other = OTHER_IDENTITY.exec(error.message)?.[1]
  return other === undefined ? error.message : `another peer is there: ${other}`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Noise's words for a remote whose key is not that of the PeerId that was dialed. */
const OTHER_IDENTITY = /^Payload identity key (\S+) does not match expected remote identity key/
const CUT_OFF_REASON = 'the remote closed the connection; it may not know this node'
const CUT_OFF = new Set([
  'ConnectionClosedError',
  'StreamResetError',
  'StreamClosedError',
  'MuxerClosedError',
  'UnexpectedEOFError'
])
