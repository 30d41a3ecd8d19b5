import type { StateRecord, StateStore } from './records.js'
import type { FileId, PageOwner, SessionId } from './view.js'
import { PairMap } from './pair-map.js'

/** Limits the records of released pages. A change of the limit changes the meaning of a log: raise COMMAND_VERSION. */
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
 * keeps its record for a while. When there are more than MAX_RELEASED such records, `Owners` forgets all of them and
 * raises `floor` to the highest epoch among them. A page without a record has the floor as its epoch, so its epoch
 * never falls, and its next owner gets a new one. Because all records go at once, the floor rarely moves. A handover
 * from nobody that is in the log when the floor moves fails (`done: false`), and its proposer repeats it with the new
 * epoch.
 *
 * All of this is a function of the log alone. The limit is part of the meaning of a log, and equal on all peers.
 */
export class Owners {
  /** Includes released pages, whose session is 0. */
  private readonly table = new PairMap<PageOwner>()
  private readonly bySession = new Map<SessionId, PairMap<true>>()
  private readonly released = new PairMap<true>()
  private floor = 0

  constructor(private readonly store: StateStore) {}

  get(file: FileId, page: number): PageOwner {
    return this.table.get(file, page) ?? { session: 0, epoch: this.floor, seq: 0 }
  }

  /** Number of pages with an owner. */
  get owned(): number {
    return this.table.size - this.released.size
  }

  /** Gives the page to session `to` (0 for nobody) under the next epoch. */
  transfer(file: FileId, page: number, to: SessionId): PageOwner {
    const before = this.get(file, page)
    this.detach(file, page, before.session)
    const owner = this.attach(file, page, { session: to, epoch: before.epoch + 1, seq: 0 })
    this.store.put('owner', file, page, owner)
    if (this.released.size > MAX_RELEASED) this.forgetReleased()
    return this.get(file, page)
  }

  /** Records that the owner's writeback `seq` was applied. */
  written(file: FileId, page: number, seq: number): void {
    const owner: PageOwner = { ...this.get(file, page), seq }
    this.table.set(file, page, owner)
    this.store.put('owner', file, page, owner)
  }

  /** Releases the pages of `file` that `session` owns. */
  releaseFile(session: SessionId, file: FileId): void {
    for (const page of [...(this.bySession.get(session)?.inner(file).keys() ?? [])]) this.transfer(file, page, 0)
  }

  /** Releases the pages from `first` up to but without `end`. */
  releaseRange(file: FileId, first: number, end: number): void {
    const owned: number[] = []
    for (const [page, { session }] of this.table.inner(file)) {
      if (session !== 0 && page >= first && page < end) owned.push(page)
    }
    for (const page of owned) this.transfer(file, page, 0)
  }

  /**
   * Forgets the pages of a file, none of which has an owner. The id of a file never returns, so no epoch can repeat.
   */
  removeFile(file: FileId): void {
    for (const page of [...this.table.inner(file).keys()]) {
      this.table.delete(file, page)
      this.released.delete(file, page)
      this.store.put('owner', file, page, undefined)
    }
  }

  /** Releases all pages that `session` owns. */
  releaseSession(session: SessionId): void {
    for (const [file, page] of [...(this.bySession.get(session)?.entries() ?? [])]) this.transfer(file, page, 0)
  }

  clear(): void {
    this.table.clear()
    this.bySession.clear()
    this.released.clear()
    this.floor = 0
  }

  restore(file: FileId, page: number, owner: PageOwner): void {
    this.attach(file, page, owner)
  }

  restoreFloor(epoch: number): void {
    this.floor = epoch
  }

  *records(): IterableIterator<StateRecord> {
    if (this.floor > 0) yield { kind: 'epochFloor', a: 0, b: 0, value: { epoch: this.floor } }
    for (const [a, b, value] of this.table.entries()) yield { kind: 'owner', a, b, value }
  }

  private attach(file: FileId, page: number, owner: PageOwner): PageOwner {
    this.table.set(file, page, owner)
    if (owner.session === 0) {
      this.released.set(file, page, true)
    } else {
      let pages = this.bySession.get(owner.session)
      if (pages === undefined) this.bySession.set(owner.session, (pages = new PairMap()))
      pages.set(file, page, true)
    }
    return owner
  }

  private detach(file: FileId, page: number, session: SessionId): void {
    if (session === 0) {
      this.released.delete(file, page)
      return
    }
    const pages = this.bySession.get(session)
    pages?.delete(file, page)
    if (pages?.size === 0) this.bySession.delete(session)
  }

  private forgetReleased(): void {
    for (const [file, page] of [...this.released.entries()]) {
      const record = this.table.delete(file, page)
      this.floor = Math.max(this.floor, record?.epoch ?? 0)
      this.released.delete(file, page)
      this.store.put('owner', file, page, undefined)
    }
    this.store.put('epochFloor', 0, 0, { epoch: this.floor })
  }
}
