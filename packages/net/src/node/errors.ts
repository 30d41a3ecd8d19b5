/** What can go wrong between a node and its machine. */

/** An address to listen on cannot be bound: its port is taken, or it is not an address of this machine. */
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

/** A key file that cannot be used. One line that names the file. */
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
