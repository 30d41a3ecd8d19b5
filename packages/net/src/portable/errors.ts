/** Errors between two nodes. They never cross the wire: the caller repeats the call, dials again or reports them. */

/** No stream could be opened at any address of the remote. `cause` is libp2p's error. */
export class DialError extends Error {
  override readonly name = 'DialError'
  readonly code = 'ERR_DIAL'
  constructor(
    readonly remote: string,
    readonly addresses: readonly string[],
    readonly reason: string,
    options?: { cause?: unknown }
  ) {
    super(`cannot reach ${remote} at ${addresses.length > 0 ? addresses.join(', ') : 'no address'}: ${reason}`, options)
  }
}

/** The stream ended without an orderly close: the connection broke, or the remote reset the stream. */
export class StreamBrokenError extends Error {
  override readonly name = 'StreamBrokenError'
  readonly code = 'ERR_STREAM_BROKEN'
  constructor(
    readonly remote: string,
    readonly reason: string,
    options?: { cause?: unknown }
  ) {
    super(`stream to ${remote} broke: ${reason}`, options)
  }
}

/** The caller kept sending after `send` had returned false. The stream was aborted to bound its queue. */
export class SendQueueFullError extends Error {
  override readonly name = 'SendQueueFullError'
  readonly code = 'ERR_SEND_QUEUE_FULL'
  constructor(
    readonly remote: string,
    readonly queuedBytes: number,
    readonly maxQueuedBytes: number
  ) {
    super(`${queuedBytes} bytes are queued for ${remote}; the limit is ${maxQueuedBytes}`)
  }
}
