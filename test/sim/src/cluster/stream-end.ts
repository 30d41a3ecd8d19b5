import { PROTOCOL_RAFT, type FrameStream } from '@quire/protocol'
import type { SimProcess } from '../process.js'
import { withoutTexts } from './error-texts.js'
import { damagePiece, isPiece } from './piece-damage.js'
import type { Host, StreamNetwork } from './network-types.js'
import { hopsOf, type Path } from './path.js'

const MAX_QUEUED_BYTES = 8 * 1024 * 1024
const CLOSE_TIMEOUT_MS = 5000

interface StreamEndInit {
  readonly network: StreamNetwork
  readonly protocol: string
  /** The process of the relay, if there is one. What the stream carries waits while it is stalled. */
  readonly relay: SimProcess | undefined
  readonly onOver: () => void
}

type Parcel =
  | { readonly type: 'frame'; readonly bytes: Uint8Array; readonly size: number }
  | { readonly type: 'fin' }
  | { readonly type: 'reset' }

/** A parcel with its number in the order of sending, which it gets when it leaves. */
interface Sent {
  readonly parcel: Parcel
  readonly seq?: number
}

const ignore = (): void => {}

/**
 * Plays one end of a simulated stream.
 *
 * It carries what its owner sends to the other end.
 */
export class StreamEnd implements FrameStream {
  readonly id: string
  readonly remote: string
  readonly process: SimProcess
  other!: StreamEnd
  onDrain: () => void = ignore
  /** Sends nothing yet. */
  held = false
  /** Extra latency. */
  delayMs = 0
  private readonly network: StreamNetwork
  private readonly protocol: string
  private readonly relay: SimProcess | undefined
  /** Called when this end is over. */
  private readonly onOver: () => void
  private frameHandler: ((frame: Uint8Array) => void) | undefined
  private closeHandler: ((reason?: Error) => void) | undefined
  private early: Uint8Array[] = []
  private over: { readonly reason: Error | undefined } | undefined
  private closing = false
  private closeReported = false

  // -- outgoing
  private waiting: Sent[] = []
  /** How many of the first waiting parcels were in flight when the link was cut. */
  private returned = 0
  /** When the last parcel that was sent in order arrives. */
  lastArrival = 0
  /** Numbers of the next parcel to leave in order, and of the next that may arrive. */
  private nextSeq = 0
  private expectedSeq = 0
  /** Parcels that have arrived before one that a cut link has delayed. */
  private readonly overtaking = new Map<number, Parcel>()
  /** Frames in flight that were sent in order. */
  private following = 0
  /** Frames that arrive together with the next one. */
  private joined: Sent[] = []
  private bytesOnTheWay = 0
  private drainOwed = false
  private readonly latencyMs: number
  /** For the trace. */
  private readonly label: string
  private sentFrames = 0
  /** Incremented when everything in flight is lost. */
  private generation = 0

  constructor(
    { network, protocol, relay, onOver }: StreamEndInit,
    host: Host,
    /** From this end to the other. */
    readonly path: Path
  ) {
    this.network = network
    this.protocol = protocol
    this.relay = relay
    this.onOver = onOver
    this.id = host.id
    this.remote = path.at(-1)!
    this.process = host.process
    this.label = `${path.join('>')} ${protocol.split('/')[2]}`
    const { random, latencyMs } = network.init
    this.latencyMs = random.exponential(latencyMs)
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
    // The receiver gets the frame without its length, as a copy of its own.
    const bytes = frame.slice(4)
    const seen = withoutTexts(this.id, this.protocol, bytes)
    const size = seen.length
    this.bytesOnTheWay += size + 4
    this.network.init.scheduler.hash.text(this.label).bytes(seen)
    this.network.onSend?.(this.id, this.remote, this.protocol, bytes, this.process)
    this.put({ type: 'frame', bytes, size })
    if (this.bytesOnTheWay > MAX_QUEUED_BYTES) {
      this.abort(new Error(`${this.bytesOnTheWay} bytes are queued for ${this.remote}`))
      return false
    }
    if (this.bytesOnTheWay > this.network.init.highWaterBytes && !this.drainOwed) {
      this.drainOwed = true
      this.network.init.coverage.add('back-pressure')
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
    // Parcels that have left may arrive before the reset, or be dropped with it.
    if (this.network.init.random.is(0.5)) this.lose()
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

  /** The process is gone, and its machine resets the stream. */
  vanish(): void {
    this.lose()
    this.put({ type: 'reset' })
  }

  /** Drops everything that this end has sent and that has not arrived. */
  lose(): void {
    this.generation++
    this.waiting = []
    this.returned = 0
    this.joined = []
    this.overtaking.clear()
    this.expectedSeq = this.nextSeq
    this.following = 0
    this.bytesOnTheWay = 0
  }

  /** Sends the parcels that could not leave. */
  release(): void {
    this.returned = 0
    for (const { parcel, seq } of this.waiting.splice(0)) this.put(parcel, seq)
  }

  private put(whole: Parcel, seq?: number): void {
    const { network, protocol } = this
    if (this.held || this.waiting.length > 0 || network.isCut(this.path)) {
      this.waiting.push({ parcel: whole, seq })
      return
    }
    const parcel = this.mayDamage(whole)
    const { random, coverage, scheduler, raftLoss, raftDuplication, raftReordering } = network.init
    const transit = this.transit(parcel)
    const size = parcel.type === 'frame' ? parcel.size : 0
    const carried = network.carry(this.path, protocol, size)
    const inOrder = Math.max(this.lastArrival, scheduler.now + carried + transit)
    // A parcel with a number has left before, and a cut link has sent it back.
    const isOpen = protocol === PROTOCOL_RAFT && seq === undefined && this.sentFrames > 0
    const isLossy = parcel.type === 'frame' && isOpen && network.isFaulty
    if (parcel.type === 'frame') this.sentFrames++
    if (isLossy && random.is(raftLoss)) {
      coverage.add('raft frames lost')
      this.frameLeft(parcel.size)
      return
    }
    if (isLossy && random.is(raftDuplication)) {
      coverage.add('raft frames doubled')
      const copy = { ...parcel, bytes: parcel.bytes.slice() }
      this.bytesOnTheWay += size + 4
      this.travel(copy, inOrder + random.exponential(30), () => this.arrived([{ parcel: copy }]))
    }
    if (isLossy && random.is(raftReordering)) {
      coverage.add('raft frames reordered')
      // Not before the frames ahead of it, the hello among them. Frames behind it may overtake it.
      this.travel(parcel, inOrder + random.exponential(30), () => this.arrived([{ parcel }]))
      return
    }
    this.lastArrival = inOrder
    if (parcel.type === 'frame') this.following++
    const sent = { parcel, seq: seq ?? this.nextSeq++ }
    this.travel(parcel, inOrder, () => this.arrivedInOrder(sent))
  }

  /** Damages some pieces of snapshots. */
  private mayDamage(parcel: Parcel): Parcel {
    const { network, protocol } = this
    const { random, coverage, pieceDamage } = network.init
    const isDamaged =
      network.isFaulty && parcel.type === 'frame' && isPiece(protocol, parcel.bytes) && random.is(pieceDamage)
    if (!isDamaged) return parcel
    coverage.add('pieces damaged')
    return { ...parcel, bytes: damagePiece(parcel.bytes, random) }
  }

  private transit(parcel: Parcel): number {
    const { random } = this.network.init
    const spike = this.network.isFaulty && random.is(0.01) ? random.between(5, 120) : 0
    const size = parcel.type === 'frame' ? parcel.size : 0
    const slowness = this.network.slowness(this.path)
    const ms = (this.latencyMs * random.between(0.5, 1.5) + size / 100_000 + spike) * slowness + this.delayMs
    return ms + (this.network.init.roundTripMs / 2) * hopsOf(this.path).length
  }

  private travel(parcel: Parcel, arrival: number, arrived: () => void): void {
    const { generation, relay } = this
    const label = `${this.label} ${parcel.type}`
    const arrive = (): void => {
      if (generation === this.generation) arrived()
    }
    this.network.init.scheduler.at(arrival, label, () => (relay ? relay.enter('io', label, arrive) : arrive()))
  }

  /**
   * Frames that were sent one after the other occasionally arrive in one chunk and are handled in one turn
   * (packages/net/src/portable/frame-stream.ts).
   */
  private arrivedInOrder(sent: { readonly parcel: Parcel; readonly seq: number }): void {
    const { network } = this
    if (sent.parcel.type === 'frame' && --this.following > 0 && network.isJoined()) {
      this.joined.push(sent)
      return
    }
    const { joined } = this
    this.joined = []
    if (joined.length > 0) network.init.coverage.add('frames that came with the next', joined.length)
    this.arrived([...joined, sent])
  }

  private arrived(sent: readonly Sent[]): void {
    const { network } = this
    if (network.isCut(this.path)) {
      // They were sent before all that waits since the link was cut.
      this.waiting.splice(this.returned, 0, ...sent)
      this.returned += sent.length
      return
    }
    const parcels = this.inOrder(sent)
    if (parcels.length === 0) return
    for (const parcel of parcels) {
      if (parcel.type === 'frame') network.init.scheduler.hash.text(this.label).number(parcel.size)
    }
    this.other.process.enter('io', `${this.label} ${parcels[0]!.type}`, () => {
      for (const parcel of parcels) this.other.arrive(parcel)
    })
    if (this.other.process.alive) return
    // A dead receiver takes nothing. Its sender learns of that in other ways.
    for (const parcel of parcels) if (parcel.type === 'frame') this.frameLeft(parcel.size)
  }

  /**
   * Returns the parcels that may be delivered now. A numbered parcel waits for all earlier ones, which a cut link may
   * have delayed.
   */
  private inOrder(sent: readonly Sent[]): readonly Parcel[] {
    const parcels: Parcel[] = []
    for (const { parcel, seq } of sent) {
      if (seq === undefined) parcels.push(parcel)
      else this.overtaking.set(seq, parcel)
    }
    for (;;) {
      const next = this.overtaking.get(this.expectedSeq)
      if (next === undefined) return parcels
      this.overtaking.delete(this.expectedSeq++)
      parcels.push(next)
    }
  }

  private arrive(parcel: Parcel): void {
    if (parcel.type === 'frame') {
      this.other.frameLeft(parcel.size)
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

  /** A frame of `bytes` is no longer on the way: it was taken or lost. */
  private frameLeft(bytes: number): void {
    this.bytesOnTheWay = Math.max(0, this.bytesOnTheWay - bytes - 4)
    if (!this.drainOwed || this.bytesOnTheWay > this.network.init.highWaterBytes / 4) return
    this.drainOwed = false
    this.process.after('io', 0, `${this.id}>${this.remote} drain`, () => {
      if (this.over === undefined && !this.closing) this.onDrain()
    })
  }

  private deliver(frame: Uint8Array): void {
    if (this.closing || this.over !== undefined) return
    this.network.onDeliver?.(this.remote, this.id, this.protocol, frame)
    try {
      // Noise makes Buffers of large messages. Each receiver has bytes of its own.
      this.frameHandler?.(Buffer.from(frame))
    } catch (error) {
      this.network.onHandlerError(error as Error)
      this.abort(error as Error)
    }
  }

  private end(reason: Error | undefined): void {
    if (this.over !== undefined) return
    this.over = { reason }
    this.onOver()
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
