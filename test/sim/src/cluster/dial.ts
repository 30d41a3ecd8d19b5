import {
  DEFAULT_ROUND_TRIP_MS,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  timingOf,
  type DialOptions,
  type FrameStream
} from '@quire/protocol'
import type { Host, NetworkInit } from './network-types.js'
import type { Path } from './path.js'
import type { Stream } from './stream.js'

const REFUSED_MS = 2
/** TCP and the upgrade, and the longest step among them. */
const CONNECT_ROUND_TRIPS = 3
const STEP_ROUND_TRIPS = 2
/** The relay asks the member, and both ends secure the connection, over two links each. */
const RELAY_ROUND_TRIPS = 6

/** The rules of packages/net/src/portable/relay. */
const RELAYED: ReadonlySet<string> = new Set([PROTOCOL_CONTROL, PROTOCOL_BULK])
const MAX_RELAYED_OF_A_CLIENT = 4

/** The part of the network that a dial uses. */
export interface DialNetwork {
  readonly init: NetworkInit
  readonly isFaulty: boolean
  /** The machine with the newest process under this id. */
  host(id: string): Host | undefined
  isCut(path: Path): boolean
  /** Draws the time that a frame takes along the path. */
  latency(path: Path): number
  /** Whether a stream is open on this path. */
  isConnected(path: Path): boolean
  /** The connections of a client through a relay. */
  relayedConnections(client: string, relay: string): number
  /** Opens a stream that the dialer does not have yet. */
  open(protocol: string, dialer: Host, acceptor: Host, relay: Host | undefined): Stream
}

interface Remote {
  readonly id: string
  readonly addresses: readonly string[]
}

interface DialInit {
  readonly network: DialNetwork
  readonly from: Host
  readonly to: Remote
  readonly options: DialOptions
}

/** Plays one attempt to open a stream. The remote accepts the stream before the dialer has it. */
export class Dial {
  private readonly path: Path
  private readonly back: Path
  /** The node that is connected to: the relay, if there is one. */
  private readonly first: Remote
  private readonly label: string
  private stream: Stream | undefined
  private isSettled = false
  private resolve!: (stream: FrameStream) => void
  private reject!: (error: Error) => void

  constructor(private readonly init: DialInit) {
    const { from, to, options } = init
    const { relay } = options
    this.path = relay === undefined ? [from.id, to.id] : [from.id, relay.peerId, to.id]
    this.back = this.path.toReversed()
    this.first = relay === undefined ? to : { id: relay.peerId, addresses: relay.addresses }
    this.label = `${this.path.join('>')} dial ${options.protocol}`
  }

  run(): Promise<FrameStream> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
      this.start()
    })
  }

  private start(): void {
    const { network, from, options } = this.init
    const { random, roundTripMs, dialFailure, scheduler } = network.init
    if (!from.process.alive) return
    if (options.signal?.aborted === true) return this.aborted()
    options.signal?.addEventListener('abort', this.aborted, { once: true })

    const { label } = this
    const there = network.latency(this.path)
    const back = network.latency(this.back)
    const drawnMs = random.between(300, 3000)
    const { stepMs = timingOf(DEFAULT_ROUND_TRIP_MS).stepMs } = options
    const { connectMs, longestStepMs } = this.connecting()
    const isInTime = longestStepMs <= stepMs
    const timeoutMs = roundTripMs === 0 ? drawnMs : isInTime ? connectMs + stepMs : stepMs
    from.process.after('timer', timeoutMs, `${label} timeout`, () => this.fail('no answer'))
    if (network.isFaulty && random.is(dialFailure)) {
      from.process.after('io', there + back, `${label} fails`, () => this.fail('unreachable'))
      return
    }
    scheduler.after(connectMs + there, label, () => this.arrived(back))
  }

  /** How long the connections take that are not open yet. */
  private connecting(): { readonly connectMs: number; readonly longestStepMs: number } {
    const { network, from, options } = this.init
    const { roundTripMs } = network.init
    const isRelayed = options.relay !== undefined
    if (roundTripMs === 0) return { connectMs: 0, longestStepMs: 0 }
    if (network.isConnected(this.path)) {
      return { connectMs: 0, longestStepMs: (isRelayed ? 2 : 1) * roundTripMs }
    }
    const firstMs = network.isConnected([from.id, this.first.id]) ? 0 : CONNECT_ROUND_TRIPS * roundTripMs
    if (!isRelayed) return { connectMs: firstMs, longestStepMs: STEP_ROUND_TRIPS * roundTripMs }
    const relayedMs = RELAY_ROUND_TRIPS * roundTripMs
    return { connectMs: firstMs + relayedMs, longestStepMs: relayedMs }
  }

  private arrived(back: number): void {
    const { network, from, to } = this.init
    const { path, first, label } = this
    if (network.isCut(path) || this.isSettled) return
    const host = network.host(first.id)
    if (host === undefined || !host.isUp) return
    const refuse = (): void => {
      if (network.isCut(this.back)) return
      from.process.after('io', back + REFUSED_MS, `${label} refused`, () => this.fail('refused'))
    }
    // An open connection serves whatever the addresses are.
    const isFound = host.address === undefined || first.addresses.includes(host.address)
    if (!host.process.alive || (!isFound && !network.isConnected([from.id, first.id]))) return refuse()
    const accept = (acceptor: Host, relay: Host | undefined): void => {
      if (!this.accept(acceptor, relay, back)) refuse()
    }
    if (first === to) return host.process.enter('io', label, () => accept(host, undefined))
    host.process.enter('io', label, () => {
      const member = network.host(to.id)
      const isJoined = network.isConnected(path)
      if (member === undefined || (!isJoined && !this.mayJoin(host, member))) return refuse()
      member.process.enter('io', label, () => accept(member, host))
    })
  }

  /** Whether the relay and the member allow the connection (docs/ARCHITECTURE.md, Relays). */
  private mayJoin({ id, gate }: Host, member: Host): boolean {
    const client = this.init.from.id
    const { network, options } = this.init
    if (!RELAYED.has(options.protocol) || network.relayedConnections(client, id) >= MAX_RELAYED_OF_A_CLIENT)
      return false
    const isWelcome = gate.allow(client) === true && !gate.isMember(client) && gate.isMember(member.id)
    const isFromMember = member.gate.isMember(id) && !member.gate.isMember(client)
    return isWelcome && isFromMember && member.gate.allow(client) === true && network.isConnected([id, member.id])
  }

  /** Returns false if the acceptor refuses. */
  private accept(acceptor: Host, relay: Host | undefined, back: number): boolean {
    const { network, from, options } = this.init
    const { label } = this
    const handler = acceptor.handlers.get(options.protocol)
    const verdict = acceptor.gate.allow(from.id)
    if (relay?.process.alive === false || handler === undefined || (verdict !== true && handler.refuse === undefined))
      return false
    if (this.isSettled || !from.process.alive) return true
    const stream = network.open(options.protocol, from, acceptor, relay)
    this.stream = stream
    const [dialed, accepted] = stream.ends
    // The stream lasts until an end gives it up, even if the dialer never learns of it.
    if (network.isCut(this.back)) stream.givenUpLater(accepted)
    if (verdict === true) handler.accept(accepted)
    else handler.refuse!(accepted, verdict)
    const opened = (): void => {
      if (this.isSettled) return
      this.settle()
      stream.begin()
      this.resolve(dialed)
    }
    const answer = (): void => from.process.enter('io', `${label} open`, opened)
    network.init.scheduler.after(back, `${label} open`, () => {
      if (network.isCut(this.back)) return
      if (relay === undefined) answer()
      else relay.process.enter('io', `${label} open`, answer)
    })
    return true
  }

  private readonly aborted = (): void => {
    const reason: unknown = this.init.options.signal?.reason
    this.failWith(reason instanceof Error ? reason : new Error('aborted'))
  }

  private fail(problem: string): void {
    this.failWith(new Error(`${this.init.to.id}: ${problem}`))
  }

  private failWith(error: Error): void {
    if (this.isSettled) return
    this.settle()
    this.stream?.ends[0].abort(error)
    this.init.network.init.coverage.add('dials that failed')
    this.reject(error)
  }

  private settle(): void {
    this.isSettled = true
    this.init.options.signal?.removeEventListener('abort', this.aborted)
  }
}
