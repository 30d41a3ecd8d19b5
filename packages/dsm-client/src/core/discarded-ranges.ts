/** Ranges of pages that a truncation or a hole takes away (docs/coherence.md, "Files that shrink"). */
import type { ClientMessage, LeaderMessageOf } from '@quire/protocol'
import type { AddressSpacePages, PendingDiscard } from './address-space.js'
import type { Page } from './page.js'
import type { PageTable } from './page-table.js'

export interface DiscardedRangesInit {
  readonly table: PageTable
  readonly send: (message: ClientMessage) => void
  readonly drop: (page: Page) => void
  /** A discard is over, so the size may be asked for. With an error: the client gives the file up. */
  readonly onEnded: (file: number, error?: Error) => void
}

/** Carries out the client's half of each discard. */
export class DiscardedRanges {
  constructor(private readonly init: DiscardedRangesInit) {}

  receive({ term, op, file, first, end, size, discards }: LeaderMessageOf<'discard'>): void {
    const { table, send } = this.init
    const space = table.space(file)
    if (space === undefined) return send({ type: 'discardAck', op, file })
    const old = space.discard
    // The end of an earlier discard will not arrive. The count in this order says whether that one committed.
    if (old !== undefined && (old.term !== term || old.op !== op)) this.end(space, old, discards > old.discards)
    const pending = { term, op, first, end, discards, acknowledged: false, isStale: false }
    space.discard = { ...pending, renewed: new Set(), doomed: [] }
    space.discardsSeen++
    space.lastDiscard = op
    space.size = Math.min(space.size, size)
    // The leader may have made the outstanding grants before the discard.
    for (const page of space.between(first, end)) if (page.req !== 0) page.discardedBy = op
    table.pins.giveWay(space, first, end)
    this.advance(space)
  }

  /** Acknowledges the discard as soon as no page in its range is pinned. */
  advance(space: AddressSpacePages): void {
    const { discard } = space
    // Rule 4: another leader may use the same operation number.
    if (discard === undefined || discard.acknowledged || discard.isStale) return
    const pages = space.between(discard.first, discard.end)
    let isPinned = false
    for (const page of pages) {
      if (page.pinned) isPinned = true
      // The bytes stay until the discard commits: the leader may die before.
      else page.invalidate()
    }
    if (isPinned) return
    discard.acknowledged = true
    // Copies made before this point may come from pages that a pin kept. Later copies come from grants after the
    // discard.
    for (const copies of space.privateCopies) discard.doomed.push(copies.mark(discard.first, discard.end))
    this.init.send({ type: 'discardAck', op: discard.op, file: space.file })
    for (const page of pages) this.init.table.accessReduced(page)
  }

  /** A grant with bytes has arrived that names discard `op` of the file. */
  granted(space: AddressSpacePages, page: Page, op: number): void {
    const { discard } = space
    if (discard === undefined || discard.isStale || op < discard.op || !space.isDiscarded(page.index)) return
    discard.renewed.add(page)
  }

  over({ op, file, committed }: LeaderMessageOf<'discarded'>): void {
    const space = this.init.table.space(file)
    if (space?.discard?.op === op && !space.discard.isStale) this.end(space, space.discard, committed)
  }

  /** The end of the discards under way may not arrive. A leader that still leads orders them again. */
  disconnected(): void {
    for (const space of this.init.table.all()) {
      space.lastDiscard = 0
      if (space.discard !== undefined) space.discard.isStale = true
    }
  }

  /** After a reconnection, the count of discards says whether the file's pending discard committed. */
  resolve(file: number, discards: number): void {
    const space = this.init.table.space(file)
    if (space?.discard?.isStale !== true) return
    this.end(space, space.discard, discards >= space.discard.discards)
  }

  /** Files with a discard whose end will not arrive. */
  unresolved(): number[] {
    return [...this.init.table.all()].filter(({ discard }) => discard?.isStale === true).map(({ file }) => file)
  }

  /** The client gives the file up, and with it everything that a discard could concern. */
  forget(space: AddressSpacePages, reason: Error): void {
    const { discard, file } = space
    if (discard === undefined) return
    if (!discard.acknowledged && !discard.isStale) this.init.send({ type: 'discardAck', op: discard.op, file })
    space.discard = undefined
    this.init.onEnded(file, reason)
  }

  private end(space: AddressSpacePages, discard: PendingDiscard, committed: boolean): void {
    space.discard = undefined
    const pages = space.between(discard.first, discard.end)
    if (committed) {
      // Pages granted anew hold bytes from after the discard.
      for (const page of pages) if (!page.pinned && !discard.renewed.has(page)) this.init.drop(page)
      // Private copies go now, together with the pages: before the commit, nothing was gone.
      for (const discardCopies of discard.doomed) discardCopies()
    }
    for (const page of pages) this.init.table.accessReduced(page)
    this.init.onEnded(space.file)
  }
}
