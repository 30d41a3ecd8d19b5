import { assert } from '@quire/protocol'
import type { StateRecord, StateStore } from './records.js'
import { RunMap, type Run } from './run-map.js'
import type { FileId, PageOwner, SessionId } from './view.js'
import { PairMap } from './pair-map.js'

/**
 * The limit of runs of released pages, unless a test sets another one. A change of the limit changes the meaning of a
 * log: raise COMMAND_VERSION.
 */
export const MAX_RELEASED = 16_384

/**
 * Records the owner of each page with the epoch of its ownership.
 *
 * Neighboring pages that have the same owner, epoch and sequence number are a *run*, which has one record, in memory as
 * on disk. Clients take, write and release ranges, so a session that owns a million neighboring pages costs a few
 * records.
 *
 * The epoch of a page rises by one at each transfer, including a release to nobody, and never repeats. It is a fencing
 * token: a writeback or handover names a session and an epoch, and applies only while exactly that ownership lasts. A
 * handover from nobody names an epoch too. If all unowned pages had epoch 0, a handover that was proposed before a page
 * was owned and released would apply a second time.
 *
 * Epochs therefore outlive ownerships, but memory must not grow with each page that was ever owned. A released run
 * keeps its record for a while. When there are more than `maxReleased` such runs, because pages were released or a
 * session took pages out of the middle of a released run, `Owners` forgets all of them and raises `floor` to the
 * highest epoch among them. A page without a record has the floor as its epoch, so its epoch
 * never falls, and its next owner gets a new one. Because all records go at once, the floor rarely moves. A handover
 * from nobody that is in the log when the floor moves fails (`done: false`), and its proposer repeats it with the new
 * epoch.
 *
 * All of this is a function of the log alone. The limit is part of the meaning of a log, and equal on all peers. The
 * order of files in memory differs between peers: a restart changes it. So runs are counted only when all pages of a
 * release are released.
 */
export class Owners {
  /** By file. Includes released pages, whose session is 0. */
  private readonly files = new Map<FileId, RunMap<PageOwner>>()
  /** How many pages of each file a session owns. */
  private readonly counts = new PairMap<number>()
  /** Number of pages with an owner. */
  private ownedPages = 0
  /** Number of runs without an owner. */
  private releasedRuns = 0
  private floor = 0

  constructor(
    private readonly store: StateStore,
    private readonly maxReleased = MAX_RELEASED
  ) {}

  get(file: FileId, page: number): PageOwner {
    return this.files.get(file)?.get(page) ?? { session: 0, epoch: this.floor, seq: 0 }
  }

  /** Number of pages with an owner. */
  get owned(): number {
    return this.ownedPages
  }

  /**
   * Records the owner of the pages from `first` up to but without `end`: another one, under the next epoch, or the same
   * one with the sequence number of its newest writeback.
   */
  assign(file: FileId, first: number, end: number, owner: PageOwner): void {
    this.set(file, first, end, owner)
    this.limitReleased()
  }

  /** Releases the pages of `file` that `session` owns. */
  releaseFile(session: SessionId, file: FileId): void {
    this.releaseOwned(session, file)
    this.limitReleased()
  }

  /** Releases the pages from `first` up to but without `end`. */
  releaseRange(file: FileId, first: number, end: number): void {
    const runs = [...(this.files.get(file)?.within(first, end) ?? [])]
    for (const run of runs) if (run.value.session !== 0) this.release(file, run)
    this.limitReleased()
  }

  /**
   * Forgets the pages of a file, none of which has an owner. The id of a file never returns, so no epoch can repeat.
   */
  removeFile(file: FileId): void {
    for (const run of [...(this.files.get(file)?.runs() ?? [])]) {
      const { session } = run.value
      assert(session === 0, `session ${session} owns page ${file}:${run.first} of a file that is removed`)
      this.set(file, run.first, run.end, undefined)
    }
  }

  /** Releases all pages that `session` owns. */
  releaseSession(session: SessionId): void {
    for (const file of [...this.counts.inner(session).keys()]) this.releaseOwned(session, file)
    this.limitReleased()
  }

  clear(): void {
    this.files.clear()
    this.counts.clear()
    this.ownedPages = 0
    this.releasedRuns = 0
    this.floor = 0
  }

  restore(file: FileId, first: number, { count, session, epoch, seq }: PageOwner & { readonly count: number }): void {
    const changed = (gone: Run<PageOwner> | undefined, run?: Run<PageOwner>): void => this.changed(file, gone, run)
    this.runsOf(file).set(first, first + count, { session, epoch, seq }, changed)
  }

  restoreFloor(epoch: number): void {
    this.floor = epoch
  }

  *records(): IterableIterator<StateRecord> {
    if (this.floor > 0) yield { kind: 'epochFloor', a: 0, b: 0, value: { epoch: this.floor } }
    for (const [a, runs] of this.files) {
      for (const run of runs.runs()) yield { kind: 'owner', a, b: run.first, value: recordOf(run) }
    }
  }

  /** Looks at the runs of the file until it has found all that the session owns. */
  private releaseOwned(session: SessionId, file: FileId): void {
    let left = this.counts.get(session, file) ?? 0
    const owned: Run<PageOwner>[] = []
    for (const run of this.files.get(file)?.runs() ?? []) {
      if (left === 0) break
      if (run.value.session !== session) continue
      owned.push(run)
      left -= run.end - run.first
    }
    for (const run of owned) this.release(file, run)
  }

  private release(file: FileId, { first, end, value }: Run<PageOwner>): void {
    this.set(file, first, end, { session: 0, epoch: value.epoch + 1, seq: 0 })
  }

  private set(file: FileId, first: number, end: number, owner: PageOwner | undefined): void {
    const gone = new Set<number>()
    const runs = this.runsOf(file)
    runs.set(first, end, owner, (old, run) => {
      this.changed(file, old, run)
      if (old !== undefined) gone.add(old.first)
      if (run === undefined) return
      gone.delete(run.first)
      this.store.put('owner', file, run.first, recordOf(run))
    })
    for (const at of gone) this.store.put('owner', file, at, undefined)
    if (runs.size === 0) this.files.delete(file)
  }

  /** A run is gone or cut, or took the place of another. */
  private changed(file: FileId, gone: Run<PageOwner> | undefined, run: Run<PageOwner> | undefined): void {
    if (gone !== undefined) this.add(file, gone, -1)
    if (run !== undefined) this.add(file, run, 1)
  }

  private add(file: FileId, { first, end, value: { session } }: Run<PageOwner>, sign: 1 | -1): void {
    if (session === 0) {
      this.releasedRuns += sign
      return
    }
    const pages = sign * (end - first)
    this.ownedPages += pages
    const count = (this.counts.get(session, file) ?? 0) + pages
    assert(count >= 0, `session ${session} owns ${count} pages of file ${file}`)
    if (count > 0) this.counts.set(session, file, count)
    else this.counts.delete(session, file)
  }

  private limitReleased(): void {
    if (this.releasedRuns <= this.maxReleased) return
    for (const [file, runs] of this.files) {
      for (const { first, end, value } of runs.withValue(({ session }) => session === 0)) {
        this.floor = Math.max(this.floor, value.epoch)
        this.set(file, first, end, undefined)
      }
    }
    this.store.put('epochFloor', 0, 0, { epoch: this.floor })
  }

  private runsOf(file: FileId): RunMap<PageOwner> {
    let runs = this.files.get(file)
    if (runs === undefined) this.files.set(file, (runs = new RunMap(isSameOwner)))
    return runs
  }
}

function recordOf({ first, end, value }: Run<PageOwner>): PageOwner & { readonly count: number } {
  return { ...value, count: end - first }
}

export function isSameOwner(a: PageOwner, b: PageOwner): boolean {
  return a.session === b.session && a.epoch === b.epoch && a.seq === b.seq
}
