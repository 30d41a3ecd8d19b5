import { assert } from '@quire/protocol'
import type { StateRecord, StateStore } from './records.js'
import type { FileId, PageOwner, SessionId } from './view.js'
import { PairMap } from './pair-map.js'

/**
 * The limit of records of released pages, unless a test sets another one. A change of the limit changes the meaning of
 * a log: raise COMMAND_VERSION.
 */
export const MAX_RELEASED = 16_384

/**
 * Records the owner of each page with the epoch of its ownership.
 *
 * The epoch of a page rises by one at each transfer, including a release to nobody, and never repeats. It is a fencing
 * token: a writeback or handover names a session and an epoch, and applies only while exactly that ownership lasts. A
 * handover from nobody names an epoch too. If all unowned pages had epoch 0, a handover that was proposed before a page
 * was owned and released would apply a second time.
 *
 * Epochs therefore outlive ownerships, but memory must not grow with each page that was ever owned. A released page
 * keeps its record for a while. When there are more than `maxReleased` such records, `Owners` forgets all of them and
 * raises `floor` to the highest epoch among them. A page without a record has the floor as its epoch, so its epoch
 * never falls, and its next owner gets a new one. Because all records go at once, the floor rarely moves. A handover
 * from nobody that is in the log when the floor moves fails (`done: false`), and its proposer repeats it with the new
 * epoch.
 *
 * All of this is a function of the log alone. The limit is part of the meaning of a log, and equal on all peers. The
 * order of pages in memory differs between peers: a restart changes it. So an entry that releases many pages keeps the
 * records of all of them, or of none.
 */
export class Owners {
  /** Includes released pages, whose session is 0. */
  private readonly table = new PairMap<PageOwner>()
  /** How many pages of each file a session owns. */
  private readonly counts = new PairMap<number>()
  private readonly released = new PairMap<true>()
  private floor = 0
  private last: PageOwner = { session: 0, epoch: 0, seq: 0 }

  constructor(
    private readonly store: StateStore,
    private readonly maxReleased = MAX_RELEASED
  ) {}

  get(file: FileId, page: number): PageOwner {
    return this.table.get(file, page) ?? { session: 0, epoch: this.floor, seq: 0 }
  }

  /** Number of pages with an owner. */
  get owned(): number {
    return this.table.size - this.released.size
  }

  /** Gives the page to session `to` (0 for nobody) under the next epoch. */
  transfer(file: FileId, page: number, to: SessionId): PageOwner {
    this.give(file, page, to)
    if (this.released.size > this.maxReleased) this.forgetReleased()
    return this.get(file, page)
  }

  /** Records that the owner's writeback `seq` was applied. */
  written(file: FileId, page: number, seq: number): void {
    const owner = this.shared({ ...this.get(file, page), seq })
    this.table.set(file, page, owner)
    this.store.put('owner', file, page, owner)
  }

  /** Releases the pages of `file` that `session` owns. */
  releaseFile(session: SessionId, file: FileId): void {
    this.releaseOwned(session, [file])
  }

  /** Releases the pages from `first` up to but without `end`. */
  releaseRange(file: FileId, first: number, end: number): void {
    const owned: [FileId, number][] = []
    for (const [page, { session }] of this.table.inner(file)) {
      if (session !== 0 && page >= first && page < end) owned.push([file, page])
    }
    this.release(owned.length, owned)
  }

  /**
   * Forgets the pages of a file, none of which has an owner. The id of a file never returns, so no epoch can repeat.
   */
  removeFile(file: FileId): void {
    for (const [page, { session }] of this.table.inner(file)) {
      assert(session === 0, `session ${session} owns page ${file}:${page} of a file that is removed`)
      this.forget(file, page)
    }
  }

  /** Releases all pages that `session` owns. */
  releaseSession(session: SessionId): void {
    this.releaseOwned(session, [...this.counts.inner(session).keys()])
  }

  clear(): void {
    this.table.clear()
    this.counts.clear()
    this.released.clear()
    this.floor = 0
  }

  restore(file: FileId, page: number, owner: PageOwner): void {
    this.attach(file, page, this.shared(owner))
  }

  restoreFloor(epoch: number): void {
    this.floor = epoch
  }

  *records(): IterableIterator<StateRecord> {
    if (this.floor > 0) yield { kind: 'epochFloor', a: 0, b: 0, value: { epoch: this.floor } }
    for (const [a, b, value] of this.table.entries()) yield { kind: 'owner', a, b, value }
  }

  private releaseOwned(session: SessionId, files: readonly FileId[]): void {
    const count = files.reduce((sum, file) => sum + (this.counts.get(session, file) ?? 0), 0)
    this.release(count, this.pagesOf(session, files))
  }

  /** Looks at the pages of a file until it has found all that the session owns. */
  private *pagesOf(session: SessionId, files: Iterable<FileId>): IterableIterator<[FileId, number]> {
    for (const file of files) {
      let left = this.counts.get(session, file) ?? 0
      if (left === 0) continue
      for (const [page, owner] of this.table.inner(file)) {
        if (owner.session !== session) continue
        yield [file, page]
        if (--left === 0) break
      }
    }
  }

  /** Releases `count` pages. The result does not depend on their order. */
  private release(count: number, pages: Iterable<[FileId, number]>): void {
    if (this.released.size + count <= this.maxReleased) {
      for (const [file, page] of pages) this.give(file, page, 0)
      return
    }
    for (const [file, page] of pages) {
      const { session, epoch } = this.get(file, page)
      this.floor = Math.max(this.floor, epoch + 1)
      this.detach(file, page, session)
      this.forget(file, page)
    }
    this.forgetReleased()
  }

  private give(file: FileId, page: number, to: SessionId): void {
    const { session, epoch } = this.get(file, page)
    this.detach(file, page, session)
    const owner = this.shared({ session: to, epoch: epoch + 1, seq: 0 })
    this.attach(file, page, owner)
    this.store.put('owner', file, page, owner)
  }

  private attach(file: FileId, page: number, owner: PageOwner): void {
    this.table.set(file, page, owner)
    if (owner.session === 0) this.released.set(file, page, true)
    else this.counts.set(owner.session, file, (this.counts.get(owner.session, file) ?? 0) + 1)
  }

  private detach(file: FileId, page: number, session: SessionId): void {
    if (session === 0) {
      this.released.delete(file, page)
      return
    }
    const count = this.counts.get(session, file) ?? 0
    assert(count > 0, `session ${session} owns no page of file ${file}, and is to give up page ${page}`)
    if (count > 1) this.counts.set(session, file, count - 1)
    else this.counts.delete(session, file)
  }

  /** Pages that are written together have equal owners, and share one record to save memory. */
  private shared(owner: PageOwner): PageOwner {
    const { session, epoch, seq } = this.last
    if (owner.session !== session || owner.epoch !== epoch || owner.seq !== seq) this.last = owner
    return this.last
  }

  private forget(file: FileId, page: number): void {
    this.table.delete(file, page)
    this.released.delete(file, page)
    this.store.put('owner', file, page, undefined)
  }

  private forgetReleased(): void {
    for (const [file, page] of this.released.entries()) {
      this.floor = Math.max(this.floor, this.table.get(file, page)!.epoch)
      this.forget(file, page)
    }
    this.store.put('epochFloor', 0, 0, { epoch: this.floor })
  }
}
