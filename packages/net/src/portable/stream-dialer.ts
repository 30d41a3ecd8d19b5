import './polyfill.js'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import {
  ClosedError,
  DEFAULT_ROUND_TRIP_MS,
  NotAuthorizedError,
  timingOf,
  type DialOptions,
  type FrameStream
} from '@quire/protocol'
import { closeConnection } from './close-connection.js'
import type { ConnectionDialer } from './connection-dialer.js'
import { createDeadline, throwIfAborted, withDeadline } from './deadline.js'
import { DialError } from './errors.js'
import { dialReasonOf, isConnectionClosed, isUnsupportedProtocol, toError } from './failures.js'
import type { Gate } from './gate.js'
import { parsePeerId } from './multiaddr.js'
import type { OpenStreams } from './open-streams.js'
import type { RelayDialer } from './relay/relay-dialer.js'
import { relayIn } from './relay/relay-address.js'
import { targetsOf, type Targets } from './targets.js'

const DEFAULT_STEP_MS = timingOf(DEFAULT_ROUND_TRIP_MS).stepMs

/** Opens streams to peers, over an open connection where there is one. */
export class StreamDialer {
  /** The streams of each relayed connection. */
  private readonly relayed = new Map<Connection, number>()

  constructor(
    private readonly node: Libp2p,
    private readonly connections: ConnectionDialer,
    private readonly relays: RelayDialer,
    private readonly gate: Gate,
    private readonly streams: OpenStreams
  ) {}

  /** {@link Network.dial}. */
  async dial(remote: string, addresses: readonly string[], options: DialOptions): Promise<FrameStream> {
    const peerId = parsePeerId(remote, 'remote')
    const { relay } = options
    const via = relay === undefined ? undefined : parsePeerId(relay.peerId, 'relay')
    const targets = relay === undefined ? targetsOf(addresses, peerId) : targetsOf(relay.addresses, via!)
    for (const id of via === undefined ? [peerId] : [peerId, via]) {
      const verdict = this.gate.check(id, 'outbound')
      if (verdict !== true) throw new NotAuthorizedError(id, verdict)
    }
    throwIfAborted(options.signal)
    try {
      const existing = await this.openOnExisting(peerId, via, options)
      if (existing !== undefined) return existing
      if (via === undefined) return await this.openOnNew(peerId, targets, options)
      return await this.openThrough(via, peerId, targets, options)
    } catch (error) {
      throwIfAborted(options.signal)
      if (error instanceof DialError || error instanceof ClosedError) throw error
      throw new DialError(peerId, addresses, dialReasonOf(error), { cause: error })
    }
  }

  /** Opens a stream over a connection that is already open. Returns undefined if there is none that works. */
  private async openOnExisting(
    peerId: string,
    via: string | undefined,
    options: DialOptions
  ): Promise<FrameStream | undefined> {
    const connections = this.node.getConnections(peerIdFromString(peerId))
    const onPath = connections.filter(({ status, remoteAddr }) => status === 'open' && relayIn(remoteAddr) === via)
    for (const connection of onPath) {
      const deadline = createDeadline(stepMsOf(options), options.signal)
      try {
        return await this.open(connection, options, deadline.signal)
      } catch (error) {
        if (options.signal?.aborted === true || isUnsupportedProtocol(error)) throw error
        // The remote has vanished, or has closed the connection and the socket has not noticed yet. libp2p would return
        // this connection again and again until TCP gives up.
        if (deadline.expired || isConnectionClosed(error)) connection.abort(toError(error))
      } finally {
        deadline.clear()
      }
    }
    return undefined
  }

  private async openOnNew(peerId: string, targets: Targets, options: DialOptions): Promise<FrameStream> {
    if (targets.size === 0) throw new DialError(peerId, [], 'not connected and no address is known')
    if (this.node.peerId.toString() === peerId) {
      throw new DialError(peerId, [...targets.values()], 'a node cannot dial itself')
    }
    const left = new Set(targets.keys())
    const errors: unknown[] = []
    try {
      for (;;) {
        const { address, value } = await this.connections.connect([...left], stepMsOf(options), options.signal)
        options.answered?.(targets.get(address)!)
        try {
          return await withDeadline(stepMsOf(options), options.signal, ({ signal }) =>
            this.open(value, options, signal)
          )
        } catch (error) {
          if (options.signal?.aborted === true || isUnsupportedProtocol(error) || left.size === 1) throw error
          // The peer answers here but opens no stream. It may open one at another of its addresses.
          errors.push(error)
          left.delete(address)
        }
      }
    } catch (error) {
      throw errors.length === 0 || isUnsupportedProtocol(error) ? error : new AggregateError([...errors, error])
    }
  }

  private async openThrough(
    relay: string,
    peerId: string,
    targets: Targets,
    options: DialOptions
  ): Promise<FrameStream> {
    const stepMs = stepMsOf(options)
    const places = { peerId: relay, addresses: [...targets.keys()] }
    const connection = await this.relays.connect(peerId, places, stepMs, options.signal)
    try {
      return await withDeadline(stepMs, options.signal, ({ signal }) => this.open(connection, options, signal))
    } catch (error) {
      void this.endIfUnused(connection)
      throw error
    }
  }

  private async open(connection: Connection, options: DialOptions, signal: AbortSignal): Promise<FrameStream> {
    const isRelayed = relayIn(connection.remoteAddr) !== undefined
    const stream = await connection.newStream(options.protocol, { signal, runOnLimitedConnection: isRelayed })
    if (isRelayed) this.countRelayed(stream, connection)
    return this.streams.add(stream, connection, options.maxFrameBytes)
  }

  /** A relayed connection costs the relay as long as it is open, so it ends with its last stream. */
  private countRelayed(stream: Stream, connection: Connection): void {
    this.relayed.set(connection, (this.relayed.get(connection) ?? 0) + 1)
    stream.addEventListener('close', () => {
      this.relayed.set(connection, (this.relayed.get(connection) ?? 0) - 1)
      void this.endIfUnused(connection)
    })
  }

  private async endIfUnused(connection: Connection): Promise<void> {
    if ((this.relayed.get(connection) ?? 0) > 0) return
    this.relayed.delete(connection)
    await closeConnection(connection)
  }
}

function stepMsOf({ stepMs = DEFAULT_STEP_MS }: DialOptions): number {
  return stepMs
}
