/**
 * Who owns which page, and under which epoch.
 *
 * A page's epoch rises by one at each transfer (a release to nobody is one) and is never used again, which is what makes it a
 * fencing token: a writeback or handover that names (session, epoch) can apply only while exactly that ownership lasts. A
 * handover from nobody names an epoch as well; were unowned pages compared as epoch 0, one that was proposed before a page was
 * owned and released again would apply a second time.
 *
 * So epochs must outlive ownerships, yet memory must not grow with every page that was ever owned. A released page keeps its
 * record for a while. When more than MAX_RELEASED of them are held, all are forgotten at once, and `floor` rises to the highest
 * epoch among them: a page without a record stands at the floor, so its epoch never goes back and its next owner gets one that it
 * never had. Forgetting all at once makes the floor move rarely. A handover from nobody that was on its way when the floor moved
 * is refused (`done: false`) and has to be proposed anew with the epoch that now holds.
 *
 * All of this is a function of the log alone: the limit is part of the state's meaning and the same on every peer.
 */
import type { StateRecord, StateStore } from './records.js'
import type { FileId, PageOwner, SessionId } from './view.js'
import { PairMap } from './pair-map.js'

/** Changing it changes what a log means: raise COMMAND_VERSION with it. */
export const MAX_RELEASED = 16_384

export class Owners {
  /** With released pages, whose session is 0. */
  private readonly table = new PairMap<PageOwner>()
  private readonly bySession = new Map<SessionId, PairMap<true>>()
  private readonly released = new PairMap<true>()
  private floor = 0

  constructor(private readonly store: StateStore) {}

  get(file: FileId, page: number): PageOwner {
    return this.table.get(file, page) ?? { session: 0, epoch: this.floor, seq: 0 }
  }

  /** Pages with an owner. */
  get owned(): number {
    return this.table.size - this.released.size
  }

  /** Gives the page to `to`, 0 for nobody, under the next epoch. */
  transfer(file: FileId, page: number, to: SessionId): PageOwner {
    const before = this.get(file, page)
    this.detach(file, page, before.session)
    const owner = this.attach(file, page, { session: to, epoch: before.epoch + 1, seq: 0 })
    this.store.put('owner', file, page, owner)
    if (this.released.size > MAX_RELEASED) this.forgetReleased()
    return this.get(file, page)
  }

  /** The owner's writeback `seq` was applied. */
  written(file: FileId, page: number, seq: number): void {
    const owner: PageOwner = { ...this.get(file, page), seq }
    this.table.set(file, page, owner)
    this.store.put('owner', file, page, owner)
  }

  releaseFile(session: SessionId, file: FileId): void {
    for (const page of [...(this.bySession.get(session)?.inner(file).keys() ?? [])]) this.transfer(file, page, 0)
  }

  /** Takes the pages from `first` up to but without `end` from their owners. */
  releaseRange(file: FileId, first: number, end: number): void {
    const owned: number[] = []
    for (const [page, { session }] of this.table.inner(file)) {
      if (session !== 0 && page >= first && page < end) owned.push(page)
    }
    for (const page of owned) this.transfer(file, page, 0)
  }

  /** The file is gone, and its id never comes back: nothing has to be remembered of its pages. Nobody owns one. */
  removeFile(file: FileId): void {
    for (const page of [...this.table.inner(file).keys()]) {
      this.table.delete(file, page)
      this.released.delete(file, page)
      this.store.put('owner', file, page, undefined)
    }
  }

  releaseSession(session: SessionId): void {
    for (const [file, page] of [...(this.bySession.get(session)?.entries() ?? [])]) this.transfer(file, page, 0)
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
