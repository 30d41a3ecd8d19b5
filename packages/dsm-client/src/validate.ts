/** Checks of arguments, each naming what was given and what would have been right. */
import { InvalidArgumentError, MAX_FILE_BYTES, MAX_PAGE_BYTES, MAX_PATH_BYTES, MIN_PAGE_BYTES } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'

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

export function checkPageSize(value: number): void {
  const isPower = Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value))
  if (!isPower || value < MIN_PAGE_BYTES || value > MAX_PAGE_BYTES) {
    throw new InvalidArgumentError('pageSize', value, `a power of two from ${MIN_PAGE_BYTES} to ${MAX_PAGE_BYTES}`)
  }
}

/** Absolute, `/`-separated, NFC, without empty, `.` or `..` parts. */
export function checkPath(path: string): void {
  const bad = (expected: string) => new InvalidArgumentError('path', path.slice(0, 256), expected)
  if (!path.startsWith('/')) throw bad('absolute')
  if (path.includes('\0')) throw bad('without NUL')
  if (path.normalize('NFC') !== path) throw bad('in Unicode normal form C')
  if (fromString(path).length > MAX_PATH_BYTES) throw bad(`at most ${MAX_PATH_BYTES} bytes`)
  for (const part of path.slice(1).split('/')) {
    if (part === '' || part === '.' || part === '..') throw bad("without empty, '.' or '..' parts")
  }
}
