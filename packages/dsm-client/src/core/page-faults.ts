/** Faults on their way to the leader, with its grants (docs/coherence.md, rules 4 and 13). */
import {
  assert,
  errorFromWire,
  type Access,
  type ClientMessage,
  type GrantedPage,
  type LeaderMessageOf
} from '@quire/protocol'
import type { DiscardedRanges } from './discarded-ranges.js'
import type { Page } from './page.js'
import type { PageTable } from './page-table.js'
import type { CoherenceCounters } from './stats.js'

export type FaultKind = 'read' | 'write' | 'upgrade'

export interface PageFaultsInit {
  readonly table: PageTable
  readonly discards: DiscardedRanges
  readonly counters: CoherenceCounters
  readonly now: () => number
  readonly send: (message: ClientMessage) => void
  readonly onSent: (req: number, kind: FaultKind) => void
  readonly onDone: (req: number) => void
  /** The bytes in the frame are durable, or belong to another owner. */
  readonly clean: (page: Page) => void
  /** See `PageBackend.released`. */
  readonly released: (page: Page) => void
}

/** Matches the leader's grants with the faults that this client has sent. */
export class PageFaults {
  private nextReq = 1
  private readonly faults = new Map<number, Page>()
  /** Dropped faults without an answer, by page. The leader still counts them, at most one per page. */
  private readonly dropped = new Map<string, { readonly file: number; readonly req: number }>()

  constructor(private readonly init: PageFaultsInit) {}

  /** The number of outstanding faults: as many as the leader counts, or more. */
  get count(): number {
    return this.faults.size + this.dropped.size
  }

  ask(page: Page, wanted: Access): void {
    const { table, counters, send, onSent } = this.init
    const held = page.access !== 'invalid'
    const access = table.spaceOf(page).held.faultAccess(wanted)
    const req = this.nextReq++
    page.req = req
    this.faults.set(req, page)
    const kind: FaultKind = access === 'read' ? 'read' : held ? 'upgrade' : 'write'
    counters[`${kind}Faults`]++
    onSent(req, kind)
    const { file, index, version } = page
    // The leader counts this fault in place of a dropped fault of the page.
    this.dropped.delete(keyOf(file, index))
    send({ type: 'fault', req, file, page: index, count: 1, access, have: held ? version : 0 })
  }

  /** The last waiter has left. The leader does not hear of it, and answers the fault in its turn. */
  drop(page: Page): void {
    const { file, index, req } = page
    if (this.take(req) !== undefined) this.dropped.set(keyOf(file, index), { file, req })
  }

  /** The leader knows that this session has closed the file: it answers no more faults of it. */
  closed(file: number): void {
    for (const [key, dropped] of this.dropped) if (dropped.file === file) this.dropped.delete(key)
  }

  /** Grants of the lost connection will never arrive. */
  forget(): void {
    for (const req of [...this.faults.keys()]) this.take(req)
    this.dropped.clear()
  }

  granted(message: LeaderMessageOf<'grant'>): void {
    for (const [i, content] of message.pages.entries()) this.grantedPage(message, i, content)
  }

  /** Rule 4: ignores a grant whose fault is gone. */
  private grantedPage(message: LeaderMessageOf<'grant'>, i: number, { version, bytes }: GrantedPage): void {
    const { table, counters, discards } = this.init
    const req = message.req + i
    const page = this.faults.get(req)
    if (page === undefined) return this.droppedAnswered(req, message.file, message.page + i)
    const isVoid = message.discard < page.discardedBy
    const space = table.spaceOf(page)
    if (message.discard > space.lastDiscard) {
      // The discard came before this session opened the file, or on an earlier connection: the size is unknown now.
      space.lastDiscard = message.discard
      space.size = 0
    }
    this.take(req)
    counters.grants++
    if (isVoid) {
      // A demotion that follows this grant must not wait for it forever.
      this.init.released(page)
      return table.accessReduced(page)
    }
    // Rule 13: bytes that this session wrote under the same epoch are newer than the grant's. That holds for
    // acknowledged bytes, too: the acknowledgment of a writeback, on the other lane, may have overtaken the grant.
    const sameEpoch = message.owner && page.epoch === message.epoch
    const ownNewer = sameEpoch && (page.dirty || page.version > version)
    if (!ownNewer) {
      if (bytes === undefined && (page.access === 'invalid' || page.version !== version)) {
        // The grant names a copy that is not here: the next fault asks for the bytes.
        if (!page.pinned) page.invalidate()
        return table.granted(page)
      }
      if (bytes !== undefined) {
        this.fill(page, bytes)
        discards.granted(space, page, message.discard)
      }
      page.version = version
      this.init.clean(page)
    }
    space.held.granted(space, page, message)
    page.grant(message.access)
    page.grantedAt = this.init.now()
    table.granted(page)
  }

  failed(message: LeaderMessageOf<'faultFailed'>): void {
    const { req, file } = message
    const page = this.take(req)
    if (page === undefined) return this.droppedAnswered(req, file, message.page)
    this.init.table.failed(page, errorFromWire(message.error))
  }

  private droppedAnswered(req: number, file: number, page: number): void {
    const key = keyOf(file, page)
    if (this.dropped.get(key)?.req === req) this.dropped.delete(key)
  }

  private fill(page: Page, bytes: Uint8Array): void {
    assert(
      bytes.length === 0 || bytes.length === page.pageSize,
      `a grant of ${bytes.length} bytes for a page of ${page.pageSize}`
    )
    page.unmap()
    const target = page.frame!.bytes
    if (bytes.length === 0) target.fill(0)
    else target.set(bytes)
    this.init.counters.bytesIn += bytes.length
  }

  private take(req: number): Page | undefined {
    const page = this.faults.get(req)
    if (page === undefined) return undefined
    this.faults.delete(req)
    page.req = 0
    page.discardedBy = 0
    this.init.onDone(req)
    return page
  }
}

function keyOf(file: number, index: number): string {
  return `${file}:${index}`
}
