/** Checks of arguments, each naming what was given and what would have been right. */
import { InvalidArgumentError, MAX_FILE_BYTES } from '@quire/protocol'

export function checkCount(argument: string, value: number, min = 0, max = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw new InvalidArgumentError(argument, value, `an integer from ${min} to ${max}`)
  }
}

/** A range of bytes in a file, its end included. */
export function checkRange(offset: number, length: number): void {
  checkCount('offset', offset, 0, MAX_FILE_BYTES)
  checkCount('length', length, 0, MAX_FILE_BYTES - offset)
}
