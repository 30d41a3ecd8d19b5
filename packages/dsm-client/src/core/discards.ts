/** The client's half of discards: ranges of pages that a truncation or a hole takes away (docs/coherence.md, "Files that shrink"). */
import type { ClientMessage, LeaderMessageOf } from '@quire/protocol'
import type { AddressSpacePages, PendingDiscard } from './address-space.js'
import type { Page } from './page.js'
import type { PageTable } from './page-table.js'

export interface DiscardsInit {
  readonly table: PageTable
  readonly send: (message: ClientMessage) => void
  readonly drop: (page: Page) => void
  /** A discard is over: sizes may be asked for again. */
  readonly onSettled: (file: number) => void
}

export class Discards {
  constructor(private readonly init: DiscardsInit) {}

  receive({ op, file, first, end, size, discards }: LeaderMessageOf<'discard'>): void {
    const space = this.init.table.space(file)
    if (space === undefined) return this.init.send({ type: 'discardAck', op, file })
    space.discard = { op, first, end, discards, acknowledged: false, isStale: false }
    space.discardsSeen++
    space.lastDiscard = op
    space.size = Math.min(space.size, size)
    // What is granted from here on may have been made before.
    for (const page of space.between(first, end)) if (page.req !== 0) page.discardedBy = op
    this.advance(space)
  }

  /** A pin in the range may have ended. */
  advance(space: AddressSpacePages): void {
    const { discard } = space
    if (discard === undefined || discard.acknowledged) return
    const pages = space.between(discard.first, discard.end)
    let isPinned = false
    for (const page of pages) {
      if (page.pinned) isPinned = true
      // The bytes stay until it is certain that they are gone: the leader may die before the commit.
      else page.access = 'invalid'
    }
    if (isPinned) return
    discard.acknowledged = true
    this.init.send({ type: 'discardAck', op: discard.op, file: space.file })
    for (const page of pages) this.init.table.taken(page)
  }

  over({ op, file, committed }: LeaderMessageOf<'discarded'>): void {
    const space = this.init.table.space(file)
    if (space?.discard?.op === op) this.settle(space, space.discard, committed)
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
    this.settle(space, space.discard, discards >= space.discard.discards)
  }

  /** Files with a discard whose end nobody will tell any more. */
  unresolved(): number[] {
    return [...this.init.table.all()].filter(({ discard }) => discard !== undefined).map(({ file }) => file)
  }

  private settle(space: AddressSpacePages, discard: PendingDiscard, committed: boolean): void {
    space.discard = undefined
    const pages = space.between(discard.first, discard.end)
    if (committed) {
      space.discards = discard.discards
      for (const page of pages) if (!page.pinned) this.init.drop(page)
      // Only now, and at once with the rest: a copy can be made until here from a page that a pin kept, and nothing was gone before.
      for (const copies of space.privateCopies) copies.discard(discard.first, discard.end)
    }
    for (const page of pages) this.init.table.taken(page)
    this.init.onSettled(space.file)
  }
}
