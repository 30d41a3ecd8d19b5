/**
 * The file of the next segment cannot be made, for lack of space or of a descriptor (`cause`). Nothing was written.
 * `room` resolves when the file has been made after all.
 */
export class NoFileError extends Error {
  override readonly name = 'NoFileError'
  constructor(
    readonly room: Promise<void>,
    override readonly cause: Error
  ) {
    super(cause.message, { cause })
  }
}
