/**
 * What the programs keep in a page: three registers, at its very start and end and in between, each holding the id of the operation
 * that wrote it; and a counter with the id of its last increment. Ids are never used twice, so a value tells where it came from.
 */
export const PAGE_BYTES = 4096

export const REGISTERS = [0, 1024, PAGE_BYTES - 4] as const
export const COUNT_OFFSET = 8
export const COUNTER_OFFSET = 12
/** Where ids stand. */
export const ID_OFFSETS: readonly number[] = [...REGISTERS, COUNTER_OFFSET]

export function readU32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>> 0
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value
  bytes[offset + 1] = value >>> 8
  bytes[offset + 2] = value >>> 16
  bytes[offset + 3] = value >>> 24
}

export function u32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeU32(bytes, 0, value)
  return bytes
}
