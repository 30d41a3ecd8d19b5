/** Tells the leader which clean pages this client has dropped (docs/coherence.md, Dropped copies). */
import { MAX_DROPPED_RUNS, MAX_RUN_PAGES, type ClientMessage } from '@quire/protocol'
import type { Page } from './page.js'

interface Run {
  readonly page: number
  readonly count: number
}

export interface DroppedCopiesInit {
  /** The sizes of all pages that are dropped and not told. */
  readonly maxBytes: number
  /** Whether the client has access to the page, or has asked for it. */
  readonly isHeld: (file: number, index: number) => boolean
  readonly send: (message: ClientMessage) => void
}

/** Collects dropped pages, and sends them many at a time: the leader has no use for a message about each. */
export class DroppedCopies {
  private readonly files = new Map<number, { readonly pageSize: number; readonly pages: Set<number> }>()
  private bytes = 0

  constructor(private readonly init: DroppedCopiesInit) {}

  add({ file, index, pageSize }: Page): void {
    let dropped = this.files.get(file)
    if (dropped === undefined) this.files.set(file, (dropped = { pageSize, pages: new Set() }))
    if (dropped.pages.has(index)) return
    dropped.pages.add(index)
    this.bytes += pageSize
    if (this.bytes >= this.init.maxBytes) this.tell()
  }

  /** The leader forgets a file that this client closes, by itself. */
  forgetFile(file: number): void {
    const { pageSize = 0, pages } = this.files.get(file) ?? {}
    this.bytes -= pageSize * (pages?.size ?? 0)
    this.files.delete(file)
  }

  /** Another leader knows of no copies that this client has had. */
  forget(): void {
    this.files.clear()
    this.bytes = 0
  }

  private tell(): void {
    for (const [file, { pages }] of this.files) {
      const gone = [...pages].filter((index) => !this.init.isHeld(file, index))
      const runs = runsOf(gone.sort((a, b) => a - b))
      for (let at = 0; at < runs.length; at += MAX_DROPPED_RUNS) {
        this.init.send({ type: 'dropped', file, runs: runs.slice(at, at + MAX_DROPPED_RUNS) })
      }
    }
    this.forget()
  }
}

/** Joins neighbors. The pages are in ascending order. */
function runsOf(pages: readonly number[]): Run[] {
  const runs: Run[] = []
  for (const page of pages) {
    const last = runs.at(-1)
    if (last !== undefined && last.page + last.count === page && last.count < MAX_RUN_PAGES) {
      runs[runs.length - 1] = { page: last.page, count: last.count + 1 }
    } else runs.push({ page, count: 1 })
  }
  return runs
}
