/** Errors between a node and its machine. */

/** A listen address cannot be bound: its port is in use, or it is not an address of this machine. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
  readonly code = 'ERR_LISTEN'
  constructor(
    readonly addresses: readonly string[],
    readonly reason: string,
    options?: { cause?: unknown }
  ) {
    super(`cannot listen on ${addresses.join(', ')}: ${reason}`, options)
  }
}

/** A key file cannot be used. The message is one line that names the file. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError'
  readonly code = 'ERR_KEY_FILE'
  constructor(
    readonly path: string,
    readonly reason: string,
    options?: { cause?: unknown }
  ) {
    super(`${path}: ${reason}`, options)
  }
}
