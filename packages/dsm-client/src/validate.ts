/** Checks of arguments. Each error names the argument, its value, and what is expected. */
import {
  InvalidArgumentError,
  MAX_FILE_BYTES,
  refusePageSize,
  refusePath,
  refusePrefix,
  type Fact
} from '@quire/protocol'
import type { MmapOptions } from './types.js'

export function checkCount(argument: string, value: number, min = 0, max = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw new InvalidArgumentError(argument, toFact(value), `an integer from ${min} to ${max}`)
  }
}

/** Checks a range of bytes in a file, including its end. */
export function checkRange(offset: number, length: number): void {
  checkCount('offset', offset, 0, MAX_FILE_BYTES)
  checkCount('length', length, 0, MAX_FILE_BYTES - offset)
}

/** Checks the options of a mapping, except for the length, which may depend on the file. */
export function checkMmapOptions(options: MmapOptions, known: readonly (keyof MmapOptions)[], pageSize: number): void {
  const { offset = 0, prot = 'read-write', flags = 'shared' } = options
  checkOptions('mmap', options, known)
  checkOneOf('prot', prot, ['read', 'read-write'])
  checkOneOf('flags', flags, ['shared', 'private'])
  checkCount('offset', offset)
  if (offset % pageSize !== 0) throw new InvalidArgumentError('offset', offset, `a multiple of ${pageSize}`)
}

/** Checks the range of a mapping. */
export function checkMapped(offset: number, length: number): void {
  checkRange(offset, length)
  if (length === 0) throw new InvalidArgumentError('length', length, 'at least 1 byte')
}

export function checkPageSize(pageSize: number): void {
  const refusal = refusePageSize(typeof pageSize === 'number' ? pageSize : NaN)
  if (refusal !== undefined) throw new InvalidArgumentError('pageSize', toFact(pageSize), refusal.expected)
}

export function checkPath(path: string): void {
  if (typeof path !== 'string') throw new InvalidArgumentError('path', toFact(path), 'a string')
  const refusal = refusePath(path)
  if (refusal !== undefined) throw refusal
}

/** Checks the beginning of a path. */
export function checkPrefix(prefix: string): void {
  if (typeof prefix !== 'string') throw new InvalidArgumentError('prefix', toFact(prefix), 'a string')
  const refusal = refusePrefix(prefix)
  if (refusal !== undefined) throw refusal
}

/** Checks for a Uint8Array, such as a Buffer. The `length` of another view may not count bytes. */
export function checkBytes(argument: string, value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) throw new InvalidArgumentError(argument, toFact(value), 'a Uint8Array')
}

/** Checks for the methods of an AbortSignal, because the signal may come from another realm. */
export function checkSignal(value: AbortSignal): void {
  if (typeof value?.aborted === 'boolean' && typeof value.addEventListener === 'function') return
  throw new InvalidArgumentError('signal', toFact(value), 'an AbortSignal')
}

export function checkFunction(argument: string, value: unknown): void {
  if (typeof value !== 'function') throw new InvalidArgumentError(argument, toFact(value), 'a function')
}

export function checkTexts(argument: string, values: readonly string[]): void {
  for (const value of values) {
    if (typeof value !== 'string') throw new InvalidArgumentError(argument, toFact(value), 'a list of strings')
  }
}

export function checkOneOf<T extends string | boolean>(argument: string, value: T, values: readonly T[]): void {
  if (!values.includes(value)) throw new InvalidArgumentError(argument, toFact(value), values.join(' or '))
}

/** Refuses options that this version does not have. Ignoring one would break what its caller relies on. */
export function checkOptions(of: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw new InvalidArgumentError(of, toFact(options), 'an object')
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || known.includes(name)) continue
    throw new InvalidArgumentError(`${of}: ${name}`, toFact(value), `absent; the options are ${known.join(', ')}`)
  }
}

/** Returns zeroed memory for a result of `length` bytes. */
export function allocateResult(length: number): Uint8Array {
  try {
    return new Uint8Array(length)
  } catch {
    throw new InvalidArgumentError('length', length, 'no more than can be allocated in one piece')
  }
}

/** Returns a short form of a value for an error. Callers from JavaScript may pass anything. */
export function toFact(value: unknown): Fact {
  if (typeof value === 'number' || typeof value === 'string') return value
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'an object'
  return typeof value === 'function' || typeof value === 'symbol' ? typeof value : String(value)
}
