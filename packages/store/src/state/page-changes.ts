import { patchPage, type DirtyPageBytes, type PageWrite } from '@quire/protocol'
import type { CommandOf, Unflushed } from './commands.js'
import { DamagedPageError } from './damaged-page.js'
import type { Namespace } from './namespace.js'
import { OwnerBatch } from './owner-batch.js'
import type { Owners } from './owners.js'
import type { StateStore, StoredPage } from './records.js'
import type { Sessions } from './sessions.js'
import { cutPage, endOfPages, firstPageBeyond, isWithin, isWriteOf, ownerPage, releasedPages } from './units.js'
import type { Applied, FileId, FileRecord, PageHandover, PageOwner, SessionId, WrittenPage } from './view.js'
import { isZeros } from './zeros.js'

/** Applies the parts of entries that change pages or their owners. */
export class PageChanges {
  constructor(
    private readonly store: StateStore,
    private readonly namespace: Namespace,
    private readonly sessions: Sessions,
    private readonly owners: Owners
  ) {}

  owner(fileId: FileId, page: number): PageOwner {
    const file = this.namespace.get(fileId)
    return this.owners.get(fileId, ownerPage(file, page))
  }

  handover(index: number, command: CommandOf<'handover'>): Applied {
    const { file, page } = command
    const owners = new OwnerBatch(this.owners)
    const outcomes = command.pages.map((_, i) => this.handOver(index, command, i, owners))
    owners.settle()
    return { type: 'handover', file, page, outcomes }
  }

  private handOver(index: number, command: CommandOf<'handover'>, i: number, owners: OwnerBatch): PageHandover {
    const { file: fileId, from, fromEpoch, to, at } = command
    const page = command.page + i
    const given = command.pages[i]
    const file = this.namespace.get(fileId)
    const before = owners.get(fileId, ownerPage(file, page))
    const done =
      file !== undefined &&
      isWithin(file, page) &&
      before.session === from &&
      before.epoch === fromEpoch &&
      (to === 0 || this.sessions.get(to)?.files.has(fileId) === true) &&
      // Only an owner gives bytes. An owner on record has a live session, because the end of a session releases its
      // pages.
      (given === undefined || (from !== 0 && isWriteOf(file, given) && hasBase(given, before.seq)))
    if (!done) return { done: false }
    // A writeback may have brought the same bytes or newer ones.
    if (given !== undefined && given.seq > before.seq) this.storeWrite(index, file, page, given, at)
    const owner: PageOwner = { session: to, epoch: fromEpoch + 1, seq: 0 }
    owners.set(fileId, ownerPage(file, page), owner)
    return { done: true }
  }

  writeback(index: number, command: CommandOf<'writeback'>): Applied {
    const { session, at } = command
    const owners = new OwnerBatch(this.owners)
    const outcomes = command.pages.map((dirty) => this.writebackPage(index, session, dirty, at, owners))
    owners.settle()
    return { type: 'writeback', session, outcomes }
  }

  private writebackPage(
    index: number,
    session: SessionId,
    write: PageWrite,
    at: number,
    owners: OwnerBatch
  ): WrittenPage {
    const { file: fileId, page, epoch, seq } = write
    const file = this.namespace.get(fileId)
    const owner = owners.get(fileId, ownerPage(file, page))
    const isOwner = session !== 0 && owner.session === session && owner.epoch === epoch
    const outcome = { file: fileId, page, epoch, seq }
    if (file === undefined || !isOwner || !isWithin(file, page) || !isWriteOf(file, write)) {
      return { ...outcome, result: 'stale' }
    }
    // The same writeback again, or a newer one has overtaken it.
    if (seq <= owner.seq) return { ...outcome, result: 'stored' }
    if (!hasBase(write, owner.seq)) return { ...outcome, result: 'base' }
    owners.set(fileId, ownerPage(file, page), { session, epoch, seq })
    const isStored = this.storeWrite(index, file, page, write, at)
    return { ...outcome, result: 'stored', ...(isStored ? {} : { isLost: true }) }
  }

  /** Stores the page, or patches the stored page with the diff. Returns false if the page is lost. */
  private storeWrite(
    index: number,
    file: FileRecord,
    page: number,
    { seq, ranges, bytes }: Unflushed,
    at: number
  ): boolean {
    if (ranges === undefined) {
      this.storePage(index, file, page, bytes.slice(), at)
      return true
    }
    return this.changeStored(index, file, page, at, (stored) => {
      // The writeback before has stored the page.
      if (stored === undefined && seq > 1) {
        throw new DamagedPageError(`page ${page} of file ${file.id}`, 'its rows are missing', file.id, page)
      }
      const patched = copyOf(stored, file.pageSize)
      patchPage(patched, { ranges, bytes })
      return patched
    })
  }

  /** Shrinks or grows the file. Stores the owner's bytes of the page that the new end cuts, and releases that page. */
  truncate(index: number, file: FileRecord, { size, tail, at }: CommandOf<'truncate'>): void {
    const { id, pageSize } = file
    const shrinks = size < file.size
    const cut = cutPage(size, pageSize)
    if (cut !== undefined) {
      const given = tail === undefined ? undefined : this.newBytes(file, cut, tail)
      if (given !== undefined) this.storePage(index, file, cut, given.slice(), at, Math.min(size, file.size))
      else if (shrinks) this.cutStored(index, file, cut, at, size)
      this.release(file, cut, cut + 1)
    }
    if (shrinks) this.discard(file, firstPageBeyond(size, pageSize), endOfPages(pageSize))
    if (size === file.size) return
    this.namespace.change(id, { version: index, modifiedAt: at, size, discards: file.discards + (shrinks ? 1 : 0) })
  }

  /** Stores zeros beyond the new end in the page, because they must appear if the file grows again. */
  private cutStored(index: number, file: FileRecord, page: number, at: number, size: number): void {
    this.changeStored(index, file, page, at, (stored) => stored && copyOf(stored, file.pageSize), size)
  }

  /**
   * Stores what `change` makes of the stored page; nothing if that is undefined. A hole is no stored page. Returns
   * false if the stored page is damaged.
   */
  private changeStored(
    index: number,
    file: FileRecord,
    page: number,
    at: number,
    change: (stored: StoredPage | undefined) => Uint8Array | undefined,
    size = file.size
  ): boolean {
    try {
      const bytes = change(this.store.read(file.id, page))
      if (bytes !== undefined) this.storePage(index, file, page, bytes, at, size)
      return true
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      // Other peers apply this entry to good bytes, and their page has the same version afterwards.
      this.store.lose(file.id, page, index)
      this.namespace.change(file.id, { version: index, modifiedAt: at })
      return false
    }
  }

  /** Makes holes of the pages from `first` up to but without `end`, which read as zeros from now on. */
  punch(index: number, file: FileRecord, first: number, end: number, at: number): void {
    if (first >= end) return
    this.discard(file, first, end)
    this.namespace.change(file.id, { version: index, modifiedAt: at, discards: file.discards + 1 })
  }

  /** Removes a file that no session maps and no path leads to. */
  removeUnused(id: FileId): void {
    const file = this.namespace.get(id)
    if (file !== undefined && !file.linked && file.sessions.size === 0) this.removeFile(file)
  }

  private removeFile(file: FileRecord): void {
    this.owners.removeFile(file.id)
    this.store.remove(file.id, 0, endOfPages(file.pageSize))
    this.namespace.remove(file)
  }

  private discard(file: FileRecord, first: number, end: number): void {
    this.release(file, first, end)
    this.store.remove(file.id, first, end)
  }

  // A late writeback of the old owner has an old epoch, even if the page exists again.
  private release(file: FileRecord, first: number, end: number): void {
    const released = releasedPages(file, first, end)
    this.owners.releaseRange(file.id, released.first, released.end)
  }

  /** Returns the bytes of `tail` if they come from the owner of the page and are newer than the stored ones. */
  private newBytes(file: FileRecord, page: number, tail: DirtyPageBytes): Uint8Array | undefined {
    const owner = this.owner(file.id, page)
    const isOwners = owner.session !== 0 && owner.epoch === tail.epoch
    const fits = tail.file === file.id && tail.page === page && tail.bytes.length === file.pageSize
    return isOwners && fits && tail.seq > owner.seq ? tail.bytes : undefined
  }

  /** `stored` becomes the page's: it is no view of an entry, which may be part of a much larger buffer. */
  private storePage(
    index: number,
    file: FileRecord,
    page: number,
    stored: Uint8Array,
    at: number,
    size = file.size
  ): void {
    // Zeros beyond the end, or a file that grows would show these bytes.
    const end = size - page * file.pageSize
    if (end < stored.length) stored.fill(0, Math.max(0, end))
    // Each peer must decide alike, so only the bytes count.
    this.store.write(file.id, page, { version: index, bytes: isZeros(stored) ? undefined : stored })
    this.namespace.change(file.id, { version: index, modifiedAt: at })
  }
}

/** The bytes of the page, to be changed. A hole is zeros. */
function copyOf(stored: StoredPage | undefined, pageSize: number): Uint8Array {
  return stored?.bytes === undefined ? new Uint8Array(pageSize) : new Uint8Array(stored.bytes)
}

/** Whether the page of writeback `stored` is what the write is based on. A write that is not newer needs no base. */
function hasBase({ seq, ranges }: Unflushed, stored: number): boolean {
  return ranges === undefined || seq <= stored + 1
}
