import { PROTOCOL_CONTROL, PROTOCOL_RAFT } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { SimProcess } from '../process.js'
import { Dial, type DialNetwork } from './dial.js'
import type { Gate, Host, NetworkInit, SimNode, StreamNetwork } from './network-types.js'
import { hopsOf, type Hop, type Path } from './path.js'
import { Stream } from './stream.js'

/**
 * Carries streams between simulated nodes.
 *
 * Frames of one stream arrive in order, and streams do not wait for each other. A link that heals sends again what a
 * cut has stopped, unless an end has given the stream up by then. Raft's streams also lose, duplicate and reorder
 * single frames, which Raft must tolerate.
 *
 * Peers relay streams between clients and members.
 */
export class SimNetwork implements StreamNetwork, DialNetwork {
  private readonly hosts = new Map<string, Host>()
  private readonly blocked = new Set<string>()
  private readonly slow = new Map<string, number>()
  /** When the last byte on each thin line will have left, by direction. */
  private readonly busyUntil = new Map<string, number>()
  private areLinesThin = true
  /** When each link was last cut, healed, slowed or broken, by its two nodes. */
  private readonly disturbedAt = new Map<string, number>()
  readonly streams = new Set<Stream>()
  /** When the last frame arrives that a slow link had when it became fast again: up to 6 s later. */
  healedAt = 0
  /** Sees every frame when it arrives, before its receiver does. */
  onDeliver: ((from: string, to: string, protocol: string, frame: Uint8Array) => void) | undefined
  /** Sees every frame that a process sends. */
  onSend: StreamNetwork['onSend']
  /** A control frame waits this long for earlier frames on its line. */
  onControlWait: (from: string, to: string, ms: number) => void = () => {}
  /** A handler threw. A real stream would be aborted, and the error logged. */
  onHandlerError: (error: Error) => void = () => {}
  /** While true, Raft's frames are lost and duplicated, dials fail, and operations occasionally take very long. */
  isFaulty = true

  private readonly joins: RandomSource

  constructor(readonly init: NetworkInit) {
    this.joins = init.random.fork('joined')
  }

  /** Whether a frame waits for the next one. */
  isJoined(): boolean {
    return this.init.joined > 0 && this.joins.is(this.init.joined)
  }

  /** A process starts under this id, on the machine of an earlier one if there was one. */
  attach(id: string, process: SimProcess, address?: string): SimNode {
    const host = newHost(id, process, address)
    this.hosts.set(id, host)
    // The restarted machine does not know the streams of its earlier life, and says so when it hears of them.
    for (const stream of this.streams) {
      for (const end of stream.ends) if (end.id === id && !end.process.alive) stream.forgotten(end)
      if (stream.relay?.id === id && !stream.relay.process.alive) stream.break()
    }
    return this.nodeOn(host)
  }

  /** A process starts on another machine with the key of this id. It can dial, and nobody finds it. */
  attachTwin(id: string, process: SimProcess): SimNode {
    return this.nodeOn(newHost(id, process))
  }

  private nodeOn(host: Host): SimNode {
    return {
      id: host.id,
      handle: (protocol, _maxFrameBytes, accept, refuse) => host.handlers.set(protocol, { accept, refuse }),
      dial: (id, addresses, options) => new Dial({ network: this, from: host, to: { id, addresses }, options }).run(),
      setGate: (gate) => this.setGate(host, gate)
    }
  }

  host(id: string): Host | undefined {
    return this.hosts.get(id)
  }

  open(protocol: string, dialer: Host, acceptor: Host, relay: Host | undefined): Stream {
    const opened = new Stream(this, protocol, dialer, acceptor, relay, () => this.streams.delete(opened))
    const { coverage } = this.init
    if (relay !== undefined) coverage.add('streams through a relay')
    else if (this.isRelayed(dialer, acceptor)) coverage.add('direct streams beside those through a relay')
    this.streams.add(opened)
    return opened
  }

  private isRelayed(dialer: Host, { process }: Host): boolean {
    return [...this.streams].some(
      ({ relay, ends: [a, b] }) => relay !== undefined && a.process === dialer.process && b.process === process
    )
  }

  /** Closes the connections to all nodes that may not connect any longer. */
  private setGate(host: Host, gate: Gate): void {
    host.gate = gate
    const { coverage } = this.init
    for (const stream of this.streams) {
      for (const end of stream.ends) {
        if (end.process !== host.process || end.isOver || gate.allow(end.remote) === true) continue
        coverage.add('streams cut because their remote may not connect')
        end.abort(new Error(`${end.remote} may not connect`))
      }
      const { relay, ends } = stream
      if (relay === undefined) continue
      const isAtRelay = relay.process === host.process
      const neighbors = isAtRelay ? ends.map(({ id }) => id) : [relay.id]
      const isAtEnd = ends[1].process === host.process
      if ((!isAtRelay && !isAtEnd) || neighbors.every((id) => gate.allow(id) === true)) continue
      coverage.add('streams through a relay cut because a neighbor may not connect')
      stream.break()
    }
  }

  /** A process died. If its machine died as well, nobody tells the others; otherwise the kernel closes its streams. */
  died(id: string, withMachine: boolean): void {
    const host = this.hosts.get(id)
    if (host !== undefined) host.isUp = !withMachine
    for (const stream of this.streams) {
      for (const end of stream.ends) {
        if (end.id !== id || end.process.alive) continue
        if (withMachine) stream.givenUpLater(end.other)
        else stream.forgotten(end)
      }
      if (stream.relay?.id === id && !stream.relay.process.alive) this.lostRelay(stream, withMachine)
      stream.ended()
    }
  }

  private lostRelay(stream: Stream, withMachine: boolean): void {
    this.init.coverage.add('relays that died')
    if (!withMachine) return stream.break()
    for (const end of stream.ends) stream.givenUpLater(end)
  }

  isCut(path: Path): boolean {
    return hopsOf(path).some(([from, to]) => this.blocked.has(`${from}>${to}`))
  }

  /**
   * Whether a stream that `from` opened to `to` at `since` or earlier is open, and nothing has happened to the link
   * since.
   */
  isSteady(from: string, to: string, protocol: string, since: number): boolean {
    const isQuiet = [`${from}>${to}`, `${to}>${from}`].every((link) => (this.disturbedAt.get(link) ?? -1) <= since)
    const paths = [
      [from, to],
      [to, from]
    ]
    if (!isQuiet || paths.some((path) => this.slowness(path) > 1 || this.isCut(path))) return false
    return [...this.streams].some(
      ({ protocol: of, ends, openedAt }) =>
        of === protocol &&
        openedAt <= since &&
        ends[0].id === from &&
        ends[1].id === to &&
        ends.every(({ isOver, held, delayMs }) => !isOver && !held && delayMs === 0)
    )
  }

  private disturb(from: string, to: string): void {
    this.disturbedAt.set(`${from}>${to}`, this.init.scheduler.now)
  }

  /** Stops everything from `from` to `to`. An end that hears nothing gives up after a while. */
  block(from: string, to: string): void {
    this.blocked.add(`${from}>${to}`)
    this.disturb(from, to)
    for (const stream of this.streams) {
      if (!stream.uses(from, to)) continue
      for (const end of stream.ends) stream.givenUpLater(end)
    }
  }

  heal(): void {
    this.areLinesThin = false
    const arrivals = [...this.streams].flatMap(({ ends }) => ends.map(({ lastArrival }) => lastArrival))
    for (const link of [...this.blocked, ...this.slow.keys()]) this.disturbedAt.set(link, this.init.scheduler.now)
    this.healedAt = Math.max(this.init.scheduler.now, ...arrivals)
    this.blocked.clear()
    this.slow.clear()
    for (const stream of this.streams) stream.unblocked()
  }

  unblock(from: string, to: string): void {
    this.blocked.delete(`${from}>${to}`)
    this.disturb(from, to)
    for (const stream of this.streams) if (stream.uses(from, to)) stream.unblocked()
  }

  slowDown(from: string, to: string, factor: number): void {
    this.disturb(from, to)
    if (factor === 1) this.slow.delete(`${from}>${to}`)
    else this.slow.set(`${from}>${to}`, factor)
  }

  slowness(path: Path): number {
    return Math.max(...hopsOf(path).map(([from, to]) => this.slow.get(`${from}>${to}`) ?? 1))
  }

  carry(path: Path, protocol: string, bytes: number): number {
    let ms = 0
    for (const [from, to] of hopsOf(path)) ms += this.carryOver(from, to, protocol, bytes)
    return ms
  }

  /** All streams between two nodes share the line. Returns the time until the frame's last byte has left. */
  private carryOver(from: string, to: string, protocol: string, bytes: number): number {
    const { lineBytesPerMs, scheduler, coverage } = this.init
    if (protocol === PROTOCOL_RAFT || lineBytesPerMs === Infinity || !this.areLinesThin) return 0
    const line = `${from}>${to}`
    const free = Math.max(scheduler.now, this.busyUntil.get(line) ?? 0)
    const until = free + bytes / lineBytesPerMs
    this.busyUntil.set(line, until)
    coverage.add('frames on thin lines')
    const waitMs = free - scheduler.now
    if (protocol === PROTOCOL_CONTROL && waitMs > 0) {
      coverage.add('control frames that waited on thin lines')
      this.onControlWait(from, to, waitMs)
    }
    return until - scheduler.now
  }

  /**
   * Breaks one stream, or all streams on a link of its path, as when their connection breaks. The streams of a relayed
   * connection go over one connection on each of its two links. `isMeant` says which links may break.
   */
  breakStream(stream: Stream, whole: boolean, random: RandomSource, isMeant = (_hop: Hop) => true): void {
    const [a, b] = random.pick(hopsOf(stream.ends[0].path).filter(isMeant))
    for (const each of whole ? [...this.streams].filter((other) => other.uses(a, b)) : [stream]) {
      this.init.coverage.add('stream breaks')
      if (each.relay !== undefined) this.init.coverage.add('breaks of streams through a relay')
      this.disturb(a, b)
      each.break()
    }
  }

  /** Delays what one end sends on one stream for a while. Other streams overtake it. */
  delayStream(stream: Stream, random: RandomSource, ms: number): void {
    const end = random.pick(stream.ends)
    end.delayMs = ms
    this.init.coverage.add('stream delays')
    this.init.scheduler.after(ms * random.between(1, 5), 'stream is fast again', () => (end.delayMs = 0))
  }

  isConnected(path: Path): boolean {
    return [...this.streams].some((stream) => stream.isOn(path))
  }

  relayedConnections(client: string, relay: string): number {
    const relayed = [...this.streams].filter((stream) => stream.relay?.id === relay && stream.ends[0].id === client)
    return new Set(relayed.map(({ ends }) => ends[1].id)).size
  }

  latency(path: Path): number {
    const { random, latencyMs, roundTripMs } = this.init
    let ms = 0
    for (const hop of hopsOf(path)) ms += roundTripMs / 2 + random.exponential(latencyMs) * this.slowness(hop)
    return ms
  }
}

/** Until its process sets another gate, it lets everybody in and relays nothing. */
const OPEN_GATE: Gate = { allow: () => true, isMember: () => false }

function newHost(id: string, process: SimProcess, address?: string): Host {
  return { id, process, address, handlers: new Map(), gate: OPEN_GATE, isUp: true }
}
