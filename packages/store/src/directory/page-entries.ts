import { ownerPage } from '../state/units.js'
import type { FileId, SessionId } from '../state/view.js'
import { unitOf } from './owner-unit.js'
import { PageEntry, type Copy } from './page-entry.js'
import type { DirectoryState } from './directory-state.js'
import type { PageContention } from './types.js'

const MAX_CONTENDED = 8

/** A page that one session has, and that nobody waits for, costs no more than its copy. */
type Kept = PageEntry | Copy

/** Holds the entries of all pages that a session may hold, waits for, or was told to give up. */
export class PageEntries {
  private readonly files = new Map<FileId, Map<number, Kept>>()

  constructor(private readonly state: DirectoryState) {}

  /** Returns the entry of a page that is not at rest. */
  findActive(file: FileId, page: number): PageEntry | undefined {
    const kept = this.files.get(file)?.get(page)
    return kept instanceof PageEntry ? kept : undefined
  }

  /**
   * Returns the entry of the page, or makes it. For a file that is owned as a whole, that is the entry of the file.
   * Call `settle` when it may have come to rest.
   */
  entry(fileId: FileId, index: number): PageEntry {
    const file = this.state.view.file(fileId)
    const unit = unitOf(file)
    const page = ownerPage(file, index)
    let entries = this.files.get(fileId)
    if (entries === undefined) this.files.set(fileId, (entries = new Map()))
    const kept = entries.get(page)
    if (kept instanceof PageEntry) return kept
    const entry =
      kept === undefined
        ? PageEntry.inherited(fileId, page, unit, unit.inherited(this.state.inheritors(fileId)))
        : PageEntry.restored(fileId, page, unit, kept)
    entries.set(page, entry)
    return entry
  }

  /**
   * The session no longer holds pages of the file that are at rest. Returns the other entries; the caller may change
   * them, and calls `settle` for each.
   */
  closed(session: SessionId, file: FileId): readonly PageEntry[] {
    const isInherited = this.state.isInherited(file)
    const others: PageEntry[] = []
    const entries = this.files.get(file) ?? new Map<number, Kept>()
    for (const [page, kept] of entries) {
      if (kept instanceof PageEntry) others.push(kept)
      else if (kept.session !== session) continue
      else if (isInherited) others.push(this.entry(file, page))
      else entries.delete(page)
    }
    if (entries.size === 0) this.files.delete(file)
    return others
  }

  /**
   * The session has dropped its copy. An entry that no session needs any longer goes. In a file with inheritors, that
   * makes the copyset larger again, but an entry for each page that they have ever read would cost more.
   */
  dropped(session: SessionId, file: FileId, page: number): void {
    const entries = this.files.get(file)
    const kept = entries?.get(page)
    // The entry of a file that is owned as a whole stands for its owner, which may drop single pages.
    if (entries === undefined || kept === undefined || this.state.view.file(file)?.unit !== 'page') return
    if (!(kept instanceof PageEntry)) {
      if (kept.session !== session) return
    } else {
      // An operation waits for the acknowledgments that it has asked for.
      if (kept.operation !== undefined) return
      kept.drop(session)
      if (!kept.idle) return this.settle(kept)
    }
    entries.delete(page)
    if (entries.size === 0) this.files.delete(file)
  }

  /**
   * Returns the entries of the pages from `first` up to but without `end`. The caller may change entries meanwhile, and
   * calls `settle` for each.
   */
  *inRange(file: FileId, first: number, end: number): IterableIterator<PageEntry> {
    for (const page of [...(this.files.get(file)?.keys() ?? [])]) {
      const isInRange = page >= first && page < end
      if (isInRange && this.files.get(file)?.has(page) === true) yield this.entry(file, page)
    }
  }

  fileIds(): FileId[] {
    return [...this.files.keys()]
  }

  /**
   * Keeps of an entry what a new one would lack: nothing if no session holds a copy and none is inherited, or one copy.
   */
  settle(entry: PageEntry): void {
    const { file, page, idle, remainder } = entry
    const entries = this.files.get(file)
    if (entries?.get(page) !== entry) return
    if (remainder !== undefined) {
      entries.set(page, remainder)
    } else if (idle && !this.state.isInherited(file)) {
      entries.delete(page)
      if (entries.size === 0) this.files.delete(file)
    }
  }

  stats(): { readonly pages: number; readonly waiting: number; readonly contended: readonly PageContention[] } {
    let pages = 0
    let waiting = 0
    const contended: PageContention[] = []
    for (const entries of this.files.values()) {
      pages += entries.size
      for (const entry of entries.values()) {
        if (!(entry instanceof PageEntry)) continue
        waiting += entry.waiting
        const { file, page, turns } = entry
        if (turns > 1) contended.push({ file, page, turns })
      }
    }
    contended.sort((a, b) => b.turns - a.turns).splice(MAX_CONTENDED)
    return { pages, waiting, contended }
  }
}
