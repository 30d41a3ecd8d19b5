/** Virtual time and a network in memory: nothing here waits for anything real. */
import {
  DEFAULT_ROUND_TRIP_MS,
  timingOf,
  type Clock,
  type DialOptions,
  type FrameStream,
  type Network
} from '@quire/protocol'

interface Timer {
  readonly at: number
  readonly callback: () => void
}

export class FakeClock implements Clock {
  private timeMs = 1000
  private timers: Timer[] = []

  now(): number {
    return this.timeMs
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.timeMs
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.timeMs + delayMs, callback }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter((other) => other !== timer)
    }
  }

  /** Timers that have neither run nor been cancelled. */
  get pending(): number {
    return this.timers.length
  }

  /** Lets time pass; whatever promises and streams have to do in between is done. */
  async advance(ms: number): Promise<void> {
    const until = this.timeMs + ms
    await settle()
    for (;;) {
      // A stable sort: timers of one moment run in the order in which they were made.
      this.timers.sort((a, b) => a.at - b.at)
      const next = this.timers[0]
      if (next === undefined || next.at > until) break
      this.timers.shift()
      this.timeMs = Math.max(this.timeMs, next.at)
      next.callback()
      await settle()
    }
    this.timeMs = until
  }

  /** Runs the timers of the next `ms` in this step, and nothing that they set off. */
  fire(ms: number): void {
    this.timeMs += ms
    const due = this.timers.filter(({ at }) => at <= this.timeMs)
    this.timers = this.timers.filter(({ at }) => at > this.timeMs)
    for (const { callback } of due) callback()
  }

  /** The process was stopped: time passes, nothing runs. */
  sleep(ms: number): void {
    this.timeMs += ms
  }
}

/** Until everything that is under way in microtasks has been done. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

const nothing = (): void => {}

export class FakeStream implements FrameStream {
  onFrame: (frame: Uint8Array) => void = nothing
  onDrain: () => void = nothing
  onClose: (reason?: Error) => void = nothing
  other!: FakeStream
  isOver = false
  /** Frames to here are lost without anybody noticing. */
  isSilent = false

  constructor(
    readonly remote: string,
    private readonly travel: (arrive: () => void) => void
  ) {}

  send(frame: Uint8Array): boolean {
    if (this.isOver) return false
    const { other } = this
    this.travel(() => {
      // Without its length, as the receiver gets it.
      if (!other.isOver && !other.isSilent) other.onFrame(frame.slice(4))
    })
    return true
  }

  close(): void {
    this.end(undefined)
  }

  abort(reason: Error): void {
    this.end(reason)
  }

  private end(reason: Error | undefined): void {
    if (this.isOver) return
    this.isOver = true
    queueMicrotask(() => this.onClose(reason))
    // After what was sent before.
    this.travel(() => {
      if (this.other.isOver) return
      this.other.isOver = true
      this.other.onClose(reason)
    })
  }
}

type Accept = (stream: FakeStream) => void

export class FakeNet {
  private readonly handlers = new Map<string, Accept>()
  /** How far everybody is from everybody. */
  roundTripMs = 0
  /** Nodes that do not answer a dial. */
  readonly mute = new Set<string>()
  /** Nodes that cannot be reached. */
  readonly down = new Set<string>()
  /** Nodes that can be reached at one address only; all others, wherever they are dialed. */
  readonly places = new Map<string, string>()
  /** Whom was dialled for a control stream, in order. */
  readonly dialled: string[] = []

  constructor(private readonly clock: Clock) {}

  listen(id: string, protocol: string, accept: Accept): void {
    this.handlers.set(`${id} ${protocol}`, accept)
  }

  node(id: string): Network {
    return {
      id,
      handle: () => {
        throw new Error('a client listens to nobody')
      },
      dial: (remote, addresses, options) => this.dial(id, remote, addresses, options)
    }
  }

  private async dial(
    from: string,
    to: string,
    addresses: readonly string[],
    options: DialOptions
  ): Promise<FrameStream> {
    const { protocol, signal, stepMs = timingOf(DEFAULT_ROUND_TRIP_MS).stepMs } = options
    if (protocol.includes('control')) this.dialled.push(to)
    await Promise.resolve()
    const place = this.places.get(to)
    if (place !== undefined && !addresses.includes(place)) throw new Error(`${to} is not there`)
    // TCP, the upgrade and the protocol; or the protocol alone, on a connection that is there.
    const steps = this.mute.has(to) ? [Infinity] : protocol.includes('control') ? [1, 2, 1] : [1]
    for (const roundTrips of steps) {
      const ms = this.mute.has(to) ? Infinity : roundTrips * this.roundTripMs
      if (ms > 0) await this.pass(ms, stepMs, `did not answer within ${stepMs} ms`, signal)
    }
    const accept = this.handlers.get(`${to} ${protocol}`)
    if (accept === undefined || this.down.has(to)) throw new Error(`cannot reach ${to}`)
    const travel = (arrive: () => void): void => {
      if (this.roundTripMs === 0) queueMicrotask(arrive)
      else this.clock.schedule(this.roundTripMs / 2, arrive)
    }
    const near = new FakeStream(to, travel)
    const far = new FakeStream(from, travel)
    near.other = far
    far.other = near
    accept(far)
    return near
  }

  /** A step that takes `ms` and may take `limitMs`. */
  private pass(ms: number, limitMs: number, problem: string, signal: DialOptions['signal']): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = ms <= limitMs ? resolve : () => reject(new Error(problem))
      const cancel = this.clock.schedule(Math.min(ms, limitMs), done)
      const aborted = (): void => {
        cancel()
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', aborted, { once: true })
    })
  }
}
