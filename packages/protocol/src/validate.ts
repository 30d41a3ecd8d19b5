/**
 * Checks of paths, page sizes and file sizes. A client refuses an invalid one at once. Peers check again when they
 * apply the command, so that all of them refuse the same commands, whichever client has proposed them.
 */
import { InvalidArgumentError } from './errors.js'
import { MAX_FILE_BYTES, MAX_PAGE_BYTES, MAX_PATH_BYTES, MIN_PAGE_BYTES } from './limits.js'
import { fromString } from 'uint8arrays/from-string'

/** An error shows this many code units of a refused text. */
const MAX_EXCERPT = 256

/**
 * Returns undefined if `path` is valid: absolute, normalized (NFC), not too long, and without NUL and empty, `.` and
 * `..` parts.
 */
export function refusePath(path: string): InvalidArgumentError | undefined {
  const expected = problemOfText(path) ?? problemOfParts(path.slice(1).split('/'))
  return expected === undefined ? undefined : new InvalidArgumentError('path', excerptOf(path), expected)
}

/**
 * Returns undefined if some valid path starts with `prefix`, which may end inside a part or be empty. Every substring
 * of an NFC text is in NFC, so no path starts with a prefix that is not.
 */
export function refusePrefix(prefix: string): InvalidArgumentError | undefined {
  if (prefix === '') return undefined
  const expected = problemOfText(prefix) ?? problemOfParts(prefix.slice(1).split('/').slice(0, -1))
  return expected === undefined ? undefined : new InvalidArgumentError('prefix', excerptOf(prefix), expected)
}

/**
 * Returns the part of a text that an error shows. It never ends in half a surrogate pair, which could not be encoded,
 * so that the refusal can be sent.
 */
function excerptOf(text: string): string {
  const cut = text.slice(0, MAX_EXCERPT)
  return text.length > MAX_EXCERPT && /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut
}

function problemOfText(text: string): string | undefined {
  if (!text.startsWith('/')) return 'absolute (begin with /)'
  // The length comes first, because it bounds the work of the other checks.
  if (text.length > MAX_PATH_BYTES || fromString(text).length > MAX_PATH_BYTES) {
    return `at most ${MAX_PATH_BYTES} bytes of UTF-8`
  }
  // A lone surrogate has no UTF-8.
  if (/\p{Surrogate}/u.test(text)) return 'well-formed Unicode'
  if (text.includes('\0')) return 'free of NUL'
  return text.normalize('NFC') === text ? undefined : 'in Unicode normalization form C (NFC)'
}

function problemOfParts(parts: readonly string[]): string | undefined {
  if (parts.includes('')) return 'free of empty parts'
  return parts.includes('.') || parts.includes('..') ? 'free of . and .. parts' : undefined
}

export function refusePageSize(pageSize: number): InvalidArgumentError | undefined {
  // Math.log2 rounds, so it is whole even for a number with a tiny fraction.
  const isPowerOfTwo = Number.isSafeInteger(pageSize) && (pageSize & (pageSize - 1)) === 0
  if (isPowerOfTwo && pageSize >= MIN_PAGE_BYTES && pageSize <= MAX_PAGE_BYTES) return undefined
  return new InvalidArgumentError('pageSize', pageSize, `a power of two from ${MIN_PAGE_BYTES} to ${MAX_PAGE_BYTES}`)
}

export function refuseSize(size: number): InvalidArgumentError | undefined {
  return size <= MAX_FILE_BYTES ? undefined : new InvalidArgumentError('size', size, `at most ${MAX_FILE_BYTES}`)
}
