import {
  DEFAULT_ROUND_TRIP_MS,
  PROTOCOL_CONTROL,
  PROTOCOL_RAFT,
  timingOf,
  type DialOptions,
  type FrameStream
} from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { SimProcess } from '../process.js'
import type { Host, NetworkInit, SimNode, StreamNetwork } from './network-types.js'
import { Stream } from './stream.js'

const REFUSED_MS = 2

interface Remote {
  readonly id: string
  readonly addresses: readonly string[]
}

/**
 * Carries streams between simulated nodes.
 *
 * Frames of one stream arrive in order, and streams do not wait for each other. A link that heals sends again what a
 * cut has stopped, unless an end has given the stream up by then. Raft's streams also lose, duplicate and reorder
 * single frames, which Raft must tolerate.
 */
export class SimNetwork implements StreamNetwork {
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
      dial: (remote, addresses, options) => {
        if (options.relay !== undefined) return Promise.reject(new Error('no simulated node relays'))
        return this.dial(host, { id: remote, addresses }, options)
      },
      setAllow: (allow) => this.setAllow(host, allow)
    }
  }

  /** Closes the connections to all nodes that may not connect any longer. */
  private setAllow(host: Host, allow: Host['allow']): void {
    host.allow = allow
    for (const stream of this.streams) {
      for (const end of stream.ends) {
        if (end.process !== host.process || end.isOver || allow(end.remote) === true) continue
        this.init.coverage.add('streams cut because their remote may not connect')
        end.abort(new Error(`${end.remote} may not connect`))
      }
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
      stream.ended()
    }
  }

  isBlocked(from: string, to: string): boolean {
    return this.blocked.has(`${from}>${to}`)
  }

  /**
   * Whether a stream that `from` opened to `to` at `since` or earlier is open, and nothing has happened to the link
   * since.
   */
  isSteady(from: string, to: string, protocol: string, since: number): boolean {
    const isQuiet = [`${from}>${to}`, `${to}>${from}`].every((link) => (this.disturbedAt.get(link) ?? -1) <= since)
    const areSlow = this.slowness(from, to) > 1 || this.slowness(to, from) > 1
    if (!isQuiet || areSlow || this.isBlocked(from, to) || this.isBlocked(to, from)) return false
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
      if (!stream.connects(from, to)) continue
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
    for (const stream of this.streams) if (stream.connects(from, to)) stream.unblocked()
  }

  slowDown(from: string, to: string, factor: number): void {
    this.disturb(from, to)
    if (factor === 1) this.slow.delete(`${from}>${to}`)
    else this.slow.set(`${from}>${to}`, factor)
  }

  slowness(from: string, to: string): number {
    return this.slow.get(`${from}>${to}`) ?? 1
  }

  /** All streams between two nodes share the line. Returns the time until the frame's last byte has left. */
  carry(from: string, to: string, protocol: string, bytes: number): number {
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

  /** Breaks one stream, or all streams between its nodes, as when their connection breaks. */
  breakStream(stream: Stream, whole: boolean): void {
    const [a, b] = stream.ends
    for (const each of whole ? [...this.streams].filter((other) => other.connects(a.id, b.id)) : [stream]) {
      this.init.coverage.add('stream breaks')
      this.disturb(a.id, b.id)
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

  /** Opens a stream. The remote accepts it before the dialer has it. */
  private dial(from: Host, { id: to, addresses }: Remote, options: DialOptions): Promise<FrameStream> {
    const { random, coverage } = this.init
    return new Promise((resolve, reject) => {
      if (!from.process.alive) return
      let stream: Stream | undefined
      let settled = false
      const fail = (error: Error): void => {
        if (settled) return
        settled = true
        options.signal?.removeEventListener('abort', aborted)
        stream?.ends[0].abort(error)
        coverage.add('dials that failed')
        reject(error)
      }
      const aborted = (): void =>
        fail(options.signal?.reason instanceof Error ? options.signal.reason : new Error('aborted'))
      if (options.signal?.aborted === true) return aborted()
      options.signal?.addEventListener('abort', aborted, { once: true })

      const label = `${from.id}>${to} dial ${options.protocol}`
      const there = this.latency(from.id, to)
      const back = this.latency(to, from.id)
      const drawnMs = random.between(300, 3000)
      const { roundTripMs } = this.init
      const { stepMs = timingOf(DEFAULT_ROUND_TRIP_MS).stepMs } = options
      // TCP and the upgrade take three round trips if there is no connection yet. The longest step has two.
      const connectMs = roundTripMs === 0 || this.isConnected(from.id, to) ? 0 : 3 * roundTripMs
      const isInTime = roundTripMs * (connectMs === 0 ? 1 : 2) <= stepMs
      const timeoutMs = roundTripMs === 0 ? drawnMs : isInTime ? connectMs + stepMs : stepMs
      from.process.after('timer', timeoutMs, `${label} timeout`, () => fail(new Error(`no answer from ${to}`)))
      if (this.isFaulty && random.is(this.init.dialFailure)) {
        from.process.after('io', there + back, `${label} fails`, () => fail(new Error(`${to} is unreachable`)))
        return
      }
      this.init.scheduler.after(connectMs + there, label, () => {
        if (this.isBlocked(from.id, to) || settled) return
        const host = this.hosts.get(to)
        if (host === undefined || !host.isUp) return
        const refuse = (): void => {
          if (this.isBlocked(to, from.id)) return
          from.process.after('io', back + REFUSED_MS, `${label} refused`, () => fail(new Error(`${to} refuses`)))
        }
        // An open connection serves whatever the addresses are.
        const isFound = host.address === undefined || addresses.includes(host.address)
        if (!host.process.alive || (!isFound && !this.isConnected(from.id, to))) return refuse()
        host.process.enter('io', label, () => {
          const handler = host.handlers.get(options.protocol)
          const verdict = host.allow(from.id)
          if (handler === undefined || (verdict !== true && handler.refuse === undefined)) return refuse()
          if (settled || !from.process.alive) return
          const opened = new Stream(this, options.protocol, from, host, () => this.streams.delete(opened))
          stream = opened
          this.streams.add(opened)
          // The stream lasts until an end gives it up, even if the dialer never learns of it.
          if (this.isBlocked(to, from.id)) opened.givenUpLater(opened.ends[1])
          if (verdict === true) handler.accept(opened.ends[1])
          else handler.refuse!(opened.ends[1], verdict)
          this.init.scheduler.after(back, `${label} open`, () => {
            if (this.isBlocked(to, from.id)) return
            from.process.enter('io', `${label} open`, () => {
              if (settled) return
              settled = true
              options.signal?.removeEventListener('abort', aborted)
              opened.begin()
              resolve(opened.ends[0])
            })
          })
        })
      })
    })
  }

  private isConnected(a: string, b: string): boolean {
    return [...this.streams].some((stream) => stream.connects(a, b))
  }

  latency(from: string, to: string): number {
    const { random, latencyMs, roundTripMs } = this.init
    return roundTripMs / 2 + random.exponential(latencyMs) * this.slowness(from, to)
  }
}

function newHost(id: string, process: SimProcess, address?: string): Host {
  return { id, process, address, handlers: new Map(), allow: () => true, isUp: true }
}
