import { CorruptionError } from '@quire/protocol'
import type { HardState } from '../core/types.js'
import { sameHardState, type SegmentBase } from './segment-base.js'
import { inspectBatch, isZero, readBatchHeader, type BatchContent, type BatchHeader } from './batch.js'
import { SECTOR_BYTES, type Disk, type DiskFile } from './disk.js'
import type { LogIndex } from './log-index.js'
import { parseSegmentName, readSegmentHeader, SEGMENT_HEADER_BYTES, type Segment } from './segment.js'

const MAX_ZERO_WRITE_BYTES = 1024 * 1024

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
 * Reads a log back into `index`, from the oldest remaining segment on; undefined if there is none. A batch at the very
 * end that a crash interrupted is cut off. Any other fault is a CorruptionError, because the entries may have been
 * committed. Only one segment is open at a time.
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
  /** File of the segment that is being read, or was read last. */
  file: DiskFile | undefined
  private readonly segments: Segment[] = []
  /** Undefined until the first base was read. */
  private hardState: HardState | undefined
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
      const { number, firstIndex } = parseSegmentName(name)!
      if (number !== oldest + i) throw new CorruptionError(name, 0, `segment ${oldest + i} is missing`)
      await this.file?.close()
      this.file = undefined
      const file = await this.disk.open(name)
      this.file = file
      const segment = { name, number, firstIndex }
      this.segments.push(segment)
      await this.readSegment(segment, file, i === names.length - 1)
    }
    const file = this.file!
    const hardState = this.hardState!
    // A stored commit index is never newer than the entries that it counts.
    if (hardState.commit > this.index.lastIndex) {
      const reason = `the log ends at ${this.index.lastIndex}, ${hardState.commit} was committed`
      throw new CorruptionError(names.at(-1)!, this.offset, reason)
    }
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

  private async readSegment(segment: Segment, file: DiskFile, isLast: boolean): Promise<void> {
    const { name } = segment
    const bytes = file.read(0, file.bytes)
    this.checkHeader(segment, bytes)
    this.offset = SEGMENT_HEADER_BYTES
    while (this.offset < bytes.length) {
      const verdict = inspectBatch(bytes.subarray(this.offset), this.nextBatch)
      if (verdict.kind === 'damaged') throw new CorruptionError(name, this.offset, verdict.reason)
      if (verdict.kind !== 'whole') break
      this.replay(segment, verdict.header, verdict.content)
    }
    // A file gets its segment name only when its first batch is durable.
    if (this.offset === SEGMENT_HEADER_BYTES) throw new CorruptionError(name, this.offset, 'the first batch is missing')
    const end = lastNonZero(bytes, this.offset)
    if (end <= this.offset) return
    // A segment or batch begins only when the batch before is durable, so only the last batch can be torn.
    if (!isLast) throw new CorruptionError(name, this.offset, 'a batch is missing before the segment ends')
    this.refuseLaterBatch(name, bytes, end)
    // A later batch that is torn could leave old sectors visible, and they would pass for its own.
    for (let at = this.offset; at < end; at += MAX_ZERO_WRITE_BYTES) {
      await file.write(at, new Uint8Array(Math.min(MAX_ZERO_WRITE_BYTES, end - at)))
    }
  }

  private checkHeader({ name, number, firstIndex }: Segment, bytes: Uint8Array): void {
    const header = readSegmentHeader(name, bytes)
    if (bytes.length !== header.bytes) {
      throw new CorruptionError(name, bytes.length, `the file had ${header.bytes} bytes and has ${bytes.length}`)
    }
    if (header.identity !== this.identity) throw new CorruptionError(name, 0, 'belongs to another log')
    if (header.number !== number || header.firstIndex !== firstIndex) {
      throw new CorruptionError(
        name,
        0,
        `its header names segment ${header.number}, which starts at entry ${header.firstIndex}`
      )
    }
    if (this.segments.length === 1) this.nextBatch = header.firstBatch
    if (header.firstBatch !== this.nextBatch) {
      throw new CorruptionError(name, 0, `starts with batch ${header.firstBatch}, ${this.nextBatch} is next`)
    }
  }

  private replay(segment: Segment, header: BatchHeader, { base, hardState, entries }: BatchContent): void {
    const isFirst = this.offset === SEGMENT_HEADER_BYTES
    if (isFirst !== (base !== undefined)) this.refuse(segment, isFirst ? 'no base' : 'a base within a segment')
    if (base !== undefined) this.replayBase(segment, base)
    const { firstIndex } = segment
    let next = Math.min(entries[0]?.index ?? Infinity, this.index.lastIndex + 1)
    if (isFirst ? next !== firstIndex : next < firstIndex) {
      this.refuse(segment, `entry ${next} in a segment from ${firstIndex}`)
    }
    for (const { index } of entries) {
      if (index !== next++) this.refuse(segment, `entry ${index} in the place of ${next - 1}`)
    }
    const bytes = header.sectors * SECTOR_BYTES
    this.index.add(entries, segment, this.offset, bytes, header.number)
    this.hardState = hardState ?? this.hardState
    this.lastBatch = this.offset
    this.offset += bytes
    this.nextBatch++
  }

  private replayBase(segment: Segment, base: SegmentBase): void {
    const { index, hardState } = this
    const { prevIndex } = base
    if (prevIndex !== segment.firstIndex - 1) this.refuse(segment, `a base at ${prevIndex}`)
    const continues = hardState !== undefined && !base.reset
    // Truncations may have made later segments begin below the oldest remaining one. Such segments exist only because a
    // crash interrupted the removals of a compaction.
    const isBelow = prevIndex < index.firstIndex - 1
    if (continues) {
      if (prevIndex > index.lastIndex) {
        this.refuse(segment, `follows entry ${prevIndex}, the log ends at ${index.lastIndex}`)
      }
      const isSame =
        isBelow ||
        (index.term(prevIndex) === base.prevTerm &&
          index.configurationAt(prevIndex)?.index === base.configuration?.index)
      if (!isSame || !sameHardState(hardState, base.hardState)) {
        this.refuse(segment, 'its base contradicts the segments before')
      }
      if (!isBelow) return
    }
    this.start = this.segments.length - 1
    this.hardState = base.hardState
    index.restart(base)
  }

  private refuse({ name }: Segment, reason: string): never {
    throw new CorruptionError(name, this.offset, reason)
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

/** End of the last sector from `from` on that is not all zeros; `from` if all are. */
function lastNonZero(bytes: Uint8Array, from: number): number {
  for (let sector = bytes.length / SECTOR_BYTES - 1; sector * SECTOR_BYTES >= from; sector--) {
    if (!isZero(bytes, sector)) return (sector + 1) * SECTOR_BYTES
  }
  return from
}
