/**
 * A batch is the unit of one durable write. It starts on a sector boundary, so that no sector with acknowledged data is
 * ever written again.
 *
 * | bytes | what |
 * |---|---|
 * | 4 | magic |
 * | 4 | CRC32C of the rest of the header, bitmap included |
 * | 8 | batch number, a float64: 1 more than that of the batch before, across segments |
 * | 4 | payload length |
 * | 4 | CRC32C of the payload |
 * | n | bitmap: one bit per sector after the first (bit 0 of byte 0 first), set if that sector is not all zeros |
 * | rest | payload, then zeros up to the end of the sector |
 *
 * Segments are filled with zeros. So a sector that a torn write left out is all zeros, although the bitmap says that it
 * is not. Any other deviation is damage, not a torn write.
 */
import { crc32c } from '@node-rs/crc32'
import {
  assert,
  decode,
  list,
  MAX_PEER_ID_BYTES,
  optional,
  raftEntry,
  raftEntryBytes,
  struct,
  Writer,
  type Codec
} from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import { hardState } from './segment-base.js'
import { SECTOR_BYTES } from './disk.js'

export interface BatchContent {
  readonly hardState: HardState | undefined
  /** Consecutive entries. They replace everything from the first one's index on. */
  readonly entries: readonly Entry[]
}

/** A batch is filled up to this payload size. The entry that would exceed it goes into the next batch. */
export const BATCH_BYTES = 1024 * 1024

const MAGIC = 0x31_42_51_8f
const HEADER_BYTES = 24
/** The largest encoding of a batch's content without its entries. */
const MAX_OTHER_BYTES = MAX_PEER_ID_BYTES + 64
/** The header with its bitmap must fit the first sector. */
const MAX_SECTORS = (SECTOR_BYTES - HEADER_BYTES) * 8 + 1

/** The payload's codec. */
const batchContent: Codec<BatchContent> = struct({
  hardState: optional(hardState),
  entries: list(raftEntry, 1 << 20)
})

export interface BatchHeader {
  readonly number: number
  readonly sectors: number
  readonly payloadLength: number
  readonly payloadCrc: number
}

/** The content at an offset of a segment. `torn` is an unfinished write. No crash can leave a `damaged` batch. */
export type BatchVerdict =
  | { readonly kind: 'whole'; readonly header: BatchHeader; readonly content: BatchContent }
  | { readonly kind: 'empty' }
  | { readonly kind: 'torn' }
  | { readonly kind: 'damaged'; readonly reason: string }

/** Encodes batches, all in one buffer. */
export class BatchEncoder {
  private buffer: Uint8Array = new Uint8Array(16 * 1024)

  /** The length of the batch is a multiple of the sector size. Its bytes are valid until the next call. */
  encode(number: number, content: BatchContent): Uint8Array {
    const size = content.entries.reduce((sum, entry) => sum + raftEntryBytes(entry), MAX_OTHER_BYTES)
    // The length of the payload decides about that of the header. So the payload comes first, and the header grows
    // towards the start of the buffer: with its bitmap it fits a sector. Behind the payload, a sector may need zeros.
    const needed = SECTOR_BYTES + size + SECTOR_BYTES
    if (this.buffer.length < needed) this.buffer = new Uint8Array(needed)
    const writer = new Writer(this.buffer, SECTOR_BYTES)
    batchContent.write(writer, content)
    const payload = writer.finish().subarray(SECTOR_BYTES)
    assert(payload.buffer === this.buffer.buffer, `a payload of ${payload.length} bytes instead of ${size} at most`)
    const sectors = sectorsFor(payload.length)
    if (sectors > MAX_SECTORS) throw new RangeError(`a batch of ${payload.length} bytes`)
    const start = HEADER_BYTES + bitmapBytes(sectors)
    const batch = this.buffer.subarray(SECTOR_BYTES - start).subarray(0, sectors * SECTOR_BYTES)
    batch.fill(0, 0, start).fill(0, start + payload.length)
    writeHeader(batch, start, number, payload)
    return batch
  }
}

/** Encodes a batch into a buffer of its own. */
export function encodeBatch(number: number, content: BatchContent): Uint8Array {
  return new BatchEncoder().encode(number, content)
}

/** Writes the header and its bitmap, which are zeros so far, in front of the payload at `start`. */
function writeHeader(batch: Uint8Array, start: number, number: number, payload: Uint8Array): void {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength)
  for (let sector = 1; sector * SECTOR_BYTES < batch.length; sector++) {
    if (!isZero(batch, sector, view)) batch[HEADER_BYTES + ((sector - 1) >> 3)]! |= 1 << ((sector - 1) & 7)
  }
  view.setUint32(0, MAGIC, true)
  view.setFloat64(8, number, true)
  view.setUint32(16, payload.length, true)
  view.setUint32(20, crc32c(payload), true)
  view.setUint32(4, crc32c(batch.subarray(8, start)), true)
}

/** The header at the start of `area`; undefined if there is no valid one. */
export function readBatchHeader(area: Uint8Array): BatchHeader | undefined {
  if (area.length < SECTOR_BYTES) return undefined
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength)
  if (view.getUint32(0, true) !== MAGIC) return undefined
  const payloadLength = view.getUint32(16, true)
  const sectors = sectorsFor(payloadLength)
  if (sectors > MAX_SECTORS) return undefined
  if (view.getUint32(4, true) !== crc32c(area.subarray(8, HEADER_BYTES + bitmapBytes(sectors)))) return undefined
  return { number: view.getFloat64(8, true), sectors, payloadLength, payloadCrc: view.getUint32(20, true) }
}

/** Judges the batch at the start of `area`, which extends to the end of the segment or of the batch. */
export function inspectBatch(area: Uint8Array, number: number): BatchVerdict {
  const header = readBatchHeader(area)
  if (header === undefined) {
    // The disk writes a sector as a whole or not at all, so an invalid header must have been damaged later.
    return isZero(area, 0) ? { kind: 'empty' } : { kind: 'damaged', reason: 'bad batch header' }
  }
  if (header.number !== number) return { kind: 'damaged', reason: `batch ${header.number} in the place of ${number}` }
  if (header.sectors * SECTOR_BYTES > area.length) return { kind: 'damaged', reason: 'batch exceeds its segment' }
  const payload = payloadOf(area, header)
  if (crc32c(payload) !== header.payloadCrc) {
    return hasMissingSector(area, header) ? { kind: 'torn' } : { kind: 'damaged', reason: 'bad batch checksum' }
  }
  try {
    return { kind: 'whole', header, content: decode(batchContent, payload) }
  } catch (error) {
    return { kind: 'damaged', reason: `bad batch content: ${(error as Error).message}` }
  }
}

/** The last sector of a file may be incomplete. `view` is one of `area`. */
export function isZero(
  area: Uint8Array,
  sector: number,
  view = new DataView(area.buffer, area.byteOffset, area.byteLength)
): boolean {
  let at = sector * SECTOR_BYTES
  const end = Math.min(at + SECTOR_BYTES, area.length)
  // Words first, because most of a small commit is a page of zeros.
  for (; at + 4 <= end; at += 4) if (view.getInt32(at) !== 0) return false
  for (; at < end; at++) if (view.getUint8(at) !== 0) return false
  return true
}

function hasMissingSector(area: Uint8Array, { sectors }: BatchHeader): boolean {
  for (let sector = 1; sector < sectors; sector++) {
    const written = (area[HEADER_BYTES + ((sector - 1) >> 3)]! >> ((sector - 1) & 7)) & 1
    if (written === 1 && isZero(area, sector)) return true
  }
  return false
}

function payloadOf(area: Uint8Array, { sectors, payloadLength }: BatchHeader): Uint8Array {
  const start = HEADER_BYTES + bitmapBytes(sectors)
  return area.subarray(start, start + payloadLength)
}

function bitmapBytes(sectors: number): number {
  return (sectors - 1 + 7) >> 3
}

function sectorsFor(payloadLength: number): number {
  let sectors = Math.ceil((HEADER_BYTES + payloadLength) / SECTOR_BYTES)
  while (HEADER_BYTES + bitmapBytes(sectors) + payloadLength > sectors * SECTOR_BYTES) sectors++
  return sectors
}
