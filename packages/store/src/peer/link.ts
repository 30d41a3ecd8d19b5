import {
  MAX_RAFT_FRAME_BYTES,
  MAX_ROUND_TRIP_MS,
  PROTOCOL_RAFT,
  decodeFrame,
  encodeFrame,
  raftMessage,
  type Clock,
  type FrameStream,
  type Network,
  type RaftIntroduction,
  type GroupMessage,
  type RaftStreamMessage,
  type Random
} from '@quire/protocol'
import type { AddressBook } from '@quire/net'
import type { Logger } from 'pino'
import { memberOf } from './evidence.js'
import type { GroupFrames } from './group-frames.js'

export interface LinkInit {
  readonly remote: string
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly book: AddressBook
  readonly logger: Logger | undefined
  readonly maxQueuedBytes: number
  /** The time limit for each step of a dial; see `timingOf`. */
  readonly stepMs: () => number
  /** Encodes the messages of groups for the links to all members. */
  readonly frames: GroupFrames
  readonly introduce: () => RaftIntroduction
  /**
   * The remote has accepted the hello. Resolves with a message that refuses the remote, or undefined to open the
   * stream.
   */
  readonly welcomed: (introduction: RaftIntroduction) => Promise<RaftStreamMessage | undefined>
  /** The remote has refused the hello. Returns the message to send in return. */
  readonly refused: (message: Extract<RaftStreamMessage, { type: 'raftRefused' }>) => RaftStreamMessage | undefined
  /** The link is open: messages may be sent from now on. */
  readonly opened: () => void
}

const MIN_BACKOFF_MS = 50
/** Two of the longest round trips that a cluster may have: by then, a remote that refuses this peer has said so. */
const MAX_BACKOFF_MS = 2 * MAX_ROUND_TRIP_MS
/** Limits the handshake, which takes one round trip and a write to the remote's disk. */
export const HELLO_TIMEOUT_MS = 10 * MAX_ROUND_TRIP_MS
/** A dial may take this many times its limits: no caller waits for it, and a slow remote need not be dialed again. */
const PATIENCE = 2

/**
 * Keeps an outgoing stream to one other peer open.
 *
 * It dials the peer, shakes hands, and dials again whenever the stream breaks.
 */
export class Link {
  /** The introduction of the remote's process at the other end of the open stream. */
  life: RaftIntroduction | undefined
  /** The member that the remote is, while the stream is open. */
  member: string | undefined
  /** The newest revision of the configuration that the remote is known to have, while the stream is open. */
  knownRevision = 0
  /** The stream while it is in the handshake. */
  private opening: FrameStream | undefined
  /** The open stream. */
  private stream: FrameStream | undefined
  private queue: Uint8Array[] = []
  /**
   * The messages between links that wait. Of each type the newest is enough, because it says all that older ones said.
   */
  private readonly toTell = new Map<RaftStreamMessage['type'], RaftStreamMessage>()
  private queuedBytes = 0
  private blocked = false
  private closed = false
  private openedAtMs = 0
  private downSinceMs: number
  private backoffMs = MIN_BACKOFF_MS
  private cancelDial: () => void = () => {}
  private cancelTimeout: () => void = () => {}
  /** True between two dials. */
  private pausing = false
  /** The failure that was logged last, so that it is not logged again. Undefined while the link works. */
  private lastFailure: string | undefined
  /** A refusal ended the handshake, and the refusal was logged. */
  private wasRefused = false

  constructor(private readonly init: LinkInit) {
    this.downSinceMs = init.clock.now()
    void this.dial()
  }

  get isOpen(): boolean {
    return this.stream !== undefined
  }

  /** Sends a Raft message, or drops it if the link is not open or too many bytes wait. */
  send(group: number, message: GroupMessage): void {
    if (this.stream === undefined || this.queuedBytes > this.init.maxQueuedBytes) return
    this.post(this.stream, this.init.frames.encode(group, message))
  }

  /** Sends a message between links. While the remote accepts none, a newer message of the same type replaces it. */
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

  /** The remote has just connected. Dials it at once, because without heartbeats it would start an election. */
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
    // The promise never rejects: a failure aborts the stream.
    stream.onFrame = (frame) => void this.answered(stream, frame)
    stream.onDrain = () => this.drained()
    stream.onClose = (reason) => this.ended(stream, reason)
    this.cancelTimeout = clock.schedule(HELLO_TIMEOUT_MS, () =>
      stream.abort(new Error('no answer to the hello in time'))
    )
    try {
      stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...introduce() }))
    } catch (error) {
      // No caller waits for a dial, so an error here would end the process.
      stream.abort(error as Error)
    }
  }

  /** The remote sends one frame on this stream: its answer to the hello. */
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
    this.member = memberOf(introduction)
    this.knownRevision = introduction.revision
    this.openedAtMs = this.init.clock.now()
    if (this.lastFailure !== undefined) {
      const downMs = Math.round(this.openedAtMs - this.downSinceMs)
      this.init.logger?.info({ peer: this.init.remote, downMs }, 'link to the peer restored')
      this.lastFailure = undefined
    }
    this.init.opened()
  }

  /** One side has refused the other. The next try comes late, because it would most likely fail in the same way. */
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
    this.member = undefined
    this.dropQueue()
    this.downSinceMs = this.init.clock.now()
    // The link worked for a while, so the remote was restarted and does not refuse this peer.
    if (this.downSinceMs - this.openedAtMs > MAX_BACKOFF_MS) this.backoffMs = MIN_BACKOFF_MS
  }

  private failed(error: Error): void {
    if (this.closed) return
    const { remote, clock, random, logger } = this.init
    if (error.message !== this.lastFailure) {
      this.lastFailure = error.message
      if (!this.wasRefused) logger?.info({ peer: remote, reason: error.message }, 'no link to the peer')
    }
    // A random delay, up to twice as long, so that peers that lost each other do not dial in step.
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
