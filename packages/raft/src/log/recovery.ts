import { CorruptionError } from '@quire/protocol'
import type { HardState } from '../core/types.js'
import { inspectBatch, isZero, readBatchHeader, type BatchContent, type BatchHeader } from './batch.js'
import { SECTOR_BYTES, type Disk } from './disk.js'
import type { LogIndex } from './log-index.js'
import { parseSegmentName, readSegmentHeader, SEGMENT_HEADER_BYTES, type Segment } from './segment.js'

const MAX_ZERO_WRITE_BYTES = 1024 * 1024

export interface Recovered {
  readonly segments: Segment[]
  readonly hardState: HardState
  /** Where the next batch goes, in the last segment. */
  readonly offset: number
  readonly nextBatch: number
}

/**
 * Reads a log back into `index`. Undefined when there is none. A batch at the very end that a crash interrupted is cut off;
 * everything else that is wrong is a CorruptionError, because it may have been committed.
 */
export async function recover(disk: Disk, index: LogIndex, identity: number): Promise<Recovered | undefined> {
  const segments: Segment[] = []
  try {
    return await new Recovery(disk, index, identity, segments).run()
  } catch (error) {
    for (const { file } of segments) await file.close()
    throw error
  }
}

class Recovery {
  private hardState: HardState | undefined
  private nextBatch = 1
  private offset = 0

  constructor(
    private readonly disk: Disk,
    private readonly index: LogIndex,
    private readonly identity: number,
    private readonly segments: Segment[]
  ) {}

  async run(): Promise<Recovered | undefined> {
    const names = (await this.disk.list()).filter((name) => parseSegmentName(name) !== undefined).sort()
    if (names.length === 0) return undefined
    for (const [i, name] of names.entries()) {
      if (parseSegmentName(name)!.number !== i + 1) throw new CorruptionError(name, 0, `segment ${i + 1} is missing`)
      const file = await this.disk.open(name)
      const segment = { name, number: i + 1, file }
      this.segments.push(segment)
      await this.readSegment(segment, i === names.length - 1)
    }
    const last = names.at(-1)!
    const { hardState } = this
    if (hardState === undefined) throw new CorruptionError(last, this.offset, 'no hard state')
    // A record of the commit index is never older than the entries that it counts.
    if (hardState.commit > this.index.lastIndex) {
      const reason = `the log ends at ${this.index.lastIndex}, ${hardState.commit} was committed`
      throw new CorruptionError(last, this.offset, reason)
    }
    return { segments: this.segments, hardState, offset: this.offset, nextBatch: this.nextBatch }
  }

  private async readSegment(segment: Segment, isLast: boolean): Promise<void> {
    const { name, file } = segment
    const bytes = file.read(0, file.bytes)
    this.checkHeader(segment, bytes)
    this.offset = SEGMENT_HEADER_BYTES
    while (this.offset < bytes.length) {
      const verdict = inspectBatch(bytes.subarray(this.offset), this.nextBatch)
      if (verdict.kind === 'damaged') throw new CorruptionError(name, this.offset, verdict.reason)
      if (verdict.kind !== 'whole') break
      this.replay(segment, verdict.header, verdict.content)
    }
    const end = lastNonZero(bytes, this.offset)
    if (end <= this.offset) return
    // Segments and batches are begun only after the batch before is durable, so only the last one can be torn.
    if (!isLast) throw new CorruptionError(name, this.offset, 'a batch is missing before the segment ends')
    this.refuseLaterBatch(name, bytes, end)
    // Left in place, old sectors could be taken for parts of a later batch.
    for (let at = this.offset; at < end; at += MAX_ZERO_WRITE_BYTES) {
      await file.write(at, new Uint8Array(Math.min(MAX_ZERO_WRITE_BYTES, end - at)))
    }
  }

  private checkHeader({ name, number }: Segment, bytes: Uint8Array): void {
    const header = readSegmentHeader(name, bytes)
    const { firstIndex } = parseSegmentName(name)!
    if (bytes.length % SECTOR_BYTES !== 0) throw new CorruptionError(name, bytes.length, 'cut within a sector')
    if (header.identity !== this.identity) throw new CorruptionError(name, 0, 'belongs to another log')
    if (header.number !== number || header.firstIndex !== firstIndex) {
      throw new CorruptionError(name, 0, `is segment ${header.number} from ${header.firstIndex}`)
    }
    if (header.firstBatch !== this.nextBatch) {
      throw new CorruptionError(name, 0, `starts with batch ${header.firstBatch}, ${this.nextBatch} is next`)
    }
  }

  private replay(segment: Segment, header: BatchHeader, { hardState, entries }: BatchContent): void {
    let last = this.index.lastIndex
    for (const entry of entries) {
      if (entry.index < 1 || entry.index > last + 1) {
        throw new CorruptionError(segment.name, this.offset, `entry ${entry.index} after ${last}`)
      }
      last = entry.index
    }
    const bytes = header.sectors * SECTOR_BYTES
    this.index.add(entries, segment, this.offset, bytes, header.number)
    this.hardState = hardState ?? this.hardState
    this.offset += bytes
    this.nextBatch++
  }

  /** A batch after the bad one was written after that was durable: then it is damaged, not torn. */
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

/** End of the last sector from `from` on that is not all zeros; `from` when all are. */
function lastNonZero(bytes: Uint8Array, from: number): number {
  for (let sector = bytes.length / SECTOR_BYTES - 1; sector * SECTOR_BYTES >= from; sector--) {
    if (!isZero(bytes, sector)) return (sector + 1) * SECTOR_BYTES
  }
  return from
}
