/**
 * What a path, a page size and a file size must be. Clients refuse the others at once; peers refuse them when the
 * command is applied, each the same ones, whatever client proposed it.
 */
import { InvalidArgumentError } from './errors.js'
import { MAX_FILE_BYTES, MAX_PAGE_BYTES, MAX_PATH_BYTES, MIN_PAGE_BYTES } from './limits.js'
import { fromString } from 'uint8arrays/from-string'

/** Code units of a refused text that its error shows. */
const MAX_EXCERPT = 256

/** Undefined when `path` is absolute, normalized (NFC), short enough, and without empty, `.` and `..` parts and NUL. */
export function refusePath(path: string): InvalidArgumentError | undefined {
  const expected = problemOfText(path) ?? problemOfParts(path.slice(1).split('/'))
  return expected === undefined ? undefined : new InvalidArgumentError('path', excerptOf(path), expected)
}

/**
 * Undefined when some path starts with `prefix`: the prefix may end inside a part, and the empty one begins every path.
 * NFC is closed under taking substrings, so a prefix that is not normalized begins no path.
 */
export function refusePrefix(prefix: string): InvalidArgumentError | undefined {
  if (prefix === '') return undefined
  const expected = problemOfText(prefix) ?? problemOfParts(prefix.slice(1).split('/').slice(0, -1))
  return expected === undefined ? undefined : new InvalidArgumentError('prefix', excerptOf(prefix), expected)
}

/**
 * What an error shows of a text. A cut through a surrogate pair would leave half of it, which has no encoding: the
 * refusal could not be sent.
 */
function excerptOf(text: string): string {
  const cut = text.slice(0, MAX_EXCERPT)
  return text.length > MAX_EXCERPT && /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut
}

function problemOfText(text: string): string | undefined {
  if (!text.startsWith('/')) return 'absolute (begin with /)'
  // Length first: what follows is then bounded work.
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
  // Not by its logarithm, which is rounded: that of a number with a tiny fraction is whole as well.
  const isPowerOfTwo = Number.isSafeInteger(pageSize) && (pageSize & (pageSize - 1)) === 0
  if (isPowerOfTwo && pageSize >= MIN_PAGE_BYTES && pageSize <= MAX_PAGE_BYTES) return undefined
  return new InvalidArgumentError('pageSize', pageSize, `a power of two from ${MIN_PAGE_BYTES} to ${MAX_PAGE_BYTES}`)
}

export function refuseSize(size: number): InvalidArgumentError | undefined {
  return size <= MAX_FILE_BYTES ? undefined : new InvalidArgumentError('size', size, `at most ${MAX_FILE_BYTES}`)
}
