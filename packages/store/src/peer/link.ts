/** The outgoing stream to one other peer: dialed, introduced, and opened again whenever it breaks. */
import {
  MAX_RAFT_FRAME_BYTES,
  MAX_ROUND_TRIP_MS,
  PROTOCOL_RAFT,
  decodeFrame,
  encodeFrame,
  raftEntryBytes,
  raftMessage,
  type Clock,
  type FrameStream,
  type Network,
  type RaftIntroduction,
  type RaftMessage,
  type RaftStreamMessage,
  type Random
} from '@quire/protocol'
import type { AddressBook } from '@quire/net'
import type { Logger } from 'pino'
import type { Claim } from './evidence.js'

export interface LinkInit {
  readonly remote: string
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly book: AddressBook
  readonly logger: Logger | undefined
  readonly maxQueuedBytes: number
  /** How long the remote may take for each step of a dial; see `timingOf`. */
  readonly stepMs: () => number
  readonly introduce: () => RaftIntroduction
  /** The remote has accepted the hello. Resolves with what to refuse it with, or undefined to open the stream. */
  readonly welcomed: (introduction: RaftIntroduction) => Promise<RaftStreamMessage | undefined>
  /** The remote has refused the hello. Returns what it should know in return. */
  readonly refused: (message: Extract<RaftStreamMessage, { type: 'raftRefused' }>) => RaftStreamMessage | undefined
  /** Messages may be sent from now on. */
  readonly opened: () => void
}

const MIN_BACKOFF_MS = 50
/** Two round trips of the largest that a cluster may have: a remote that refuses has said so by then. */
const MAX_BACKOFF_MS = 2 * MAX_ROUND_TRIP_MS
/** A handshake that takes longer is given up. It takes one round trip and a write to the remote's disk, however far that is. */
export const HELLO_TIMEOUT_MS = 10 * MAX_ROUND_TRIP_MS
/** Nobody waits for a link but itself: a remote that is only slow need not be dialed again. */
const PATIENCE = 2
/** Between a link's messages there are few; a frame that is not an append fits this. */
const SMALL_FRAME_BYTES = 128

export class Link {
  /** What the remote's process behind the open stream said of itself. */
  life: Claim | undefined
  /** In the handshake. */
  private opening: FrameStream | undefined
  /** Open. */
  private stream: FrameStream | undefined
  private queue: Uint8Array[] = []
  /** Messages between links that wait, the newest of each type: it says all that an older one said. */
  private readonly toTell = new Map<RaftStreamMessage['type'], RaftStreamMessage>()
  private queuedBytes = 0
  private blocked = false
  private closed = false
  private openedAtMs = 0
  private downSinceMs: number
  private backoffMs = MIN_BACKOFF_MS
  private cancelDial: () => void = () => {}
  private cancelTimeout: () => void = () => {}
  /** Between two dials. */
  private pausing = false
  /** The failure that was logged last; the same again is not news. Undefined while the link works. */
  private lastFailure: string | undefined
  /** A refusal ended the handshake, and was logged. */
  private wasRefused = false

  constructor(private readonly init: LinkInit) {
    this.downSinceMs = init.clock.now()
    void this.dial()
  }

  get isOpen(): boolean {
    return this.stream !== undefined
  }

  /** Dropped unless the link is open. */
  send(group: number, message: RaftMessage): void {
    if (this.stream === undefined || this.queuedBytes > this.init.maxQueuedBytes) return
    this.post(this.stream, encodeFrame(raftMessage, message, group, 0, capacityOf(message)))
  }

  /** A message between links, not for Raft. While the remote takes nothing, the next of its type replaces it. */
  tell(message: RaftStreamMessage): void {
    if (this.stream === undefined) return
    if (this.blocked) this.toTell.set(message.type, message)
    else this.post(this.stream, encodeFrame(raftMessage, message))
  }

  close(): void {
    this.closed = true
    this.cancelDial()
    this.cancelTimeout()
    this.opening?.close()
    this.stream?.close()
    this.opening = undefined
    this.stream = undefined
    this.dropQueue()
  }

  /** Ends the stream and dials again, after the longest pause. */
  cut(reason: Error): void {
    this.backoffMs = MAX_BACKOFF_MS
    this.opening?.abort(reason)
    this.stream?.abort(reason)
  }

  /** The remote has just come: a pause before the next dial would let it start an election for want of heartbeats. */
  remoteIsUp(): void {
    if (this.closed || !this.pausing) return
    this.cancelDial()
    void this.dial()
  }

  private async dial(): Promise<void> {
    this.pausing = false
    this.wasRefused = false
    const { network, remote, book, clock, introduce } = this.init
    let stream: FrameStream
    try {
      const stepMs = PATIENCE * this.init.stepMs()
      const answered = (address: string): void => book.answered(remote, address)
      const options = { protocol: PROTOCOL_RAFT, maxFrameBytes: MAX_RAFT_FRAME_BYTES, stepMs, answered }
      stream = await network.dial(remote, book.of(remote), options)
    } catch (error) {
      return this.failed(error as Error)
    }
    if (this.closed) return stream.close()
    this.opening = stream
    // Rejects with nothing: what fails in it aborts the stream.
    stream.onFrame = (frame) => void this.answered(stream, frame)
    stream.onDrain = () => this.drained()
    stream.onClose = (reason) => this.ended(stream, reason)
    this.cancelTimeout = clock.schedule(HELLO_TIMEOUT_MS, () =>
      stream.abort(new Error('no answer to the hello in time'))
    )
    try {
      stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...introduce() }))
    } catch (error) {
      // Nobody waits for a dial, so an error here would end the process.
      stream.abort(error as Error)
    }
  }

  /** Nothing but the answer to the hello comes on an outgoing stream. */
  private async answered(stream: FrameStream, frame: Uint8Array): Promise<void> {
    stream.onFrame = () => stream.abort(new Error('a frame behind the answer to the hello'))
    try {
      const { message } = decodeFrame(raftMessage, frame)
      if (message.type === 'raftWelcome') return await this.welcomed(stream, message)
      if (message.type !== 'raftRefused') throw new Error(`unexpected ${message.type}`)
      const answer = this.init.refused(message)
      if (answer !== undefined) stream.send(encodeFrame(raftMessage, answer))
      this.refuse(stream)
    } catch (error) {
      stream.abort(error as Error)
    }
  }

  private async welcomed(stream: FrameStream, introduction: RaftIntroduction): Promise<void> {
    const refusal = await this.init.welcomed(introduction)
    if (this.opening !== stream) return
    if (refusal !== undefined) {
      stream.send(encodeFrame(raftMessage, refusal))
      return this.refuse(stream)
    }
    this.cancelTimeout()
    this.opening = undefined
    this.stream = stream
    this.life = introduction
    this.openedAtMs = this.init.clock.now()
    if (this.lastFailure !== undefined) {
      const downMs = Math.round(this.openedAtMs - this.downSinceMs)
      this.init.logger?.info({ peer: this.init.remote, downMs }, 'link to the peer restored')
      this.lastFailure = undefined
    }
    this.init.opened()
  }

  /** One side has refused the other. Another try soon would end in the same way. */
  private refuse(stream: FrameStream): void {
    this.wasRefused = true
    this.backoffMs = MAX_BACKOFF_MS
    stream.close()
  }

  private ended(stream: FrameStream, reason: Error | undefined): void {
    if (stream === this.opening) this.opening = undefined
    else if (stream === this.stream) this.streamLost()
    else return
    this.cancelTimeout()
    this.failed(reason ?? new Error('closed by the remote'))
  }

  private streamLost(): void {
    this.stream = undefined
    this.life = undefined
    this.dropQueue()
    this.downSinceMs = this.init.clock.now()
    // It worked for a while: the remote was restarted rather than refuses.
    if (this.downSinceMs - this.openedAtMs > MAX_BACKOFF_MS) this.backoffMs = MIN_BACKOFF_MS
  }

  private failed(error: Error): void {
    if (this.closed) return
    const { remote, clock, random, logger } = this.init
    if (error.message !== this.lastFailure) {
      this.lastFailure = error.message
      if (!this.wasRefused) logger?.info({ peer: remote, reason: error.message }, 'no link to the peer')
    }
    // Up to twice as long, by chance, so that peers that lost each other do not come back in step.
    const delayMs = this.backoffMs * (1 + random.next())
    this.backoffMs = Math.min(MAX_BACKOFF_MS, this.backoffMs * 2)
    this.pausing = true
    this.cancelDial = clock.schedule(delayMs, () => void this.dial())
  }

  private post(stream: FrameStream, frame: Uint8Array): void {
    if (!this.blocked) {
      this.blocked = !stream.send(frame)
      return
    }
    this.queue.push(frame)
    this.queuedBytes += frame.length
  }

  private drained(): void {
    const { stream } = this
    this.blocked = false
    for (const [type, message] of this.toTell) {
      if (stream === undefined || this.blocked) break
      this.toTell.delete(type)
      this.post(stream, encodeFrame(raftMessage, message))
    }
    let taken = 0
    while (stream !== undefined && taken < this.queue.length && !this.blocked) {
      const frame = this.queue[taken++]!
      this.queuedBytes -= frame.length
      this.blocked = !stream.send(frame)
    }
    this.queue.splice(0, taken)
  }

  private dropQueue(): void {
    this.queue = []
    this.toTell.clear()
    this.queuedBytes = 0
    this.blocked = false
  }
}

function capacityOf(message: RaftMessage): number {
  if (message.type !== 'append') return SMALL_FRAME_BYTES
  return SMALL_FRAME_BYTES + message.entries.reduce((sum, entry) => sum + raftEntryBytes(entry), 0)
}
