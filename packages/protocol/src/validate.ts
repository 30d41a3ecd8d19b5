/**
 * What a path, a page size and a file size must be. Clients refuse the others at once; peers refuse them when the command is
 * applied, each the same ones, whatever client proposed it.
 */
import { InvalidArgumentError } from './errors.js'
import { MAX_FILE_BYTES, MAX_PAGE_BYTES, MAX_PATH_BYTES, MIN_PAGE_BYTES } from './limits.js'
import { fromString } from 'uint8arrays/from-string'

/** Undefined when `path` is absolute, normalised (NFC), short enough, and without empty, `.` and `..` parts and NUL. */
export function refusePath(path: string): InvalidArgumentError | undefined {
  const refuse = (expected: string) => new InvalidArgumentError('path', path.slice(0, 256), expected)
  if (!path.startsWith('/')) return refuse('absolute')
  // Length first: what follows is then bounded work.
  if (path.length > MAX_PATH_BYTES || fromString(path).length > MAX_PATH_BYTES) {
    return refuse(`at most ${MAX_PATH_BYTES} bytes of UTF-8`)
  }
  // A lone surrogate has no UTF-8.
  if (/\p{Surrogate}/u.test(path)) return refuse('well-formed Unicode')
  if (path.includes('\0')) return refuse('free of NUL')
  for (const part of path.slice(1).split('/')) {
    if (part === '') return refuse('free of empty parts')
    if (part === '.' || part === '..') return refuse('free of . and .. parts')
  }
  if (path.normalize('NFC') !== path) return refuse('in Unicode normalisation form C')
  return undefined
}

export function refusePageSize(pageSize: number): InvalidArgumentError | undefined {
  // Not by its logarithm, which is rounded: that of a number with a tiny fraction is whole as well.
  const isPowerOfTwo = Number.isSafeInteger(pageSize) && (pageSize & (pageSize - 1)) === 0
  if (isPowerOfTwo && pageSize >= MIN_PAGE_BYTES && pageSize <= MAX_PAGE_BYTES) return undefined
  return new InvalidArgumentError('pageSize', pageSize, `a power of two from ${MIN_PAGE_BYTES} to ${MAX_PAGE_BYTES}`)
}

export function refuseSize(size: number): InvalidArgumentError | undefined {
  return size <= MAX_FILE_BYTES ? undefined : new InvalidArgumentError('size', size, `at most ${MAX_FILE_BYTES}`)
}
