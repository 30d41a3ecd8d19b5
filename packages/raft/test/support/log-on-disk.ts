/** A segmented log on a disk in memory, and the places of its batches. */
import {
  createSegmentedLog,
  SECTOR_BYTES,
  type LogWrite,
  type MemoryDisk,
  type RaftLog,
  type SegmentedLogInit
} from '../../src/index.js'

export const bootstrap = { voters: ['a', 'b', 'c'], learners: ['d'], context: Uint8Array.of(1, 2, 3) }
export const create = { bootstrap }
export const FIRST_SEGMENT = '0000000001-00000000000001.log'
/** Offset of a log's second batch: after the segment's header and the batch of entry 1. */
export const SECOND_BATCH = 2 * SECTOR_BYTES

export function openLog(
  disk: MemoryDisk,
  options: Pick<SegmentedLogInit, 'segmentBytes' | 'cacheBytes' | 'identity'> = {}
): Promise<RaftLog> {
  return createSegmentedLog({ disk, segmentBytes: 64 * 1024, ...options, create })
}

/** A write of one entry that fills that many sectors. */
export function big(index: number, sectors: number): LogWrite {
  return { entries: [{ index, term: 1, kind: 'normal', data: new Uint8Array(sectors * SECTOR_BYTES).fill(7) }] }
}

/** Overwrites a sector of the first segment with zeros. */
export async function zeroSector(disk: MemoryDisk, offset: number): Promise<void> {
  for (let i = 0; i < SECTOR_BYTES; i++) disk.damage(FIRST_SEGMENT, offset + i, () => 0)
}

export async function segmentsOf(disk: MemoryDisk): Promise<string[]> {
  return (await disk.list()).filter((name) => name.endsWith('.log'))
}
