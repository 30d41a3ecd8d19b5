/** Pages that the program reads again after each change (docs/coherence.md, "Read-ahead"). */
import type { Page } from './page.js'

/** The program has read so many versions of the page in a row, each before the next one came. */
const VERSIONS = 2
/** Pages that the client remembers. */
const MAX_REMEMBERED = 4096

/**
 * Learns which pages the program reads again whenever another client has changed them.
 *
 * The client asks for the next version of such a page when its copy is invalidated, before the program does.
 */
export class Refetches {
  /** Versions that the program has read, one after the other, by page. The least recently invalidated comes first. */
  private readonly read = new Map<string, number>()

  /** The page's copy is about to go. Returns true if the program will probably read the next version. */
  invalidated(page: Page): boolean {
    const key = `${page.file}:${page.index}`
    const before = this.read.get(key) ?? 0
    this.read.delete(key)
    // It came before the program needed it, and the program did not need it.
    if (page.access === 'invalid' || page.readAhead !== undefined) return false
    const now = Math.min(VERSIONS, before + 1)
    this.read.set(key, now)
    if (this.read.size > MAX_REMEMBERED) this.read.delete(this.read.keys().next().value!)
    return now === VERSIONS
  }
}
