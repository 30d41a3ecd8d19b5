import {
  DEFAULT_ROUND_TRIP_MS,
  PROTOCOL_CONTROL,
  timingOf,
  type Clock,
  type DialOptions,
  type FrameStream,
  type Network
} from '@quire/protocol'
import { FakeStream } from './fake-stream.js'

type Accept = (stream: FakeStream) => void

/** A network in memory. Frames arrive in the next microtask, or half of `roundTripMs` later on `clock`. */
export class FakeNet {
  private readonly handlers = new Map<string, Accept>()
  /** Between any two nodes. */
  roundTripMs = 0
  /** Nodes that do not answer a dial. */
  readonly mute = new Set<string>()
  /** Nodes that refuse every dial. */
  readonly down = new Set<string>()
  /** The one address at which a node can be reached. A node that is not listed can be reached at any address. */
  readonly places = new Map<string, string>()
  /** Pairs of nodes, as `from to`, of which the first does not get through to the second directly. */
  readonly cut = new Set<string>()
  /** Nodes that relay nothing. */
  readonly unwilling = new Set<string>()
  /** The nodes that were dialed for a control stream, in order; one behind a relay as `to through relay`. */
  readonly dialed: string[] = []
  /** The dialing ends of all streams that were opened, in order. */
  readonly streams: FakeStream[] = []

  constructor(private readonly clock?: Clock) {}

  /** Calls `accept` with each stream that is opened to node `id`. */
  listen(id: string, protocol: string, accept: Accept): void {
    this.handlers.set(`${id} ${protocol}`, accept)
  }

  node(id: string): Network {
    return {
      id,
      handle: (protocol, _maxFrameBytes, accept) => this.listen(id, protocol, accept),
      dial: (remote, addresses, options): Promise<FrameStream> => this.dial(id, remote, options, addresses)
    }
  }

  async dial(
    from: string,
    to: string,
    options: Pick<DialOptions, 'protocol' | 'signal' | 'stepMs' | 'answered' | 'relay'>,
    addresses: readonly string[] = []
  ): Promise<FakeStream> {
    const { protocol, answered, signal, relay, stepMs = timingOf(DEFAULT_ROUND_TRIP_MS).stepMs } = options
    if (protocol === PROTOCOL_CONTROL) this.dialed.push(relay === undefined ? to : `${to} through ${relay.peerId}`)
    await Promise.resolve()
    if (relay !== undefined) return this.dialThrough(relay.peerId, from, to, protocol, signal, stepMs)
    const place = this.places.get(to)
    if (place !== undefined && !addresses.includes(place)) throw new Error(`${to} is not there`)
    if (place !== undefined) answered?.(place)
    if (this.mute.has(to) || this.cut.has(`${from} ${to}`)) await this.pass(Infinity, stepMs, signal)
    // The control stream is the first on a connection: TCP takes one round trip, the upgrade two, the stream one.
    for (const roundTrips of protocol === PROTOCOL_CONTROL ? [1, 2, 1] : [1]) {
      if (this.roundTripMs > 0) await this.pass(roundTrips * this.roundTripMs, stepMs, signal)
    }
    return this.open(from, to, protocol, 1)
  }

  private async dialThrough(
    relay: string,
    from: string,
    to: string,
    protocol: string,
    signal: DialOptions['signal'],
    stepMs: number
  ): Promise<FakeStream> {
    if (this.mute.has(relay) || this.cut.has(`${from} ${relay}`)) await this.pass(Infinity, stepMs, signal)
    const cannot = this.unwilling.has(relay) || this.cut.has(`${relay} ${to}`)
    if (cannot || this.down.has(relay)) throw new Error(`${relay} does not relay`)
    if (this.mute.has(to)) await this.pass(Infinity, stepMs, signal)
    // The answer of the relay and the upgrade, on a connection to the relay that is there already.
    for (const roundTrips of protocol === PROTOCOL_CONTROL ? [1, 2, 1] : [1]) {
      if (this.roundTripMs > 0) await this.pass(2 * roundTrips * this.roundTripMs, stepMs, signal)
    }
    return this.open(from, to, protocol, 2)
  }

  private open(from: string, to: string, protocol: string, hops: 1 | 2): FakeStream {
    const accept = this.handlers.get(`${to} ${protocol}`)
    if (accept === undefined || this.down.has(to)) throw new Error(`cannot reach ${to}`)
    const [near, far] = FakeStream.pair(from, to, (arrive) => this.travel(hops, arrive))
    this.streams.push(near)
    accept(far)
    return near
  }

  private travel(hops: 1 | 2, arrive: () => void): void {
    if (this.roundTripMs === 0) queueMicrotask(arrive)
    else this.time.schedule((hops * this.roundTripMs) / 2, arrive)
  }

  /** A step of a dial that takes `ms` and may take `limitMs`. */
  private pass(ms: number, limitMs: number, signal: DialOptions['signal']): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = ms <= limitMs ? resolve : () => reject(new Error(`did not answer within ${limitMs} ms`))
      const cancel = this.time.schedule(Math.min(ms, limitMs), done)
      const aborted = (): void => {
        cancel()
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', aborted, { once: true })
    })
  }

  private get time(): Clock {
    if (this.clock === undefined) throw new Error('a network with distances or mute nodes needs a clock')
    return this.clock
  }
}
