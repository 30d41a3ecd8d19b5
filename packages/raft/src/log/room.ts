import { NoSpaceError } from '@quire/protocol'

/**
 * Failures of making a file that pass by themselves, and leave the log as it was: entries wait until the next file
 * can be made. Every other failure is final.
 */
export function isLackOfRoom(error: unknown): error is NoSpaceError {
  return error instanceof NoSpaceError
}

/**
 * The next segment's file cannot be made (`cause`). Nothing was written. `room` resolves when it was made after all.
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
