/**
 * The environment of the drivers: time, random numbers and the network. `@quire/net` implements these interfaces with
 * the real ones. The simulator implements them too, and so runs the real drivers in virtual time.
 *
 * All calls and callbacks run on one event loop, never concurrently. A callback must return soon: while it runs,
 * nothing else in the process does.
 */

/** Drivers read the time and set timers here. Cores take times as arguments instead. */
export interface Clock {
  /** Returns monotonic milliseconds, with a fraction. Leases use no other time. */
  now(): number
  /** Returns milliseconds since 1970, for time stamps that people read. Nothing is ordered by it. */
  wallTime(): number
  /**
   * Calls `callback` once, `delayMs` from now at the earliest, and never inside this call. The returned function
   * cancels it; after the callback has run, it has no effect.
   */
  schedule(delayMs: number, callback: () => void): () => void
}

/** Drivers draw election timeouts and jitter from here. */
export interface Random {
  /** Returns a number in [0, 1). */
  next(): number
}

/**
 * An ordered, reliable stream of frames to one authenticated remote.
 *
 * The user of a stream sets each of its three handlers once. The stream never calls a handler inside the call that sets
 * it, nor inside `send`, `close` or `abort`. It delivers no frame before `onFrame` is set, and none after `close` or
 * `abort`.
 */
export interface FrameStream {
  /** The remote's PeerId as text. The transport has proved it. */
  readonly remote: string
  /**
   * Queues one frame, with its length in front, and returns at once. Nobody changes the buffer from now on, so the
   * caller may send it on several streams. All frames that are queued in one turn of the event loop leave together.
   *
   * Returns false if the queue is above its high-water mark: the caller must stop until `onDrain`. A caller that goes
   * on makes the queue exceed its limit, which aborts the stream. On a closed stream, `send` drops the frame and
   * returns false.
   */
  send(frame: Uint8Array): boolean
  /**
   * Called for each frame in the order of sending, without its length. The handler owns the bytes and may keep views of
   * them; they never change later. An error that it throws aborts the stream, and `onClose` receives it.
   */
  onFrame: (frame: Uint8Array) => void
  /**
   * Called after `send` has returned false, once the queue is short again. An error that it throws aborts the stream.
   */
  onDrain: () => void
  /**
   * Called once, last of the handlers, when either side has closed the stream or the connection broke. `reason` is
   * undefined after an orderly close.
   */
  onClose: (reason?: Error) => void
  /** Sends the queue and then closes. If the remote does not close within a few seconds, the stream aborts. */
  close(): void
  /** Closes at once and drops the queue. `onClose` follows with `reason`. */
  abort(reason: Error): void
}

export interface DialOptions {
  readonly protocol: string
  /** The largest frame that the remote may send. A larger one aborts the stream. */
  readonly maxFrameBytes: number
  /**
   * The time limit of each step: the remote accepts the connection at one of its addresses, both sides secure it, the
   * remote opens the stream. The next address is tried after a fraction of it. Default: `stepMs` of the default timing.
   */
  readonly stepMs?: number
  /**
   * Called during the dial with the address, as the caller wrote it, at which the remote has proved its identity. Not
   * called if the stream runs over an existing connection. It must not throw.
   */
  readonly answered?: (address: string) => void
  /**
   * Goes through this node, which relays: over an existing connection through it if there is one. Both ends prove their
   * identities to each other as without it. The network ends the connection with its last stream. Default: no relay,
   * and no connection through one.
   */
  readonly relay?: RelayPlace | undefined
  /** Aborts this dial. Other dials to the same remote continue. */
  readonly signal?: AbortSignalLike
}

/** A node that relays streams of this node to other nodes. */
export interface RelayPlace {
  readonly peerId: string
  /** Its multiaddrs. They are tried as those of a dial, unless there is a connection to it. */
  readonly addresses: readonly string[]
}

/** The part of AbortSignal that cores and drivers use. */
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
   * Opens a stream to `remote`, over an existing connection if there is one. `addresses` are multiaddrs of the remote.
   * They are tried in this order, each beside the earlier ones that have not answered yet; those that this version
   * cannot dial are skipped. With a relay, only the addresses of the relay count.
   *
   * Rejects with InvalidArgumentError if `remote` is malformed or none of the addresses can be dialed, with
   * NotAuthorizedError if this node does not allow the remote, with ClosedError once the network is closed, with the
   * reason of `signal` if that aborts, and with the network's own error if no address answers in time.
   */
  dial(remote: string, addresses: readonly string[], options: DialOptions): Promise<FrameStream>
  /**
   * Accepts streams of a protocol from now on; call it once for each protocol. The network calls `accept` for each
   * stream that an allowed remote opens. `accept` must set the stream's handlers before it returns; an error that it
   * throws aborts the stream.
   *
   * The network calls `refuse` instead for the first stream on a connection of a remote that is not allowed, so that
   * `refuse` can send `reason` to the remote and close the stream. It aborts every other stream of such a remote. A
   * network that allows every remote never calls `refuse`.
   */
  handle(
    protocol: string,
    maxFrameBytes: number,
    accept: (stream: FrameStream) => void,
    refuse?: (stream: FrameStream, reason: string) => void
  ): void
}
