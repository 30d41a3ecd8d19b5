/**
 * The network between simulated nodes. Frames of one stream arrive in order; streams do not wait for each other. What a partition
 * stops is sent again when it heals, unless an end has given the stream up by then. Raft's streams also lose, double and reorder
 * single frames, which Raft must bear.
 */
import { PROTOCOL_RAFT, type DialOptions, type FrameStream, type Network } from '@quire/protocol'
import { crc32 } from 'node:zlib'
import type { Coverage } from './coverage.js'
import type { SimProcess } from './process.js'
import type { Chance } from './random.js'
import type { Scheduler } from './scheduler.js'

export interface NetworkInit {
  readonly scheduler: Scheduler
  readonly chance: Chance
  readonly coverage: Coverage
  /** Mean of a stream's latency. */
  readonly latencyMs: number
  /** Shares of Raft's frames. */
  readonly raftLoss: number
  readonly raftDuplication: number
  readonly raftReordering: number
  /** Share of dials that fail for no reason. */
  readonly dialFailure: number
  /** Bytes on the way from which `send` returns false. */
  readonly highWaterBytes: number
}

const MAX_QUEUED_BYTES = 8 * 1024 * 1024
const CLOSE_TIMEOUT_MS = 5000
const REFUSED_MS = 2

interface Host {
  readonly id: string
  readonly process: SimProcess
  readonly handlers: Map<string, (stream: FrameStream) => void>
  /** The machine answers for a process that is gone. */
  isUp: boolean
}

type Parcel =
  | { readonly type: 'frame'; readonly bytes: Uint8Array }
  | { readonly type: 'fin' }
  | { readonly type: 'reset' }

export class SimNetwork {
  private readonly hosts = new Map<string, Host>()
  private readonly blocked = new Set<string>()
  private readonly slow = new Map<string, number>()
  readonly streams = new Set<Stream>()
  /** Sees every frame when it arrives, before its receiver. */
  onDeliver: ((from: string, to: string, protocol: string, frame: Uint8Array) => void) | undefined
  /** A handler threw: the real stream would be aborted and the error logged. */
  onHandlerError: (error: Error) => void = () => {}
  /** While this is true, Raft's frames are lost and doubled, dials fail, and now and then something takes very long. */
  isFaulty = true

  constructor(readonly init: NetworkInit) {}

  /** A process comes up under this id. An earlier one's machine is taken over by it. */
  attach(id: string, process: SimProcess): Network {
    const host: Host = { id, process, handlers: new Map(), isUp: true }
    this.hosts.set(id, host)
    // The restarted machine knows nothing of the streams of its earlier life, and says so when it hears of them.
    for (const stream of this.streams) {
      for (const end of stream.ends) if (end.id === id && !end.process.alive) stream.forgotten(end)
    }
    return {
      id,
      handle: (protocol, _maxFrameBytes, accept) => host.handlers.set(protocol, accept),
      dial: (remote, _addresses, options) => this.dial(host, remote, options)
    }
  }

  /** A process died. With its machine, nobody tells the others; without, the kernel closes its streams. */
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

  /** Nothing goes from `from` to `to` any more. Ends that hear nothing give up after a while. */
  block(from: string, to: string): void {
    this.blocked.add(`${from}>${to}`)
    for (const stream of this.streams) {
      if (!stream.connects(from, to)) continue
      for (const end of stream.ends) stream.givenUpLater(end)
    }
  }

  heal(): void {
    this.blocked.clear()
    this.slow.clear()
    for (const stream of this.streams) stream.unblocked()
  }

  unblock(from: string, to: string): void {
    this.blocked.delete(`${from}>${to}`)
    for (const stream of this.streams) if (stream.connects(from, to)) stream.unblocked()
  }

  slowDown(from: string, to: string, factor: number): void {
    if (factor === 1) this.slow.delete(`${from}>${to}`)
    else this.slow.set(`${from}>${to}`, factor)
  }

  slowness(from: string, to: string): number {
    return this.slow.get(`${from}>${to}`) ?? 1
  }

  /** Breaks one stream, or all between its two nodes as when the connection under them goes. */
  breakStream(stream: Stream, whole: boolean): void {
    const [a, b] = stream.ends
    for (const each of whole ? [...this.streams].filter((other) => other.connects(a.id, b.id)) : [stream]) {
      this.init.coverage.add('stream breaks')
      each.break()
    }
  }

  /** Opens a stream: the remote accepts it first, then the dialler has it. */
  private dial(from: Host, to: string, options: DialOptions): Promise<FrameStream> {
    const { chance, coverage } = this.init
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
      from.process.after('timer', chance.between(300, 3000), `${label} timeout`, () =>
        fail(new Error(`no answer from ${to}`))
      )
      if (this.isFaulty && chance.is(this.init.dialFailure)) {
        from.process.after('io', there + back, `${label} fails`, () => fail(new Error(`${to} is unreachable`)))
        return
      }
      this.init.scheduler.after(there, label, () => {
        if (this.isBlocked(from.id, to) || settled) return
        const host = this.hosts.get(to)
        if (host === undefined || !host.isUp) return
        const refuse = (): void => {
          if (this.isBlocked(to, from.id)) return
          from.process.after('io', back + REFUSED_MS, `${label} refused`, () => fail(new Error(`${to} refuses`)))
        }
        if (!host.process.alive) return refuse()
        host.process.enter('io', label, () => {
          const accept = host.handlers.get(options.protocol)
          if (accept === undefined) return refuse()
          if (settled || !from.process.alive) return
          const opened = new Stream(this, options.protocol, from, host)
          stream = opened
          this.streams.add(opened)
          // It lasts until an end gives it up, also where the dialler never learns of it.
          if (this.isBlocked(to, from.id)) opened.givenUpLater(opened.ends[1])
          accept(opened.ends[1])
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

  latency(from: string, to: string): number {
    return this.init.chance.exponential(this.init.latencyMs) * this.slowness(from, to)
  }
}

/** One stream: two ends, and what is on its way between them. */
export class Stream {
  readonly ends: readonly [End, End]

  constructor(
    readonly network: SimNetwork,
    readonly protocol: string,
    dialler: Host,
    acceptor: Host
  ) {
    const a = new End(this, dialler, acceptor.id)
    const b = new End(this, acceptor, dialler.id)
    a.other = b
    b.other = a
    this.ends = [a, b]
    // The dialler does not have it yet: what the acceptor sends waits.
    b.held = true
  }

  connects(a: string, b: string): boolean {
    const [x, y] = this.ends
    return (x.id === a && y.id === b) || (x.id === b && y.id === a)
  }

  begin(): void {
    const [, acceptor] = this.ends
    acceptor.held = false
    acceptor.release()
  }

  unblocked(): void {
    for (const end of this.ends) end.release()
  }

  /** `end` hears nothing any more; it notices after a while, unless there is word by then. */
  givenUpLater(end: End): void {
    const { chance, scheduler } = this.network.init
    scheduler.after(chance.between(800, 6000), `${end.id}>${end.remote} probe`, () => {
      const silent =
        !end.other.process.alive ||
        this.network.isBlocked(end.id, end.remote) ||
        this.network.isBlocked(end.remote, end.id)
      if (silent) end.fail(new Error(`${end.remote} does not answer`))
    })
  }

  /** `end`'s process is gone and its machine says so. */
  forgotten(end: End): void {
    end.vanish()
  }

  break(): void {
    const { chance } = this.network.init
    for (const end of this.ends) {
      end.lose()
      const delay = chance.exponential(20)
      end.process.after('io', delay, `${end.id}>${end.remote} breaks`, () =>
        end.fail(new Error('the connection broke'))
      )
    }
  }

  ended(): void {
    if (this.ends.every((end) => end.isOver)) this.network.streams.delete(this)
  }
}

const ignore = (): void => {}

class End implements FrameStream {
  readonly id: string
  readonly process: SimProcess
  other!: End
  onDrain: () => void = ignore
  /** Sends nothing yet. */
  held = false
  private frameHandler: ((frame: Uint8Array) => void) | undefined
  private closeHandler: ((reason?: Error) => void) | undefined
  private early: Uint8Array[] = []
  private over: { readonly reason: Error | undefined } | undefined
  private closing = false
  private closeReported = false

  // -- outgoing
  private waiting: Parcel[] = []
  private lastArrival = 0
  private bytesOnTheWay = 0
  private drainOwed = false
  private readonly latencyMs: number
  private sentFrames = 0
  /** Raised when everything on the way is lost. */
  private generation = 0

  constructor(
    private readonly stream: Stream,
    host: Host,
    readonly remote: string
  ) {
    this.id = host.id
    this.process = host.process
    this.latencyMs = stream.network.init.chance.exponential(stream.network.init.latencyMs)
  }

  get isOver(): boolean {
    return this.over !== undefined || !this.process.alive
  }

  get onFrame(): (frame: Uint8Array) => void {
    return this.frameHandler ?? ignore
  }

  set onFrame(handler: (frame: Uint8Array) => void) {
    this.frameHandler = handler
    for (const frame of this.early.splice(0)) queueMicrotask(() => this.deliver(frame))
  }

  get onClose(): (reason?: Error) => void {
    return this.closeHandler ?? ignore
  }

  set onClose(handler: (reason?: Error) => void) {
    this.closeHandler = handler
    if (this.over !== undefined) this.reportClose()
  }

  send(frame: Uint8Array): boolean {
    if (this.closing || this.isOver) return false
    // What the receiver gets: without its length, and its own.
    this.bytesOnTheWay += frame.length
    this.put({ type: 'frame', bytes: frame.slice(4) })
    if (this.bytesOnTheWay > MAX_QUEUED_BYTES) {
      this.abort(new Error(`${this.bytesOnTheWay} bytes are queued for ${this.remote}`))
      return false
    }
    if (this.bytesOnTheWay > this.stream.network.init.highWaterBytes && !this.drainOwed) {
      this.drainOwed = true
      this.stream.network.init.coverage.add('back-pressure')
    }
    return !this.drainOwed
  }

  close(): void {
    if (this.closing || this.isOver) return
    this.closing = true
    this.put({ type: 'fin' })
    this.process.after('timer', CLOSE_TIMEOUT_MS, `${this.id}>${this.remote} close`, () =>
      this.fail(new Error(`${this.remote} does not close`))
    )
  }

  abort(reason: Error): void {
    if (this.isOver) return
    // What has left may arrive before the reset, or be thrown away with it.
    if (this.stream.network.init.chance.is(0.5)) this.lose()
    this.put({ type: 'reset' })
    this.end(reason)
  }

  // ---- events

  /** This end notices that the stream is dead. */
  fail(reason: Error): void {
    if (this.isOver) return
    this.put({ type: 'reset' })
    this.end(reason)
  }

  /** The process is gone; its machine resets the stream. */
  vanish(): void {
    this.lose()
    this.put({ type: 'reset' })
  }

  /** Everything that this end has sent and that has not arrived is gone. */
  lose(): void {
    this.generation++
    this.waiting = []
    this.bytesOnTheWay = 0
  }

  /** Sends what could not leave. */
  release(): void {
    for (const parcel of this.waiting.splice(0)) this.put(parcel)
  }

  private put(parcel: Parcel): void {
    const { network, protocol } = this.stream
    if (this.held || this.waiting.length > 0 || network.isBlocked(this.id, this.remote)) {
      this.waiting.push(parcel)
      return
    }
    const { chance, coverage, scheduler, raftLoss, raftDuplication, raftReordering } = network.init
    const transit = this.transit(parcel)
    const inOrder = Math.max(this.lastArrival, scheduler.now + transit)
    const isLossy = parcel.type === 'frame' && protocol === PROTOCOL_RAFT && network.isFaulty && this.sentFrames > 0
    if (parcel.type === 'frame') this.sentFrames++
    if (isLossy && chance.is(raftLoss)) {
      coverage.add('raft frames lost')
      this.taken(parcel.bytes.length)
      return
    }
    if (isLossy && chance.is(raftDuplication)) {
      coverage.add('raft frames doubled')
      const copy = { type: 'frame', bytes: parcel.bytes.slice() } as const
      this.bytesOnTheWay += copy.bytes.length + 4
      this.travel(copy, inOrder + chance.exponential(30))
    }
    if (isLossy && chance.is(raftReordering)) {
      coverage.add('raft frames reordered')
      // Not before the frames ahead of it, the hello among them; those behind it may overtake it.
      this.travel(parcel, inOrder + chance.exponential(30))
      return
    }
    this.lastArrival = inOrder
    this.travel(parcel, inOrder)
  }

  private transit(parcel: Parcel): number {
    const { chance } = this.stream.network.init
    const spike = this.stream.network.isFaulty && chance.is(0.01) ? chance.between(5, 120) : 0
    const size = parcel.type === 'frame' ? parcel.bytes.length : 0
    const slowness = this.stream.network.slowness(this.id, this.remote)
    return (this.latencyMs * chance.between(0.5, 1.5) + size / 100_000 + spike) * slowness
  }

  private travel(parcel: Parcel, arrival: number): void {
    const { network, protocol } = this.stream
    const { generation } = this
    const lane = protocol.split('/')[2]!
    const label = `${this.id}>${this.remote} ${lane} ${parcel.type}`
    network.init.scheduler.at(arrival, label, () => {
      if (generation !== this.generation) return
      if (network.isBlocked(this.id, this.remote)) {
        this.waiting.push(parcel)
        return
      }
      if (parcel.type === 'frame') network.init.scheduler.note(crc32(parcel.bytes))
      this.other.process.enter('io', label, () => this.other.arrive(parcel))
      // A dead receiver takes nothing; its sender learns that otherwise.
      if (!this.other.process.alive && parcel.type === 'frame') this.taken(parcel.bytes.length)
    })
  }

  private arrive(parcel: Parcel): void {
    if (parcel.type === 'frame') {
      this.other.taken(parcel.bytes.length)
      if (this.frameHandler === undefined) this.early.push(parcel.bytes)
      else this.deliver(parcel.bytes)
    } else if (parcel.type === 'reset') {
      this.end(new Error(`${this.remote} reset the stream`))
    } else if (this.over === undefined) {
      if (!this.closing) {
        this.closing = true
        this.put({ type: 'fin' })
      }
      this.end(undefined)
    }
  }

  /** The other end has taken a frame of `bytes`. */
  private taken(bytes: number): void {
    this.bytesOnTheWay = Math.max(0, this.bytesOnTheWay - bytes - 4)
    if (!this.drainOwed || this.bytesOnTheWay > this.stream.network.init.highWaterBytes / 4) return
    this.drainOwed = false
    this.process.after('io', 0, `${this.id}>${this.remote} drain`, () => {
      if (this.over === undefined && !this.closing) this.onDrain()
    })
  }

  private deliver(frame: Uint8Array): void {
    if (this.closing || this.over !== undefined) return
    this.stream.network.onDeliver?.(this.remote, this.id, this.stream.protocol, frame)
    try {
      this.frameHandler?.(frame)
    } catch (error) {
      this.stream.network.onHandlerError(error as Error)
      this.abort(error as Error)
    }
  }

  private end(reason: Error | undefined): void {
    if (this.over !== undefined) return
    this.over = { reason }
    this.stream.ended()
    if (this.closeHandler !== undefined) this.reportClose()
  }

  private reportClose(): void {
    queueMicrotask(() => {
      queueMicrotask(() => {
        if (this.closeReported || !this.process.alive) return
        this.closeReported = true
        this.closeHandler?.(this.over?.reason)
      })
    })
  }
}
