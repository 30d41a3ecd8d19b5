/** The entries of all pages that somebody may hold, waits for, or is asked about. */
import { ownerPage } from '../state/units.js'
import type { FileId } from '../state/view.js'
import { PageEntry } from './page-entry.js'
import type { Term } from './term.js'
import type { PageContention } from './types.js'

const MAX_CONTENDED = 8

export class PageTable {
  private readonly files = new Map<FileId, Map<number, PageEntry>>()

  constructor(private readonly term: Term) {}

  find(file: FileId, page: number): PageEntry | undefined {
    return this.files.get(file)?.get(page)
  }

  /** The page's entry; the file's, where it is owned as a whole. */
  entry(fileId: FileId, index: number): PageEntry {
    const file = this.term.view.file(fileId)
    const page = file === undefined ? index : ownerPage(file, index)
    let entries = this.files.get(fileId)
    if (entries === undefined) this.files.set(fileId, (entries = new Map()))
    let entry = entries.get(page)
    if (entry === undefined) {
      const isWhole = file?.unit === 'file'
      // Of a file that is owned as a whole nobody but its owner holds anything.
      entry = new PageEntry(fileId, page, isWhole, isWhole ? [] : this.term.inheritors(fileId))
      entries.set(page, entry)
    }
    return entry
  }

  /** As they are now: later changes do not matter to who walks them. */
  ofFile(file: FileId): PageEntry[] {
    return [...(this.files.get(file)?.values() ?? [])]
  }

  fileIds(): FileId[] {
    return [...this.files.keys()]
  }

  /** An entry may go only when a new one would say the same: nobody holds a copy, nobody is inherited. */
  forgetIfIdle(entry: PageEntry): void {
    if (!entry.idle || this.term.isInherited(entry.file)) return
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
