import { assert, InvalidArgumentError, raftEntryBytes } from '@quire/protocol'
import type { Entry, HardState, SnapshotMeta } from '../core/types.js'
import { LogFailedError, LogNotInitializedError } from '../errors.js'
import { baseOfSnapshot, FIRST_BASE, type SegmentBase } from './base.js'
import { BATCH_BYTES, encodeBatch } from './batch.js'
import { firstContent } from './creation.js'
import { SECTOR_BYTES, type Disk } from './disk.js'
import { LogIndex } from './log-index.js'
import { recover, type Recovered } from './recovery.js'
import { identityHash, parseSegmentName, SEGMENT_HEADER_BYTES, type Segment } from './segment.js'
import { SegmentFiles } from './segment-files.js'
import { SegmentSupply } from './segment-supply.js'
import type { LogCreation, LogWrite, RaftLog, SegmentedLogInit } from './types.js'

const DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
const DEFAULT_CACHE_BYTES = 16 * 1024 * 1024

/**
 * Opens the log in a directory, or makes it (see `create`). Rejects with LogNotInitializedError, with CorruptionError when
 * something that may have been acknowledged is damaged or missing, with VersionMismatchError for another format.
 */
export async function createSegmentedLog(init: SegmentedLogInit): Promise<RaftLog> {
  const { disk, segmentBytes = DEFAULT_SEGMENT_BYTES, cacheBytes = DEFAULT_CACHE_BYTES, create, clock, onSpace } = init
  if (!Number.isSafeInteger(segmentBytes) || segmentBytes % SECTOR_BYTES !== 0 || segmentBytes < 2 * SECTOR_BYTES) {
    throw new InvalidArgumentError('segmentBytes', segmentBytes, `a multiple of ${SECTOR_BYTES}, two sectors at least`)
  }
  const identity = identityHash(init.identity ?? '')
  const supply = new SegmentSupply({ disk, segmentBytes, clock, onSpace })
  await supply.clean()
  if (create !== undefined) await makeFirstSegment(supply, disk, identity, create)
  const files = new SegmentFiles(disk)
  const index = new LogIndex(cacheBytes, files)
  const recovered = await recover(disk, index, identity)
  if (recovered === undefined) throw new LogNotInitializedError()
  await files.begin(recovered.segments.at(-1)!, recovered.file)
  const log = new SegmentedLog(disk, supply, files, index, identity, recovered)
  await log.removeObsolete()
  return log
}

async function makeFirstSegment(
  supply: SegmentSupply,
  disk: Disk,
  identity: number,
  creation: LogCreation
): Promise<void> {
  if ((await disk.list()).some((name) => parseSegmentName(name) !== undefined)) return
  const batch = encodeBatch(1, { base: FIRST_BASE, ...firstContent(creation) })
  const { file } = await supply.take({ number: 1, firstIndex: 1, firstBatch: 1, identity }, batch)
  await file.close()
}

/** One `append` on its way. `taken` entries are in batches already. */
interface Pending {
  readonly write: LogWrite
  taken: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** What the next batch takes from the queue, and how many appends are complete with it. */
interface Gathered {
  readonly reset: SnapshotMeta | undefined
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
  readonly complete: number
}

class SegmentedLog implements RaftLog {
  private durableState: HardState
  /** Of which the log consists, oldest first. */
  private readonly segments: Segment[]
  /** To be removed, oldest first. */
  private readonly obsolete: Segment[]
  private offset: number
  private nextBatch: number
  /** Index of the last entry that was appended, durable or not, and the first that may be. */
  private appended: number
  private appendable: number
  private queue: Pending[] = []
  /** Settles when the queue is empty. */
  private flushing: Promise<void> | undefined
  private removing: Promise<void> = Promise.resolve()
  private failure: Error | undefined

  constructor(
    private readonly disk: Disk,
    private readonly supply: SegmentSupply,
    private readonly files: SegmentFiles,
    private readonly index: LogIndex,
    private readonly identity: number,
    recovered: Recovered
  ) {
    this.durableState = recovered.hardState
    this.segments = recovered.segments
    this.obsolete = recovered.obsolete
    this.offset = recovered.offset
    this.nextBatch = recovered.nextBatch
    this.appended = index.lastIndex
    this.appendable = index.firstIndex
    supply.beginPatience()
  }

  get hardState(): HardState {
    return this.durableState
  }

  get configurations(): readonly Entry[] {
    return this.index.configurations
  }

  get firstIndex(): number {
    return this.index.firstIndex
  }

  get lastIndex(): number {
    return this.index.lastIndex
  }

  term(index: number): number | undefined {
    return this.index.term(index)
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] {
    return this.index.entries(lo, hi, maxBytes)
  }

  append(write: LogWrite): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    const { reset, entries } = write
    if (reset !== undefined) {
      assert(reset.index >= this.appendable - 1, `reset to ${reset.index}, the log starts at ${this.appendable}`)
      this.appended = reset.index
      this.appendable = reset.index + 1
    }
    const first = entries[0]
    if (first !== undefined) {
      assert(
        first.index >= this.appendable && first.index <= this.appended + 1,
        `append ${first.index} to ${this.appendable}..${this.appended}`
      )
      this.appended = entries.at(-1)!.index
    }
    return new Promise((resolve, reject) => {
      this.queue.push({ write, taken: 0, resolve, reject })
      this.flushing ??= this.flush()
    })
  }

  compact(index: number): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    // Not the first one that starts above: a truncation may have begun a later segment below. The one being written is the last
    // or not in the list yet, so it stays.
    const start = this.segments.findLastIndex(({ firstIndex }) => firstIndex - 1 <= index)
    if (start > 0) {
      this.obsolete.push(...this.segments.splice(0, start))
      this.index.dropBefore(this.segments[0]!)
      this.appendable = Math.max(this.appendable, this.firstIndex)
    }
    return this.removeObsolete()
  }

  async close(): Promise<void> {
    // What waits for a descriptor would wait for as long as there is none.
    this.supply.endPatience()
    await this.flushing
    this.failure ??= new LogFailedError(new Error('it is closed'))
    await this.removing
    await this.supply.close()
    await this.files.close()
    this.obsolete.length = 0
    this.segments.length = 0
  }

  /** Removes what can be removed; the rest is left to the next call. One call works at a time. */
  removeObsolete(): Promise<void> {
    this.removing = this.removing.then(async () => {
      if (this.obsolete.length === 0) return
      try {
        while (this.obsolete.length > 0) {
          const segment = this.obsolete[0]!
          await this.disk.remove(segment.name)
          this.obsolete.shift()
          this.files.forget(segment)
        }
      } catch {
        // Oldest first and no further, so that what is left has no gap. Nothing is wrong with the log.
      }
      // A name that comes back after a crash is removed by the next start.
      await this.disk.flushDirectory().catch(() => {})
    })
    return this.removing
  }

  /** One write is under way at a time; what is appended meanwhile forms the next batch (group commit). */
  private async flush(): Promise<void> {
    try {
      while (this.queue.length > 0) await this.flushBatch()
    } catch (error) {
      // What a failed flush left on the disk is unknown, and trying again could report success for pages that the kernel
      // has dropped: nothing continues after it.
      this.failure = new LogFailedError(error)
      for (const { reject } of this.queue.splice(0)) reject(this.failure)
    } finally {
      this.flushing = undefined
    }
  }

  private async flushBatch(): Promise<void> {
    const gathered = this.gather()
    const { hardState, entries } = gathered
    const number = this.nextBatch
    const current = this.segments.at(-1)!
    const file = this.files.current
    const { bytes } = file
    if (belongsTo(current, gathered)) {
      const batch = encodeBatch(number, { base: undefined, hardState, entries })
      const end = this.offset + batch.length
      if (end <= bytes) {
        if (end > bytes / 2) this.supply.prepare()
        await file.write(this.offset, batch)
        this.settle(gathered, batch.length)
        return
      }
    }
    const base = this.nextBase(gathered)
    const batch = encodeBatch(number, { base, hardState, entries })
    const header = { number: current.number + 1, firstIndex: base.prevIndex + 1, firstBatch: number }
    const { segment, file: next } = await this.supply.take({ ...header, identity: this.identity }, batch)
    this.segments.push(segment)
    const closing = this.files.begin(segment, next)
    this.offset = SEGMENT_HEADER_BYTES
    if (base.reset) {
      this.index.restart(base)
      this.obsolete.push(...this.segments.splice(0, this.segments.length - 1))
      void this.removeObsolete()
    }
    this.settle(gathered, batch.length)
    await closing
  }

  /** The batch at `offset` is durable: everything of it shows at once. */
  private settle({ hardState, entries, complete }: Gathered, batchBytes: number): void {
    this.index.add(entries, this.segments.at(-1)!, this.offset, batchBytes, this.nextBatch)
    this.offset += batchBytes
    this.nextBatch++
    if (hardState !== undefined) this.durableState = hardState
    for (const { resolve } of this.queue.splice(0, complete)) resolve()
  }

  private gather(): Gathered {
    let reset: SnapshotMeta | undefined
    let hardState: HardState | undefined
    let complete = 0
    let bytes = 0
    const entries: Entry[] = []
    for (const pending of this.queue) {
      const { write } = pending
      if (pending.taken === 0 && write.reset !== undefined) {
        // It begins a segment, and so a batch.
        if (complete > 0) break
        reset = write.reset
      }
      // The state stands before the append's entries: no entry is durable in a term that is not (Figure 2).
      if (pending.taken === 0 && write.hardState !== undefined) hardState = write.hardState
      while (pending.taken < write.entries.length) {
        const entry = write.entries[pending.taken]!
        bytes += raftEntryBytes(entry)
        // A batch has no gap; what replaces an entry of this one belongs to the next.
        const last = entries.at(-1)
        if (last !== undefined && (bytes > BATCH_BYTES || entry.index <= last.index)) {
          return { reset, hardState, entries, complete }
        }
        entries.push(entry)
        pending.taken++
      }
      complete++
    }
    return { reset, hardState, entries, complete }
  }

  private nextBase({ reset, entries }: Gathered): SegmentBase {
    const { index, durableState: hardState } = this
    if (reset !== undefined) return baseOfSnapshot(reset, hardState)
    const prevIndex = (entries[0]?.index ?? index.lastIndex + 1) - 1
    const configuration = index.configurationAt(prevIndex)
    return { prevIndex, prevTerm: index.term(prevIndex)!, hardState, configuration, reset: false }
  }
}

function belongsTo({ firstIndex }: Segment, { reset, entries }: Gathered): boolean {
  return reset === undefined && (entries[0]?.index ?? firstIndex) >= firstIndex
}
