/** What the rows of pages and records share. Numbers are big-endian in keys and little-endian in values. */
import { CorruptionError } from '@quire/protocol'
import type { Backend } from './backend.js'

/** The place of rows, for error messages. */
export type RowsName = Pick<Backend, 'name' | 'remedy'>

/** Makes an error without an offset, because only LMDB knows where in its file a row is. */
export function corruption(backend: RowsName, reason: string): CorruptionError {
  const { name, remedy } = backend
  return new CorruptionError(name, undefined, remedy === undefined ? reason : `${reason}; ${remedy}`)
}

/** Returns the smallest key that is greater than `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function setUint53(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32))
  view.setUint32(at + 4, value % 2 ** 32)
}

export function getUint53(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
}
