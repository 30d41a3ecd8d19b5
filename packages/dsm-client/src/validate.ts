/** Checks of arguments, each naming what was given and what would have been right. */
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

/** A range of bytes in a file, its end included. */
export function checkRange(offset: number, length: number): void {
  checkCount('offset', offset, 0, MAX_FILE_BYTES)
  checkCount('length', length, 0, MAX_FILE_BYTES - offset)
}

/** Of a mapping: all but the length, which may have to be asked for first. */
export function checkMmapOptions(options: MmapOptions, known: readonly (keyof MmapOptions)[], pageSize: number): void {
  const { offset = 0, prot = 'read-write', flags = 'shared' } = options
  checkOptions('mmap', options, known)
  checkOneOf('prot', prot, ['read', 'read-write'])
  checkOneOf('flags', flags, ['shared', 'private'])
  checkCount('offset', offset)
  if (offset % pageSize !== 0) throw new InvalidArgumentError('offset', offset, `a multiple of ${pageSize}`)
}

/** The range of a mapping. */
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

/** The beginning of paths. */
export function checkPrefix(prefix: string): void {
  if (typeof prefix !== 'string') throw new InvalidArgumentError('prefix', toFact(prefix), 'a string')
  const refusal = refusePrefix(prefix)
  if (refusal !== undefined) throw refusal
}

/** A Uint8Array (a Buffer is one). Of another view, `length` would not count bytes. */
export function checkBytes(argument: string, value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) throw new InvalidArgumentError(argument, toFact(value), 'a Uint8Array')
}

/** By what it can do: it may be another realm's. */
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

export function checkOneOf<T extends string>(argument: string, value: T, values: readonly T[]): void {
  if (!values.includes(value)) throw new InvalidArgumentError(argument, toFact(value), values.join(' or '))
}

/** Refuses options that this version does not have: one that is silently ignored is a promise that is not kept. */
export function checkOptions(of: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw new InvalidArgumentError(of, toFact(options), 'an object')
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || known.includes(name)) continue
    throw new InvalidArgumentError(`${of}: ${name}`, toFact(value), `absent; the options are ${known.join(', ')}`)
  }
}

/** Zeroed memory for a result of `length` bytes. */
export function allocateResult(length: number): Uint8Array {
  try {
    return new Uint8Array(length)
  } catch {
    throw new InvalidArgumentError('length', length, 'no more than can be allocated in one piece')
  }
}

/** What was given, in a word: callers from JavaScript give anything. */
export function toFact(value: unknown): Fact {
  if (typeof value === 'number' || typeof value === 'string') return value
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'an object'
  return typeof value === 'function' || typeof value === 'symbol' ? typeof value : String(value)
}
