import { CorruptionError } from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import { inspectBatch, type BatchContent } from './batch.js'
import { SECTOR_BYTES } from './disk.js'
import { Extents, type Extent } from './extents.js'
import { sameHardState } from './segment-base.js'
import type { Segment } from './segment.js'

/** A place in a segment where a batch begins. */
interface Place {
  readonly offset: number
  /** Number of the batch. */
  readonly batch: number
  /** The entry that comes next, and the lowest one from here on: only later entries are truncated. */
  readonly first: number
}

/** A batch as a scan finds it. */
export interface ScannedBatch extends BatchContent {
  readonly offset: number
  readonly bytes: number
  readonly number: number
}

/** The end of a segment, as the base of the next one describes it, and of the entries in it that count. */
export interface SegmentEnd {
  /** Number of the next segment's first batch. */
  readonly batch: number
  /** The hard state after the segment's last batch. */
  readonly hardState: HardState
  readonly lastIndex: number
  /** See `Extents.size`. */
  readonly size: number
}

/** The place of a segment's first batch. */
export function startOf({ start, firstBatch, firstIndex }: Segment): Place {
  return { offset: start, batch: firstBatch, first: firstIndex }
}

/**
 * Yields the batches from a place on, up to one that is missing or torn. `area` is what the file holds from there on;
 * the batches hold views of it. Throws CorruptionError for what no crash can leave.
 */
export function* batchesFrom({ offset, batch, first }: Place, name: string, area: Uint8Array): Generator<ScannedBatch> {
  let number = batch
  let next = first
  for (let at = 0; at < area.length;) {
    const verdict = inspectBatch(area.subarray(at), number)
    if (verdict.kind === 'damaged') throw new CorruptionError(name, offset + at, verdict.reason)
    if (verdict.kind !== 'whole') return
    const { header, content } = verdict
    for (const [i, { index }] of content.entries.entries()) {
      if (i === 0 ? index < first || index > next : index !== next) {
        throw new CorruptionError(name, offset + at, `entry ${index} in the place of ${next}`)
      }
      next = index + 1
    }
    const bytes = header.sectors * SECTOR_BYTES
    yield { ...content, offset: offset + at, bytes, number }
    number++
    at += bytes
  }
}

/**
 * Reads the entries of an extent; `area` is its range. All of it was durable once, so anything but these entries is a
 * CorruptionError.
 */
export function entriesOf(extent: Extent, name: string, area: Uint8Array): readonly Entry[] {
  const { first, last } = extent
  const entries: Entry[] = []
  let end = extent.offset
  for (const batch of batchesFrom(extent, name, area)) {
    const start = batch.entries[0]
    if (start !== undefined) entries.length = start.index - first
    for (const entry of batch.entries) entries.push(entry)
    end = batch.offset + batch.bytes
  }
  if (end !== extent.offset + extent.bytes) throw new CorruptionError(name, end, 'a batch is missing or lacks sectors')
  if (entries.length <= last - first) throw new CorruptionError(name, end, `the entries before end below ${last}`)
  return entries
}

/**
 * Reads the whole file of a segment that others follow, whose base holds `hardState`. All batches were durable before
 * the next segment began, so anything but what `end` describes is a CorruptionError.
 */
export function locateEntries(segment: Segment, file: Uint8Array, hardState: HardState, end: SegmentEnd): Extents {
  const { name } = segment
  const extents = new Extents()
  let { offset, batch } = startOf(segment)
  let state = hardState
  for (const { bytes, entries, ...scanned } of batchesFrom(startOf(segment), name, file.subarray(offset))) {
    const first = entries[0]?.index
    if (first !== undefined) extents.add({ first, last: entries.at(-1)!.index, offset, batch, bytes, size: bytes })
    state = scanned.hardState ?? state
    offset += bytes
    batch++
  }
  if (batch !== end.batch) {
    throw new CorruptionError(
      name,
      offset,
      `batch ${batch} is missing or torn, the next segment starts with ${end.batch}`
    )
  }
  extents.truncate(end.lastIndex + 1)
  const last = extents.last ?? segment.firstIndex - 1
  if (last !== end.lastIndex || extents.size !== end.size || !sameHardState(state, end.hardState)) {
    throw new CorruptionError(name, offset, 'its batches contradict the base of a later segment')
  }
  return extents
}
