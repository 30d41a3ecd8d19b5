/**
 * What drivers take instead of reaching for the process: time, chance and the network. The real ones stand in
 * `@quire/net`; the simulator gives its own, and so runs the real drivers in virtual time.
 */

export interface Clock {
  /** Monotonic milliseconds, with a fraction. Leases use nothing else. */
  now(): number
  /** Milliseconds since 1970, for time stamps that people read. Never for ordering. */
  wallTime(): number
  /** Calls `callback` once, `delayMs` from now. The returned function cancels it. */
  schedule(delayMs: number, callback: () => void): () => void
}

export interface Random {
  /** A number in [0, 1). */
  next(): number
}

/** An ordered, reliable stream of frames to one authenticated remote. */
export interface FrameStream {
  /** The remote's PeerId as text: proved by the transport, not claimed. */
  readonly remote: string
  /**
   * Queues one frame, length included, and takes its buffer. Frames queued in one turn of the event loop leave as one send.
   * False when the queue is over its high-water mark: stop until `onDrain`. Nothing happens on a closed stream.
   */
  send(frame: Uint8Array): boolean
  /** Set once, at creation: called for each frame (without its length; the receiver owns it). */
  onFrame: (frame: Uint8Array) => void
  onDrain: () => void
  /** Called once, when either side closed or the connection broke; with the reason unless it was an orderly close. */
  onClose: (reason?: Error) => void
  /** Sends what is queued, then closes; an abort when the remote has not done so in a few seconds. */
  close(): void
  /** Closes at once and drops what is queued. `onClose` follows with `reason`. */
  abort(reason: Error): void
}

export interface DialOptions {
  readonly protocol: string
  readonly maxFrameBytes: number
  /**
   * How long the remote may take for each step: to accept the connection at one of its addresses, to secure it, to open
   * the stream. The next address is tried after a part of it. Default: `stepMs` of the default timing.
   */
  readonly stepMs?: number
  /**
   * Called with the one of the addresses at which the remote has proved who it is. Not called when the stream runs over a
   * connection that was there before.
   */
  readonly answered?: (address: string) => void
  readonly signal?: AbortSignalLike
}

/** The part of AbortSignal that cores and drivers use; the real one fits. */
export interface AbortSignalLike {
  readonly aborted: boolean
  readonly reason?: unknown
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** One node's view of the network. */
export interface Network {
  /** This node's PeerId as text. */
  readonly id: string
  /**
   * Opens a stream. `addresses` are multiaddrs of the remote, tried in this order, each beside those before it that have
   * not answered yet. Those that this version cannot dial are passed over. Rejects when none answers in time.
   */
  dial(remote: string, addresses: readonly string[], options: DialOptions): Promise<FrameStream>
  /**
   * Accepts streams of a protocol. `accept` sets the stream's handlers before it returns. A remote that may not connect
   * never gets there: where `refuse` is given, it gets the first stream of such a connection, to say why and close it;
   * other streams of strangers are cut. A network without strangers never calls `refuse`.
   */
  handle(
    protocol: string,
    maxFrameBytes: number,
    accept: (stream: FrameStream) => void,
    refuse?: (stream: FrameStream, reason: string) => void
  ): void
}
