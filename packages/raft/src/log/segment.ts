/**
 * A segment is a file filled with zeros. Its first sector is a header, and batches follow. Its name consists of its
 * number and the index of the first entry that it may contain, both in hexadecimal. Its first batch holds its base.
 */
import { crc32c } from '@node-rs/crc32'
import { CodecError, CorruptionError, decode, encode, struct, uint, VersionMismatchError } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { SECTOR_BYTES } from './disk.js'

const LOG_FORMAT_VERSION = 3
export const SEGMENT_HEADER_BYTES = SECTOR_BYTES

export interface Segment {
  readonly name: string
  readonly number: number
  /** One above the base's `prevIndex`. */
  readonly firstIndex: number
}

const header = struct({
  /** One above the number of the segment before. */
  number: uint,
  firstIndex: uint,
  /** Number of the first batch. */
  firstBatch: uint,
  /** CRC32C of the identity of the log's owner. */
  identity: uint,
  /** Size of the file, which never changes. */
  bytes: uint
})

export interface SegmentHeader {
  readonly number: number
  readonly firstIndex: number
  readonly firstBatch: number
  readonly identity: number
  readonly bytes: number
}

// Layout: magic, CRC32C of everything after it, version, length of the fields, fields.
const MAGIC = fromString('QuireLog')
const CRC_AT = 8
const VERSION_AT = 12
const LENGTH_AT = 16
const FIELDS_AT = 20

export function identityHash(identity: string): number {
  return crc32c(fromString(identity))
}

export function segmentName(number: number, firstIndex: number): string {
  return `${number.toString(16).padStart(10, '0')}-${firstIndex.toString(16).padStart(14, '0')}.log`
}

/** Undefined if `name` is not a segment's. */
export function parseSegmentName(name: string): { number: number; firstIndex: number } | undefined {
  const match = /^([0-9a-f]{10})-([0-9a-f]{14})\.log$/.exec(name)
  if (match === null) return undefined
  return { number: Number.parseInt(match[1]!, 16), firstIndex: Number.parseInt(match[2]!, 16) }
}

export function encodeSegmentHeader(fields: SegmentHeader): Uint8Array {
  const sector = new Uint8Array(SEGMENT_HEADER_BYTES)
  const view = new DataView(sector.buffer)
  const encoded = encode(header, fields)
  sector.set(MAGIC)
  sector.set(encoded, FIELDS_AT)
  view.setUint32(VERSION_AT, LOG_FORMAT_VERSION, true)
  view.setUint32(LENGTH_AT, encoded.length, true)
  view.setUint32(CRC_AT, crc32c(sector.subarray(VERSION_AT)), true)
  return sector
}

/** Throws CorruptionError, or VersionMismatchError for a valid header of another version. */
export function readSegmentHeader(name: string, sector: Uint8Array): SegmentHeader {
  if (sector.length < SEGMENT_HEADER_BYTES) throw new CorruptionError(name, 0, 'shorter than its header')
  const view = new DataView(sector.buffer, sector.byteOffset, SEGMENT_HEADER_BYTES)
  if (MAGIC.some((byte, i) => sector[i] !== byte)) throw new CorruptionError(name, 0, 'not a log segment')
  if (view.getUint32(CRC_AT, true) !== crc32c(sector.subarray(VERSION_AT, SEGMENT_HEADER_BYTES))) {
    throw new CorruptionError(name, 0, 'bad segment header')
  }
  const version = view.getUint32(VERSION_AT, true)
  if (version !== LOG_FORMAT_VERSION) throw new VersionMismatchError(name, version, LOG_FORMAT_VERSION)
  try {
    return decode(header, sector.subarray(FIELDS_AT, FIELDS_AT + view.getUint32(LENGTH_AT, true)))
  } catch (error) {
    if (error instanceof CodecError) throw new CorruptionError(name, FIELDS_AT, error.message)
    throw error
  }
}
