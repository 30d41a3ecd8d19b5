import {
  assert,
  encode,
  InvalidArgumentError,
  raftConfiguration,
  raftEntryBytes,
  type RaftConfiguration
} from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import { LogFailedError, LogNotInitializedError } from '../errors.js'
import { BATCH_BYTES, encodeBatch } from './batch.js'
import { SECTOR_BYTES } from './disk.js'
import { LogIndex } from './log-index.js'
import { recover } from './recovery.js'
import { identityHash, parseSegmentName, SEGMENT_HEADER_BYTES, type Segment } from './segment.js'
import { SegmentSupply } from './segment-supply.js'
import type { LogWrite, RaftLog, SegmentedLogInit } from './types.js'

const DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
const DEFAULT_CACHE_BYTES = 16 * 1024 * 1024
/** Records of the first batch: term 1, entry 1, which is committed by definition. */
const FIRST_STATE: HardState = { term: 1, vote: undefined, commit: 1 }

/**
 * Opens the log in a directory, or makes it (see `bootstrap`). Rejects with LogNotInitializedError, with CorruptionError when
 * something that may have been acknowledged is damaged or missing, with VersionMismatchError for another format.
 */
export async function createSegmentedLog(init: SegmentedLogInit): Promise<RaftLog> {
  const {
    disk,
    segmentBytes = DEFAULT_SEGMENT_BYTES,
    cacheBytes = DEFAULT_CACHE_BYTES,
    bootstrap,
    clock,
    onSpace
  } = init
  if (!Number.isSafeInteger(segmentBytes) || segmentBytes % SECTOR_BYTES !== 0 || segmentBytes < 2 * SECTOR_BYTES) {
    throw new InvalidArgumentError('segmentBytes', segmentBytes, `a multiple of ${SECTOR_BYTES}, two sectors at least`)
  }
  const identity = identityHash(init.identity ?? '')
  const supply = new SegmentSupply({ disk, segmentBytes, clock, onSpace })
  await supply.clean()
  if (bootstrap !== undefined) await makeFirstSegment(supply, disk, identity, bootstrap)
  const index = new LogIndex(cacheBytes)
  const recovered = await recover(disk, index, identity)
  if (recovered === undefined) throw new LogNotInitializedError()
  return new SegmentedLog(supply, index, identity, recovered)
}

async function makeFirstSegment(
  supply: SegmentSupply,
  disk: SegmentedLogInit['disk'],
  identity: number,
  configuration: RaftConfiguration
): Promise<void> {
  if ((await disk.list()).some((name) => parseSegmentName(name) !== undefined)) return
  const entry: Entry = { index: 1, term: 1, kind: 'config', data: encode(raftConfiguration, configuration) }
  const batch = encodeBatch(1, { hardState: FIRST_STATE, entries: [entry] })
  const segment = await supply.take({ number: 1, firstIndex: 1, firstBatch: 1, identity }, batch.length, batch)
  await segment.file.close()
}

/** One `append` on its way. `taken` entries are in batches already. */
interface Pending {
  readonly write: LogWrite
  taken: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

class SegmentedLog implements RaftLog {
  private durableState: HardState
  private readonly segments: Segment[]
  private offset: number
  private nextBatch: number
  /** Index of the last entry that was appended, durable or not. */
  private appended: number
  private queue: Pending[] = []
  /** Settles when the queue is empty. */
  private flushing: Promise<void> | undefined
  private failure: Error | undefined

  constructor(
    private readonly supply: SegmentSupply,
    private readonly index: LogIndex,
    private readonly identity: number,
    recovered: { segments: Segment[]; hardState: HardState; offset: number; nextBatch: number }
  ) {
    this.durableState = recovered.hardState
    this.segments = recovered.segments
    this.offset = recovered.offset
    this.nextBatch = recovered.nextBatch
    this.appended = index.lastIndex
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
    const first = write.entries[0]
    if (first !== undefined) {
      assert(
        first.index >= this.firstIndex && first.index <= this.appended + 1,
        `append ${first.index} after ${this.appended}`
      )
      this.appended = write.entries.at(-1)!.index
    }
    return new Promise((resolve, reject) => {
      this.queue.push({ write, taken: 0, resolve, reject })
      this.flushing ??= this.flush()
    })
  }

  async close(): Promise<void> {
    await this.flushing
    this.failure ??= new LogFailedError(new Error('it is closed'))
    await this.supply.close()
    for (const { file } of this.segments) await file.close()
    this.segments.length = 0
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
    const { hardState, entries, complete } = this.nextContent()
    const number = this.nextBatch
    const batch = encodeBatch(number, { hardState, entries })
    const segment = await this.segmentFor(batch.length, number, entries[0]?.index ?? this.index.lastIndex + 1)
    const { offset } = this
    await segment.file.write(offset, batch)
    this.offset = offset + batch.length
    this.nextBatch = number + 1
    this.index.add(entries, segment, offset, batch.length, number)
    if (hardState !== undefined) this.durableState = hardState
    for (const { resolve } of this.queue.splice(0, complete)) resolve()
  }

  /** What the next batch takes from the queue, and how many appends are complete with it. */
  private nextContent(): { hardState: HardState | undefined; entries: Entry[]; complete: number } {
    let hardState: HardState | undefined
    let complete = 0
    let bytes = 0
    const entries: Entry[] = []
    for (const pending of this.queue) {
      const { write } = pending
      // The state stands before the append's entries: no entry is durable in a term that is not (Figure 2).
      if (pending.taken === 0 && write.hardState !== undefined) hardState = write.hardState
      while (pending.taken < write.entries.length) {
        const entry = write.entries[pending.taken]!
        bytes += raftEntryBytes(entry)
        if (bytes > BATCH_BYTES && entries.length > 0) return { hardState, entries, complete }
        entries.push(entry)
        pending.taken++
      }
      complete++
    }
    return { hardState, entries, complete }
  }

  private async segmentFor(batchBytes: number, batch: number, firstIndex: number): Promise<Segment> {
    const current = this.segments.at(-1)!
    const { bytes } = current.file
    if (this.offset + batchBytes <= bytes) {
      if (this.offset + batchBytes > bytes / 2) this.supply.prepare()
      return current
    }
    const { identity } = this
    const header = { number: current.number + 1, firstIndex, firstBatch: batch, identity }
    const segment = await this.supply.take(header, batchBytes)
    this.segments.push(segment)
    this.offset = SEGMENT_HEADER_BYTES
    return segment
  }
}
