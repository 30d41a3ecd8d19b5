/**
 * A segment is a file filled with zeros. It begins with a header, which holds the segment's base and fills whole
 * sectors. Batches follow. Its name consists of its number and the index of the first entry that it may contain, both
 * in hexadecimal.
 */
import { crc32c } from '@node-rs/crc32'
import { CodecError, CorruptionError, decode, encode, f64, struct, uint, VersionMismatchError } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { SECTOR_BYTES } from './disk.js'
import { segmentBase, type SegmentBase } from './segment-base.js'

const LOG_FORMAT_VERSION = 4

export interface Segment {
  readonly name: string
  readonly number: number
  /** One above the base's `prevIndex`. */
  readonly firstIndex: number
  /** Number of the first batch. */
  readonly firstBatch: number
  /** Offset of the first batch: the size of the header. */
  readonly start: number
  /** Size of the file, which never changes. */
  readonly bytes: number
}

export interface SegmentHeader {
  /** One above the number of the segment before. */
  readonly number: number
  /** Number of the first batch. */
  readonly firstBatch: number
  /** CRC32C of the identity of the log's owner. */
  readonly identity: number
  /** Size of the file. */
  readonly bytes: number
  readonly base: SegmentBase
}

const header = struct({
  number: uint,
  firstBatch: uint,
  identity: uint,
  // All values take the same space, so the size of the header is known before there is a file.
  bytes: f64,
  base: segmentBase
})

// Layout: magic, CRC32C of everything after it, version, length of the fields, fields, zeros up to the end of the
// sector.
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

/** The segment with this header, which takes `start` bytes. */
export function segmentOf({ number, firstBatch, bytes, base }: SegmentHeader, start: number): Segment {
  const firstIndex = base.prevIndex + 1
  return { name: segmentName(number, firstIndex), number, firstIndex, firstBatch, start, bytes }
}

/** Encodes a header. Its size does not depend on `bytes`. */
export function encodeSegmentHeader(fields: SegmentHeader): Uint8Array {
  const encoded = encode(header, fields)
  const sectors = new Uint8Array(sectorsFor(encoded.length))
  const view = new DataView(sectors.buffer)
  sectors.set(MAGIC)
  sectors.set(encoded, FIELDS_AT)
  view.setUint32(VERSION_AT, LOG_FORMAT_VERSION, true)
  view.setUint32(LENGTH_AT, encoded.length, true)
  view.setUint32(CRC_AT, crc32c(sectors.subarray(VERSION_AT)), true)
  return sectors
}

/**
 * Size of the header that `bytes` begins with. It may exceed `bytes`, and is not checked yet: `readSegmentHeader` does
 * that. Throws CorruptionError if this is no header.
 */
export function segmentHeaderBytes(name: string, bytes: Uint8Array): number {
  if (bytes.length < SECTOR_BYTES) throw new CorruptionError(name, 0, 'shorter than its header')
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) throw new CorruptionError(name, 0, 'not a log segment')
  return sectorsFor(viewOf(bytes).getUint32(LENGTH_AT, true))
}

/**
 * Reads the header that `bytes` begins with. Throws CorruptionError, or VersionMismatchError for a valid header of
 * another version. The configurations in it are views of `bytes`.
 */
export function readSegmentHeader(name: string, bytes: Uint8Array): SegmentHeader {
  const size = segmentHeaderBytes(name, bytes)
  const view = viewOf(bytes)
  if (size > bytes.length || view.getUint32(CRC_AT, true) !== crc32c(bytes.subarray(VERSION_AT, size))) {
    throw new CorruptionError(name, 0, 'bad segment header')
  }
  const version = view.getUint32(VERSION_AT, true)
  if (version !== LOG_FORMAT_VERSION) throw new VersionMismatchError(name, version, LOG_FORMAT_VERSION)
  try {
    return decode(header, bytes.subarray(FIELDS_AT, FIELDS_AT + view.getUint32(LENGTH_AT, true)))
  } catch (error) {
    if (error instanceof CodecError) throw new CorruptionError(name, FIELDS_AT, error.message)
    throw error
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function sectorsFor(fieldBytes: number): number {
  return Math.ceil((FIELDS_AT + fieldBytes) / SECTOR_BYTES) * SECTOR_BYTES
}
