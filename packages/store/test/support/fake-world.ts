/** Virtual time and a network in memory, for tests of drivers. */
import type { Clock, DialOptions, FrameStream, Network } from '@quire/protocol'

export class FakeClock implements Clock {
  private timeMs = 0
  private timers: { at: number; order: number; callback: () => void }[] = []
  private order = 0

  now(): number {
    return this.timeMs
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.timeMs
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.timeMs + delayMs, order: this.order++, callback }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter((other) => other !== timer)
    }
  }

  get pending(): number {
    return this.timers.length
  }

  /** Lets time pass; whatever promises and streams have to do in between is done. */
  async advance(ms: number): Promise<void> {
    const until = this.timeMs + ms
    for (;;) {
      await settle()
      this.timers.sort((a, b) => a.at - b.at || a.order - b.order)
      const next = this.timers[0]
      if (next === undefined || next.at > until) break
      this.timers.shift()
      this.timeMs = Math.max(this.timeMs, next.at)
      next.callback()
    }
    this.timeMs = until
    await settle()
  }

  /** The process was stopped: time passes, nothing runs. */
  sleep(ms: number): void {
    this.timeMs += ms
  }
}

/** Until everything that is under way in microtasks has been done. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

const nothing = (): void => {}

export class FakeStream implements FrameStream {
  onFrame: (frame: Uint8Array) => void = nothing
  onDrain: () => void = nothing
  onClose: (reason?: Error) => void = nothing
  other!: FakeStream
  /** Takes nothing more while true: what is sent meanwhile is counted against the sender. */
  stopped = false
  over: { reason: Error | undefined } | undefined

  constructor(readonly remote: string) {}

  send(frame: Uint8Array): boolean {
    if (this.over !== undefined) return false
    queueMicrotask(() => {
      // Without its length, as the receiver gets it.
      if (this.other.over === undefined) this.other.onFrame(frame.slice(4))
    })
    return !this.stopped
  }

  close(): void {
    this.end(undefined)
  }

  abort(reason: Error): void {
    this.end(reason)
  }

  private end(reason: Error | undefined): void {
    if (this.over !== undefined) return
    this.over = { reason }
    queueMicrotask(() => queueMicrotask(() => this.onClose(reason)))
    // After what was sent before.
    queueMicrotask(() => queueMicrotask(() => this.other.endedByOther(reason)))
  }

  private endedByOther(reason: Error | undefined): void {
    if (this.over !== undefined) return
    this.over = { reason }
    this.onClose(reason)
  }
}

type Accept = (stream: FrameStream) => void

export class FakeNet {
  private readonly handlers = new Map<string, Accept>()
  /** Streams that were opened, the dialling side. */
  readonly streams: FakeStream[] = []
  /** Nodes that answer nobody. */
  readonly down = new Set<string>()
  /** Nodes that can be reached at one address only; all others, wherever they are dialed. */
  readonly places = new Map<string, string>()

  node(id: string): Network {
    return {
      id,
      handle: (protocol, _maxFrameBytes, accept) => this.handlers.set(`${id} ${protocol}`, accept),
      dial: (remote, addresses, options) => this.dial(id, remote, options, addresses)
    }
  }

  async dial(
    from: string,
    to: string,
    { protocol, answered }: Pick<DialOptions, 'protocol' | 'answered'>,
    addresses: readonly string[] = []
  ): Promise<FakeStream> {
    const accept = this.handlers.get(`${to} ${protocol}`)
    const place = this.places.get(to)
    await Promise.resolve()
    if (place !== undefined && !addresses.includes(place)) throw new Error(`${to} is not there`)
    if (place !== undefined) answered?.(place)
    if (accept === undefined || this.down.has(to)) throw new Error(`cannot reach ${to}`)
    const near = new FakeStream(to)
    const far = new FakeStream(from)
    near.other = far
    far.other = near
    this.streams.push(near)
    accept(far)
    return near
  }
}
