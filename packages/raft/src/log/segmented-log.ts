import { assert, InvalidArgumentError, raftEntryBytes } from '@quire/protocol'
import type { Entry, HardState, SnapshotMeta } from '../core/types.js'
import { LogFailedError, LogFullError, LogNotInitializedError } from '../errors.js'
import { baseOfSnapshot, FIRST_BASE, type SegmentBase } from './base.js'
import { BATCH_BYTES, encodeBatch } from './batch.js'
import { firstContent } from './creation.js'
import { SECTOR_BYTES, type Disk } from './disk.js'
import { LogIndex } from './log-index.js'
import { recover, type Recovered } from './recovery.js'
import { makeReserve, newerState, Reserve } from './reserve.js'
import { NoFileError } from './room.js'
import { identityHash, parseSegmentName, SEGMENT_HEADER_BYTES, type Segment } from './segment.js'
import { SegmentFiles } from './segment-files.js'
import { SegmentSupply, type TakenSegment } from './segment-supply.js'
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
  const reserve = await openReserve(disk, identity, recovered.hardState).catch(async (error: unknown) => {
    await files.close()
    throw error
  })
  const log = new SegmentedLog(disk, supply, files, index, identity, recovered, reserve)
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
  await makeReserve(disk)
  await supply.makeFirst({ number: 1, firstIndex: 1, firstBatch: 1, identity }, batch)
}

/** The reserve, and the newer of its hard state and the log's. */
async function openReserve(
  disk: Disk,
  identity: number,
  logged: HardState
): Promise<{ readonly file: Reserve; readonly hardState: HardState }> {
  const file = await Reserve.open(disk, identity)
  try {
    return { file, hardState: newerState(logged, file.found) }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** One `append` on its way. `taken` entries are in batches already, `written` of them in durable ones. */
interface Pending {
  readonly write: LogWrite
  taken: number
  written: number
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
  private readonly reserve: Reserve
  private durableState: HardState
  /** The hard state as the segments have it: older than the durable one after the reserve was used. */
  private loggedState: HardState
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
  /** Entries were given back: all that follow on them are, too. */
  private full: NoFileError | undefined
  /** The file that was missing then is there. */
  private hasRoom = true
  private hasGivenBack = false

  constructor(
    private readonly disk: Disk,
    private readonly supply: SegmentSupply,
    private readonly files: SegmentFiles,
    private readonly index: LogIndex,
    private readonly identity: number,
    recovered: Recovered,
    reserve: { readonly file: Reserve; readonly hardState: HardState }
  ) {
    this.loggedState = recovered.hardState
    this.durableState = reserve.hardState
    this.reserve = reserve.file
    this.segments = recovered.segments
    this.obsolete = recovered.obsolete
    this.offset = recovered.offset
    this.nextBatch = recovered.nextBatch
    this.appended = index.lastIndex
    this.appendable = index.firstIndex
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
    // Entries that follow on others that were given back are given back as well: the caller may not have heard of it
    // yet, and room may be there before it has. Only a write that continues the log shows that it has heard, and only
    // when no other that will be given back is in the queue.
    const continues = reset !== undefined || (first !== undefined && first.index <= this.appended + 1)
    if (this.hasRoom && continues && !this.queue.some((pending) => adds(pending.write))) this.full = undefined
    if (first !== undefined) {
      const last = this.full === undefined ? this.appended + 1 : Infinity
      assert(
        first.index >= this.appendable && first.index <= last,
        `append ${first.index} to ${this.appendable}..${this.appended}`
      )
      this.appended = entries.at(-1)!.index
    }
    return new Promise((resolve, reject) => {
      this.queue.push({ write, taken: 0, written: 0, resolve, reject })
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
    this.supply.stopWaiting()
    await this.flushing
    this.failure ??= new LogFailedError(new Error('it is closed'))
    await this.removing
    await this.supply.close()
    await this.reserve.close()
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
    if (this.full !== undefined && adds(this.queue[0]!.write)) return this.giveBack(this.full)
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
    let taken: TakenSegment
    try {
      taken = await this.supply.take({ ...header, identity: this.identity }, batch)
    } catch (error) {
      if (error instanceof NoFileError) return this.giveBack(error)
      throw error
    }
    const { segment } = taken
    const closing = this.files.begin(segment, taken.file)
    await this.supply.flushName(closing)
    this.segments.push(segment)
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
    if (hardState !== undefined) {
      this.loggedState = hardState
      this.durableState = hardState
    }
    for (const { resolve } of this.queue.splice(0, complete)) resolve()
    // At most one append is in a batch with a part of its entries.
    const next = this.queue[0]
    if (next !== undefined) next.written = next.taken
  }

  /**
   * Nothing of the queue can be written to a segment. Its hard state is made durable in the reserve, and its entries
   * go back to the caller, who hands them in again when there is room.
   */
  private async giveBack(fault: NoFileError): Promise<void> {
    const { room } = fault
    if (this.full?.room !== room) {
      this.hasRoom = false
      void room.then(() => {
        if (this.full?.room === room) this.hasRoom = true
      })
    }
    this.full = fault
    this.hasGivenBack = true
    // Before anything else is appended.
    this.appended = this.index.lastIndex
    this.appendable = this.index.firstIndex
    const given = this.queue.slice()
    const state = given.findLast(({ write }) => write.hardState !== undefined)?.write.hardState
    if (state !== undefined) {
      const now = this.capped(state, this.index.lastIndex)
      await this.reserve.write(now)
      this.durableState = now
    }
    this.queue.splice(0, given.length)
    let stored = this.index.lastIndex
    for (const { write, written, resolve, reject } of given) {
      if (!adds(write)) {
        resolve()
        continue
      }
      const { reset, entries } = write
      if (written > 0) stored = entries[written - 1]!.index
      // The log that is there is not the one that the caller goes on with.
      else stored = reset === undefined ? Math.min(stored, entries[0]!.index - 1) : 0
      reject(new LogFullError(stored, fault.room, fault.cause))
    }
  }

  /**
   * The commit index never names an entry that is not there: one that was given back, or what a reset that was given
   * back would have made of it. That reset may be on its way again, and this state still ahead of it in the queue.
   */
  private capped(state: HardState, lastIndex: number): HardState {
    return !this.hasGivenBack || state.commit <= lastIndex ? state : { ...state, commit: lastIndex }
  }

  private gather(): Gathered {
    let reset: SnapshotMeta | undefined
    let hardState: HardState | undefined
    let complete = 0
    let bytes = 0
    const entries: Entry[] = []
    for (const pending of this.queue) {
      const { write } = pending
      if (this.full !== undefined && adds(write)) break
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
          return this.gathered(reset, hardState, entries, complete)
        }
        entries.push(entry)
        pending.taken++
      }
      complete++
    }
    return this.gathered(reset, hardState, entries, complete)
  }

  private gathered(
    reset: SnapshotMeta | undefined,
    hardState: HardState | undefined,
    entries: readonly Entry[],
    complete: number
  ): Gathered {
    // What is in the reserve only goes to the log with the next batch.
    const state = hardState ?? (this.durableState === this.loggedState ? undefined : this.durableState)
    const lastIndex = entries.at(-1)?.index ?? reset?.index ?? this.index.lastIndex
    return { reset, hardState: state && this.capped(state, lastIndex), entries, complete }
  }

  private nextBase({ reset, entries }: Gathered): SegmentBase {
    const { index, loggedState: hardState } = this
    if (reset !== undefined) return baseOfSnapshot(reset, hardState)
    const prevIndex = (entries[0]?.index ?? index.lastIndex + 1) - 1
    const configuration = index.configurationAt(prevIndex)
    return { prevIndex, prevTerm: index.term(prevIndex)!, hardState, configuration, reset: false }
  }
}

/** Adds to what stands in the log, or begins it anew. */
function adds({ reset, entries }: LogWrite): boolean {
  return reset !== undefined || entries.length > 0
}

function belongsTo({ firstIndex }: Segment, { reset, entries }: Gathered): boolean {
  return reset === undefined && (entries[0]?.index ?? firstIndex) >= firstIndex
}
