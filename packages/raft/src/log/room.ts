/**
 * The next segment's file cannot be made for want of room or of a descriptor (`cause`). Nothing was written. `room`
 * resolves when the file was made after all.
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
