import { assert, InvalidArgumentError } from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import { LogFailedError, LogFullError, LogNotInitializedError } from '../errors.js'
import { AppendQueue, changesLog, type Gathered } from './append-queue.js'
import { baseOfSnapshot, FIRST_BASE, type SegmentBase } from './segment-base.js'
import { BatchEncoder, encodeBatch } from './batch.js'
import { firstContent } from './creation.js'
import { SECTOR_BYTES, type Disk } from './disk.js'
import { LogIndex } from './log-index.js'
import { recover, type Recovered } from './recovery.js'
import { makeReserve, newerState, Reserve } from './reserve.js'
import { NoFileError } from './no-file-error.js'
import { identityHash, parseSegmentName, type Segment } from './segment.js'
import { SegmentFiles } from './segment-files.js'
import { SegmentSupply, type TakenSegment } from './segment-supply.js'
import type { LogCreation, LogWrite, RaftLog, SegmentedLogInit } from './types.js'

const DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
const DEFAULT_CACHE_BYTES = 16 * 1024 * 1024

/**
 * Opens the log in a directory, or makes a new one (see `create`). Rejects with LogNotInitializedError, with
 * CorruptionError if data that may have been acknowledged is damaged or missing, and with VersionMismatchError for
 * another format. Damage in old entries is found only when they are read.
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
  const batch = encodeBatch(1, firstContent(creation))
  await makeReserve(disk)
  await supply.makeFirst({ number: 1, firstBatch: 1, identity, base: FIRST_BASE }, batch)
}

/** Opens the reserve, and decides between its hard state and the log's. */
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

/** Stores a log in segment files on a disk. */
class SegmentedLog implements RaftLog {
  private readonly reserve: Reserve
  private durableState: HardState
  /** The hard state in the segments. It is older than the durable one after the reserve was used. */
  private loggedState: HardState
  /** The segments of the log, oldest first. */
  private readonly segments: Segment[]
  /** Segments that must be removed, oldest first. */
  private readonly obsolete: Segment[]
  /** Where the next batch goes in the last segment. */
  private offset: number
  private nextBatch: number
  /** Index of the last entry that was appended, durable or not. */
  private appended: number
  /** The lowest index that may be appended. */
  private appendable: number
  private readonly queue = new AppendQueue()
  // One batch is written at a time.
  private readonly encoder = new BatchEncoder()
  /** Resolves when the queue is empty. */
  private flushing: Promise<void> | undefined
  private removing: Promise<void> = Promise.resolve()
  private failure: Error | undefined
  /** Set when entries were given back. Entries that follow them are given back, too. */
  private full: NoFileError | undefined
  /** Whether the file that was missing then has been made. */
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

  get bytes(): number {
    return this.index.bytes
  }

  indexBefore(bytes: number): number {
    return this.index.indexBefore(bytes)
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
    // Entries that follow others that were given back are given back as well. The caller may not have heard of that
    // yet, even if there is room by now. Only a write that continues the log shows that the caller has heard, and only
    // while the queue holds no other entries that will be given back.
    const continues = reset !== undefined || (first !== undefined && first.index <= this.appended + 1)
    if (this.hasRoom && continues && !this.queue.changesLog) this.full = undefined
    if (first !== undefined) {
      const last = this.full === undefined ? this.appended + 1 : Infinity
      assert(
        first.index >= this.appendable && first.index <= last,
        `append ${first.index} to ${this.appendable}..${this.appended}`
      )
      this.appended = entries.at(-1)!.index
    }
    const appended = this.queue.push(write)
    this.flushing ??= this.flush()
    return appended
  }

  compact(index: number, retainedBytes = 0): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    const end = Math.min(index, this.index.indexBefore(retainedBytes))
    // Search from the end: after a truncation, a later segment may begin below an earlier one. The segment that is
    // being written is the last, or not in the list yet, so it stays.
    const start = this.segments.findLastIndex(({ firstIndex }) => firstIndex - 1 <= end)
    if (start > 0) {
      this.obsolete.push(...this.segments.splice(0, start))
      this.index.dropBefore(this.segments[0]!)
      this.appendable = Math.max(this.appendable, this.firstIndex)
    }
    return this.removeObsolete()
  }

  async close(): Promise<void> {
    // Otherwise an append that waits for a descriptor would hold `close` back.
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

  /** Removes obsolete segments as far as possible; the next call tries the rest. Only one call works at a time. */
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
        // Segments go oldest first, and no further than the first failure, so that the rest has no gap.
      }
      // If a crash brings a name back, the next start removes it.
      await this.disk.flushDirectory().catch(() => {})
    })
    return this.removing
  }

  /** Runs one write at a time. Appends that come meanwhile form the next batch (group commit). */
  private async flush(): Promise<void> {
    try {
      while (!this.queue.isEmpty) await this.flushBatch()
    } catch (error) {
      // A failed flush leaves the disk in an unknown state, and a retry could report success for pages that the kernel
      // has dropped. So the log accepts nothing more.
      this.failure = new LogFailedError(error)
      this.queue.rejectAll(this.failure)
    } finally {
      this.flushing = undefined
    }
  }

  private async flushBatch(): Promise<void> {
    if (this.full !== undefined && this.queue.nextChangesLog) return this.giveBack(this.full)
    const gathered = this.gather()
    const { hardState, entries } = gathered
    const number = this.nextBatch
    const current = this.segments.at(-1)!
    const file = this.files.current
    const { bytes } = file
    if (belongsTo(current, gathered)) {
      const batch = this.encoder.encode(number, { hardState, entries })
      const end = this.offset + batch.length
      if (end <= bytes) {
        if (end > bytes / 2) this.supply.prepare()
        await file.write(this.offset, batch)
        this.batchWritten(gathered, batch.length)
        return
      }
    }
    const base = this.nextBase(gathered)
    const batch = this.encoder.encode(number, { hardState, entries })
    const header = { number: current.number + 1, firstBatch: number, identity: this.identity, base }
    let taken: TakenSegment
    try {
      taken = await this.supply.take(header, batch)
    } catch (error) {
      if (error instanceof NoFileError) return this.giveBack(error)
      throw error
    }
    const { segment } = taken
    const closing = this.files.begin(segment, taken.file)
    await this.supply.flushName(closing)
    this.segments.push(segment)
    this.offset = segment.start
    if (this.index.begin(segment, base)) {
      this.obsolete.push(...this.segments.splice(0, this.segments.length - 1))
      void this.removeObsolete()
    }
    this.batchWritten(gathered, batch.length)
    await closing
  }

  /** Called when the batch at `offset` is durable: all of it becomes visible at once. */
  private batchWritten({ hardState, entries, complete }: Gathered, batchBytes: number): void {
    this.index.add(entries, this.offset, batchBytes, this.nextBatch)
    this.offset += batchBytes
    this.nextBatch++
    if (hardState !== undefined) {
      this.loggedState = hardState
      this.durableState = hardState
    }
    this.queue.batchWritten(complete)
  }

  /**
   * Called when no segment has room for the queue. Writes the newest hard state to the reserve, and gives the entries
   * back to the caller, which appends them again when there is room.
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
    // These must be right before the next append.
    this.appended = this.index.lastIndex
    this.appendable = this.index.firstIndex
    const given = this.queue.all()
    const state = given.findLast(({ write }) => write.hardState !== undefined)?.write.hardState
    if (state !== undefined) {
      const now = this.capped(state, this.index.lastIndex)
      await this.reserve.write(now)
      this.durableState = now
    }
    this.queue.remove(given.length)
    let stored = this.index.lastIndex
    for (const { write, written, resolve, reject } of given) {
      if (!changesLog(write)) {
        resolve()
        continue
      }
      const { reset, entries } = write
      if (written > 0) stored = entries[written - 1]!.index
      // A reset was given back: the stored log is not the one that the caller continues.
      else stored = reset === undefined ? Math.min(stored, entries[0]!.index - 1) : 0
      reject(new LogFullError(stored, fault.room, fault.cause))
    }
  }

  /**
   * Lowers the commit index to an entry that the log holds. The state may name an entry that was given back, or one
   * that only exists after a reset that was given back and that follows this state in the queue again.
   */
  private capped(state: HardState, lastIndex: number): HardState {
    return !this.hasGivenBack || state.commit <= lastIndex ? state : { ...state, commit: lastIndex }
  }

  /** What the next batch holds. A state that is only in the reserve goes along. */
  private gather(): Gathered {
    const { reset, hardState, entries, complete } = this.queue.gather(this.full !== undefined)
    const state = hardState ?? (this.durableState === this.loggedState ? undefined : this.durableState)
    const lastIndex = entries.at(-1)?.index ?? reset?.index ?? this.index.lastIndex
    return { reset, hardState: state && this.capped(state, lastIndex), entries, complete }
  }

  private nextBase({ reset, entries }: Gathered): SegmentBase {
    const { index, loggedState: hardState } = this
    if (reset !== undefined) return baseOfSnapshot(reset, hardState)
    return index.baseAt((entries[0]?.index ?? index.lastIndex + 1) - 1, hardState)
  }
}

/** Whether a batch may go into the segment: it is not a reset, and does not begin below the segment's first entry. */
function belongsTo({ firstIndex }: Segment, { reset, entries }: Gathered): boolean {
  return reset === undefined && (entries[0]?.index ?? firstIndex) >= firstIndex
}
