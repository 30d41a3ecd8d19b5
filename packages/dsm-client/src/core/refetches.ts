/** Pages that the program reads after each change (docs/coherence.md, Read-ahead; Munin's producer-consumer pages). */
import type { Page } from './page.js'

/** The client asks for the next version once the program has read so many in a row. */
const VERSIONS = 2
/** Pages that the client remembers. */
const MAX_REMEMBERED = 4096
/**
 * Pages that may be on their way at a time. Each has a frame and a place among the faults while it waits for the
 * writer, and other accesses must not wait for it, too.
 */
const MAX_ASKED = 64
const CACHE_SHARE = 1 / 8

/** Learns which pages the program reads again and again while another client changes them. */
export class Refetches {
  /** Versions in a row that the program has read, by page. The least recently invalidated page comes first. */
  private readonly versionsRead = new Map<string, number>()
  private readonly asked = new Set<Page>()

  /** `cacheBytes`: the size of all frames. */
  constructor(private readonly cacheBytes: number) {}

  /** The page's copy is about to go. Returns whether the program will probably read the next version. */
  invalidated({ file, index, access, readAhead }: Page): boolean {
    const key = `${file}:${index}`
    const before = this.versionsRead.get(key) ?? 0
    this.versionsRead.delete(key)
    // A page that came ahead of the program, and that the program has not read.
    if (access === 'invalid' || readAhead !== undefined) return false
    this.versionsRead.set(key, Math.min(VERSIONS, before + 1))
    if (this.versionsRead.size > MAX_REMEMBERED) this.versionsRead.delete(this.versionsRead.keys().next().value!)
    return before + 1 >= VERSIONS
  }

  /** Whether the page may be asked for now, beside those that are on their way. */
  hasRoom({ pageSize }: Page): boolean {
    for (const page of this.asked) if (!isOnItsWay(page)) this.asked.delete(page)
    const most = Math.min(MAX_ASKED, (this.cacheBytes * CACHE_SHARE) / pageSize)
    return this.asked.size + 1 <= most
  }

  ask(page: Page): void {
    this.asked.add(page)
  }
}

function isOnItsWay({ req, waiters }: Page): boolean {
  return req !== 0 || waiters.length > 0
}
