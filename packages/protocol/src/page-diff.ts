/**
 * Differences between two versions of a page (docs/coherence.md, Diffs). Munin's and TreadMarks' diffs: ranges of bytes
 * that differ from a twin.
 */
import { assert } from './assert.js'
import { list, struct, uint, type TypeOf } from './codec.js'

/** Ranges in one diff. Each costs a few bytes, and a page with more is not worth a diff. */
export const MAX_DIFF_RANGES = 256
/** Ranges that are closer than this are one: the bytes between them cost less than another range. */
const MIN_GAP_BYTES = 8
const WORD_BYTES = 4
/** About as many bytes as the encoding of a range has. */
const RANGE_COST_BYTES = 4

/** Bytes of a page, from `offset` on. */
export const byteRange = struct({ offset: uint, length: uint })
export type ByteRange = TypeOf<typeof byteRange>

/** The most bytes that a range of a page takes on the wire: two numbers of up to three bytes. */
const MAX_RANGE_BYTES = 6

/** The bytes that a page or its diff takes on the wire, besides its fields. None for a page that does not travel. */
export function wireBytesOf({ bytes, ranges = [] }: { bytes?: Uint8Array; ranges?: readonly ByteRange[] }): number {
  return (bytes?.length ?? 0) + ranges.length * MAX_RANGE_BYTES
}

/** Ascending, without overlap. */
export const byteRanges = list(byteRange, MAX_DIFF_RANGES)

export interface PageDiff {
  readonly ranges: readonly ByteRange[]
  /** The new bytes of all ranges, one after the other. */
  readonly bytes: Uint8Array
}

/**
 * Returns what has changed, or undefined if the diff would be more than half as large as the page, or have more than
 * `MAX_DIFF_RANGES`. Equal pages have a diff without ranges. Both pages are of one size, a multiple of four, and begin
 * at such a multiple in their buffers.
 */
export function diffPage(before: Uint8Array, after: Uint8Array): PageDiff | undefined {
  assert(before.length === after.length, `a page of ${after.length} bytes, and a twin of ${before.length}`)
  const ranges: { offset: number; length: number }[] = []
  let cost = 0
  for (const { start, end } of changedBytes(before, after)) {
    const last = ranges.at(-1)
    if (last !== undefined && start - (last.offset + last.length) < MIN_GAP_BYTES) {
      cost += end - (last.offset + last.length)
      last.length = end - last.offset
    } else {
      cost += RANGE_COST_BYTES + end - start
      ranges.push({ offset: start, length: end - start })
    }
    if (cost > after.length / 2 || ranges.length > MAX_DIFF_RANGES) return undefined
  }
  return { ranges, bytes: gather(after, ranges) }
}

/** Whether a diff may be applied to a page of this size: its ranges ascend within the page, and `bytes` fills them. */
export function isDiffOf(pageSize: number, { ranges, bytes }: PageDiff): boolean {
  let reached = 0
  let total = 0
  for (const { offset, length } of ranges) {
    // The sum of two safe integers may be rounded, but not down to the size of a page.
    if (offset < reached || offset + length > pageSize) return false
    reached = offset + length
    total += length
  }
  return total === bytes.length
}

/** Writes the diff into the page. */
export function patchPage(page: Uint8Array, { ranges, bytes }: PageDiff): void {
  let from = 0
  for (const { offset, length } of ranges) {
    page.set(bytes.subarray(from, from + length), offset)
    from += length
  }
}

/** Finds differing words, then the differing bytes at both ends of each row of them. */
function* changedBytes(before: Uint8Array, after: Uint8Array): Iterable<{ start: number; end: number }> {
  const [old, now] = [wordsOf(before), wordsOf(after)]
  for (let i = 0; i < now.length; i++) {
    if (old[i] === now[i]) continue
    let start = i * WORD_BYTES
    while (i + 1 < now.length && old[i + 1] !== now[i + 1]) i++
    let end = (i + 1) * WORD_BYTES
    while (before[start] === after[start]) start++
    while (before[end - 1] === after[end - 1]) end--
    yield { start, end }
  }
}

function wordsOf({ buffer, byteOffset, length }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length / WORD_BYTES)
}

function gather(page: Uint8Array, ranges: readonly ByteRange[]): Uint8Array {
  const bytes = new Uint8Array(ranges.reduce((sum, { length }) => sum + length, 0))
  let to = 0
  for (const { offset, length } of ranges) {
    bytes.set(page.subarray(offset, offset + length), to)
    to += length
  }
  return bytes
}
