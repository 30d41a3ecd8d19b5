import { CorruptionError } from '@quire/protocol'
import type { HardState } from '../core/types.js'
import { inspectBatch, isZero, readBatchHeader } from './batch.js'
import { SECTOR_BYTES, type Disk, type DiskFile } from './disk.js'
import type { LogIndex } from './log-index.js'
import { batchesFrom, startOf } from './segment-scan.js'
import {
  parseSegmentName,
  readSegmentHeader,
  segmentHeaderBytes,
  segmentOf,
  type Segment,
  type SegmentHeader
} from './segment.js'

const MAX_ZERO_WRITE_BYTES = 1024 * 1024
/** Enough for most headers: a header grows with the configurations and the terms in the segment before. */
const HEADER_READ_BYTES = 4 * 1024

export interface Recovered {
  readonly segments: Segment[]
  /** Segments before those, oldest first, which a crash kept from being removed. */
  readonly obsolete: Segment[]
  /** File of the last segment, where writing continues. */
  readonly file: DiskFile
  readonly hardState: HardState
  /** Offset of the next batch in the last segment. */
  readonly offset: number
  readonly nextBatch: number
}

/**
 * Reads a log back into `index`, from the oldest remaining segment on; undefined if there is none.
 *
 * It reads the header of each segment. Of batches it reads only those of the last segment, and of earlier segments with
 * entries that the hard state does not count as committed. A batch at the very end that a crash interrupted is cut off.
 * Any other fault is a CorruptionError, because the entries may have been committed. At most two segments are open at a
 * time.
 */
export async function recover(disk: Disk, index: LogIndex, identity: number): Promise<Recovered | undefined> {
  const recovery = new Recovery(disk, index, identity)
  try {
    return await recovery.run()
  } catch (error) {
    await recovery.file?.close()
    throw error
  }
}

/** Replays the segments of a log in order. */
class Recovery {
  /** File of the segment that was read last. */
  file: DiskFile | undefined
  private readonly segments: Segment[] = []
  /** Header of the segment that was read last. */
  private header: SegmentHeader | undefined
  /** Position of the segment with which the log starts. */
  private start = 0
  private nextBatch = 0
  /** Where the batch that was read last begins and ends. */
  private lastBatch = 0
  private offset = 0

  constructor(
    private readonly disk: Disk,
    private readonly index: LogIndex,
    private readonly identity: number
  ) {}

  async run(): Promise<Recovered | undefined> {
    const names = (await this.disk.list()).filter((name) => parseSegmentName(name) !== undefined).sort()
    if (names.length === 0) return undefined
    const oldest = parseSegmentName(names[0]!)!.number
    for (const [i, name] of names.entries()) {
      const { number } = parseSegmentName(name)!
      if (number !== oldest + i) throw new CorruptionError(name, 0, `segment ${oldest + i} is missing`)
      await this.file?.close()
      this.file = undefined
      this.file = await this.disk.open(name)
      this.beginSegment(name, this.file)
    }
    const file = this.file!
    const last = this.segments.at(-1)!
    const hardState = await this.readLast(last, file)
    // A stored commit index is never newer than the entries that it counts.
    if (hardState.commit > this.index.lastIndex) {
      const reason = `the log ends at ${this.index.lastIndex}, ${hardState.commit} was committed`
      throw new CorruptionError(last.name, this.offset, reason)
    }
    this.readUncommitted(hardState)
    await this.makeDurable(file)
    this.index.copyCached()
    const { segments, start, offset, nextBatch } = this
    return { segments: segments.slice(start), obsolete: segments.slice(0, start), file, hardState, offset, nextBatch }
  }

  /**
   * Rewrites the last batch and flushes the directory. If a process was killed, or a flush failed, the last batch or a
   * segment's name may be readable without being durable. Everything before was durable when that write began.
   */
  private async makeDurable(file: DiskFile): Promise<void> {
    await file.write(this.lastBatch, file.read(this.lastBatch, this.offset - this.lastBatch))
    await this.disk.flushDirectory()
  }

  // ---- headers

  private beginSegment(name: string, file: DiskFile): void {
    const { header, start } = readHeader(name, file)
    this.checkFile(name, header, file.bytes)
    this.checkBase(name, header)
    this.header = header
    const segment = segmentOf(header, start)
    this.segments.push(segment)
    // Truncations may have made later segments begin below the oldest remaining one. Such segments exist only because a
    // crash interrupted the removals of a compaction. The log starts with the later one then.
    if (this.index.begin(segment, header.base)) this.start = this.segments.length - 1
  }

  private checkFile(name: string, { bytes, identity, number, base }: SegmentHeader, fileBytes: number): void {
    if (fileBytes !== bytes) {
      throw new CorruptionError(name, fileBytes, `the file had ${bytes} bytes and has ${fileBytes}`)
    }
    if (identity !== this.identity) throw new CorruptionError(name, 0, 'belongs to another log')
    const named = parseSegmentName(name)!
    const firstIndex = base.prevIndex + 1
    if (named.number !== number || named.firstIndex !== firstIndex) {
      throw new CorruptionError(name, 0, `its header names segment ${number}, which starts at entry ${firstIndex}`)
    }
  }

  /** Throws unless the segment can follow those before it. */
  private checkBase(name: string, { firstBatch, base }: SegmentHeader): void {
    const { header, index } = this
    if (header === undefined) return
    // Each segment has a batch at least.
    if (firstBatch <= header.firstBatch) {
      throw new CorruptionError(
        name,
        0,
        `starts with batch ${firstBatch}, the segment before with ${header.firstBatch}`
      )
    }
    const { prevIndex, prevTerm, hardState, configuration, before } = base
    const { term, commit } = header.base.hardState
    let isSound = hardState.term >= term && hardState.commit >= commit
    const holder = index.segmentOf(prevIndex)
    if (before !== undefined && holder !== undefined) {
      isSound &&= before.prevIndex === holder.firstIndex - 1
      // A base that cuts entries off names a place of which the bases before it tell as well.
      if (prevIndex <= index.lastIndex) {
        isSound &&= index.term(prevIndex) === prevTerm
        isSound &&= index.configurationAt(prevIndex)?.index === configuration?.index
      }
    }
    if (!isSound) throw new CorruptionError(name, 0, 'its base contradicts the segments before')
  }

  // ---- batches

  /** Reads the batches of the last segment, and cuts off a torn one. Returns the hard state after them. */
  private async readLast(segment: Segment, file: DiskFile): Promise<HardState> {
    const { name } = segment
    const bytes = file.read(0, file.bytes)
    let { hardState } = this.header!.base
    this.nextBatch = segment.firstBatch
    this.offset = segment.start
    for (const batch of batchesFrom(startOf(segment), name, bytes.subarray(segment.start))) {
      this.index.add(batch.entries, batch.offset, batch.bytes, batch.number)
      hardState = batch.hardState ?? hardState
      this.lastBatch = batch.offset
      this.offset += batch.bytes
      this.nextBatch++
    }
    // A file gets its segment name only when its first batch is durable.
    if (this.offset === segment.start) throw new CorruptionError(name, this.offset, 'the first batch is missing')
    const end = lastNonZero(bytes, this.offset)
    if (end <= this.offset) return hardState
    // A batch begins only when the batch before is durable, so only the last batch can be torn.
    this.refuseLaterBatch(name, bytes, end)
    // A later batch that is torn could leave old sectors visible, and they would pass for its own.
    for (let at = this.offset; at < end; at += MAX_ZERO_WRITE_BYTES) {
      await file.write(at, new Uint8Array(Math.min(MAX_ZERO_WRITE_BYTES, end - at)))
    }
    return hardState
  }

  /**
   * Reads the earlier segments that have entries after the committed ones. A truncation may cut these off, and must not
   * need the disk. Their loss could also cost a vote its meaning: this node has acknowledged them, and nobody may know
   * yet whether they are committed.
   */
  private readUncommitted({ commit }: HardState): void {
    for (const segment of this.index.unreadAfter(commit)) {
      const file = this.disk.openForReading(segment.name)
      try {
        this.index.read(segment, file.read(0, segment.bytes))
      } finally {
        file.close()
      }
    }
  }

  /**
   * Throws if a whole batch follows the invalid one: it was written after the invalid one was durable, so that one is
   * damaged, not torn.
   */
  private refuseLaterBatch(name: string, bytes: Uint8Array, end: number): void {
    for (let at = this.offset + SECTOR_BYTES; at < end; at += SECTOR_BYTES) {
      const area = bytes.subarray(at)
      const header = readBatchHeader(area)
      if (
        header !== undefined &&
        header.number > this.nextBatch &&
        inspectBatch(area, header.number).kind === 'whole'
      ) {
        throw new CorruptionError(
          name,
          this.offset,
          `batch ${this.nextBatch} is damaged, batch ${header.number} follows`
        )
      }
    }
  }
}

function readHeader(name: string, file: DiskFile): { readonly header: SegmentHeader; readonly start: number } {
  let bytes = file.read(0, Math.min(HEADER_READ_BYTES, file.bytes))
  const start = segmentHeaderBytes(name, bytes)
  if (start > bytes.length) bytes = file.read(0, Math.min(start, file.bytes))
  return { header: readSegmentHeader(name, bytes), start }
}

/** End of the last sector from `from` on that is not all zeros; `from` if all are. */
function lastNonZero(bytes: Uint8Array, from: number): number {
  for (let sector = bytes.length / SECTOR_BYTES - 1; sector * SECTOR_BYTES >= from; sector--) {
    if (!isZero(bytes, sector)) return (sector + 1) * SECTOR_BYTES
  }
  return from
}
