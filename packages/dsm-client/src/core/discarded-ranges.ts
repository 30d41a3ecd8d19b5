/** The client's half of discards: ranges of pages that a truncation or a hole takes away (docs/coherence.md, "Files that shrink"). */
import type { ClientMessage, LeaderMessageOf } from '@quire/protocol'
import type { AddressSpacePages, PendingDiscard } from './address-space.js'
import type { Page } from './page.js'
import type { PageTable } from './page-table.js'

export interface DiscardedRangesInit {
  readonly table: PageTable
  readonly send: (message: ClientMessage) => void
  readonly drop: (page: Page) => void
  /** A discard is over: sizes may be asked for again. With an error, the file is given up. */
  readonly onEnded: (file: number, error?: Error) => void
}

export class DiscardedRanges {
  constructor(private readonly init: DiscardedRangesInit) {}

  receive({ term, op, file, first, end, size, discards }: LeaderMessageOf<'discard'>): void {
    const { table, send } = this.init
    const space = table.space(file)
    if (space === undefined) return send({ type: 'discardAck', op, file })
    const old = space.discard
    // The end of another one was not heard, and will not be: that this one counts on from it says how it ended.
    if (old !== undefined && (old.term !== term || old.op !== op)) this.end(space, old, discards > old.discards)
    const pending = { term, op, first, end, discards, acknowledged: false, isStale: false }
    space.discard = { ...pending, renewed: new Set(), doomed: [] }
    space.discardsSeen++
    space.lastDiscard = op
    space.size = Math.min(space.size, size)
    // What is granted from here on may have been made before.
    for (const page of space.between(first, end)) if (page.req !== 0) page.discardedBy = op
    table.pins.giveWay(space, first, end)
    this.advance(space)
  }

  /** A pin in the range may have ended. */
  advance(space: AddressSpacePages): void {
    const { discard } = space
    // Rule 4: operations of another leader may have the same numbers.
    if (discard === undefined || discard.acknowledged || discard.isStale) return
    const pages = space.between(discard.first, discard.end)
    let isPinned = false
    for (const page of pages) {
      if (page.pinned) isPinned = true
      // The bytes stay until it is certain that they are gone: the leader may die before the commit.
      else page.invalidate()
    }
    if (isPinned) return
    discard.acknowledged = true
    // Until here a copy could be made from a page that a pin kept; from here on only from one that was granted after the end.
    for (const copies of space.privateCopies) discard.doomed.push(copies.mark(discard.first, discard.end))
    this.init.send({ type: 'discardAck', op: discard.op, file: space.file })
    for (const page of pages) this.init.table.accessReduced(page)
  }

  /** Bytes of the page have come with a grant that names this discard of the file, or a later one. */
  granted(space: AddressSpacePages, page: Page, op: number): void {
    const { discard } = space
    if (discard === undefined || discard.isStale || op < discard.op || !space.isDiscarded(page.index)) return
    discard.renewed.add(page)
  }

  over({ op, file, committed }: LeaderMessageOf<'discarded'>): void {
    const space = this.init.table.space(file)
    if (space?.discard?.op === op && !space.discard.isStale) this.end(space, space.discard, committed)
  }

  /** The end of those that are under way may not be heard. A leader that still leads will order them again. */
  disconnected(): void {
    for (const space of this.init.table.all()) {
      space.lastDiscard = 0
      if (space.discard !== undefined) space.discard.isStale = true
    }
  }

  /** After a reconnection: what the cluster says about a discard whose end was not heard. */
  resolve(file: number, discards: number): void {
    const space = this.init.table.space(file)
    if (space?.discard?.isStale !== true) return
    this.end(space, space.discard, discards >= space.discard.discards)
  }

  /** Files with a discard whose end nobody will tell any more. */
  unresolved(): number[] {
    return [...this.init.table.all()].filter(({ discard }) => discard?.isStale === true).map(({ file }) => file)
  }

  /** The file is given up: nothing of it is held any more. */
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
      // What was granted anew is not what has gone.
      for (const page of pages) if (!page.pinned && !discard.renewed.has(page)) this.init.drop(page)
      // Only now, and at once with the rest: nothing was gone before.
      for (const discardCopies of discard.doomed) discardCopies()
    }
    for (const page of pages) this.init.table.accessReduced(page)
    this.init.onEnded(space.file)
  }
}
