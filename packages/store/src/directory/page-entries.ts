import { ownerPage } from '../state/units.js'
import type { FileId } from '../state/view.js'
import { unitOf } from './owner-unit.js'
import { PageEntry } from './page-entry.js'
import type { DirectoryState } from './directory-state.js'
import type { PageContention } from './types.js'

const MAX_CONTENDED = 8

/** Holds the entries of all pages that a session may hold, waits for, or was told to give up. */
export class PageEntries {
  private readonly files = new Map<FileId, Map<number, PageEntry>>()

  constructor(private readonly state: DirectoryState) {}

  find(file: FileId, page: number): PageEntry | undefined {
    return this.files.get(file)?.get(page)
  }

  /** Returns the entry of the page, or makes it. For a file that is owned as a whole, that is the entry of the file. */
  entry(fileId: FileId, index: number): PageEntry {
    const file = this.state.view.file(fileId)
    const unit = unitOf(file)
    const page = ownerPage(file, index)
    let entries = this.files.get(fileId)
    if (entries === undefined) this.files.set(fileId, (entries = new Map()))
    let entry = entries.get(page)
    if (entry === undefined) {
      entry = new PageEntry(fileId, page, unit, unit.inherited(this.state.inheritors(fileId)))
      entries.set(page, entry)
    }
    return entry
  }

  /** A copy of the list, so that a caller may change entries while it walks them. */
  ofFile(file: FileId): PageEntry[] {
    return [...(this.files.get(file)?.values() ?? [])]
  }

  fileIds(): FileId[] {
    return [...this.files.keys()]
  }

  /** Drops an entry that a new one would equal: no session holds a copy, and none is inherited. */
  forgetIfIdle(entry: PageEntry): void {
    if (!entry.idle || this.state.isInherited(entry.file)) return
    const entries = this.files.get(entry.file)
    if (entries?.get(entry.page) !== entry) return
    entries.delete(entry.page)
    if (entries.size === 0) this.files.delete(entry.file)
  }

  stats(): { readonly pages: number; readonly waiting: number; readonly contended: readonly PageContention[] } {
    let pages = 0
    let waiting = 0
    const contended: PageContention[] = []
    for (const entries of this.files.values()) {
      pages += entries.size
      for (const entry of entries.values()) {
        waiting += entry.waiting
        const { file, page, turns } = entry
        if (turns > 1) contended.push({ file, page, turns })
      }
    }
    contended.sort((a, b) => b.turns - a.turns).splice(MAX_CONTENDED)
    return { pages, waiting, contended }
  }
}
