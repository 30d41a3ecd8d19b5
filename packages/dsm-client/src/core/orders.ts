/** What the leader asks of pages, and of files that are owned as a whole: obeyed as soon as grants, pins, hold times and credit allow. */
import type { ClientMessage, LeaderMessageOf } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import { HoldTimes } from './hold.js'
import type { Order, Page } from './page.js'
import type { PageTable } from './page-table.js'
import type { CoherenceCounters } from './stats.js'
import type { Writebacks } from './writeback.js'

type OrderMessage = LeaderMessageOf<'invalidate' | 'revoke' | 'downgrade'>

export interface OrdersInit {
  readonly table: PageTable
  readonly writebacks: Writebacks
  readonly counters: CoherenceCounters
  readonly now: () => number
  readonly send: (lane: 'control' | 'bulk', message: ClientMessage) => void
  /** Forgets bytes that are durable, or belong to somebody else. */
  readonly drop: (page: Page) => void
}

export class Orders {
  private readonly ordered = new Set<Page>()
  private readonly orderedSpaces = new Set<AddressSpacePages>()
  private readonly holds = new HoldTimes()
  /** Pages that are kept for a while yet. */
  private readonly kept = new Set<Page>()

  constructor(private readonly init: OrdersInit) {}

  receive(message: OrderMessage): void {
    const { type, op, after } = message
    const space = this.init.table.space(message.file)
    if (space?.unit === 'file') {
      space.order = { op }
      this.orderedSpaces.add(space)
      return this.obeySpace(space)
    }
    const page = space?.get(message.page)
    if (page === undefined) return this.answerUnheld({ type, op }, message.file, message.page)
    // The same order comes again after a reconnection.
    if (page.order === undefined) this.holds.wanted(page)
    page.order = { type, op, after }
    this.ordered.add(page)
    this.obey(page)
  }

  /** Does what the leader asked of the page, unless a grant that precedes it is still to come or something holds the page. */
  obey(page: Page): void {
    const space = this.init.table.space(page.file)
    if (space?.order !== undefined) return this.obeySpace(space)
    const { order } = page
    if (order === undefined) return
    if (page.req !== 0 && page.req === order.after) return
    if (order.type === 'downgrade' ? page.writePins > 0 : page.pinned) {
      return this.init.table.pins.wanted(page, this.init.now())
    }
    if (order.type !== 'invalidate') {
      if (this.holds.keptUntil(page) > this.init.now()) {
        if (!this.kept.has(page)) this.init.counters.holds++
        this.kept.add(page)
        return
      }
      // Many orders at once must not put more bytes on their way than the leader gave credit for.
      if (page.dirty && !this.init.writebacks.hasCredit(page)) return
    }
    page.order = undefined
    this.ordered.delete(page)
    if (order.type === 'invalidate') this.invalidate(page, order)
    else this.giveUp(page, order)
    this.init.table.taken(page)
  }

  /** Room or credit has come: whoever was ordered to give something up comes before what is only flushed. */
  obeyAll(): void {
    for (const page of [...this.ordered]) this.obey(page)
    for (const space of [...this.orderedSpaces]) this.obeySpace(space)
  }

  /** What the leader refused to take is offered again. */
  retry(): void {
    for (const space of [...this.orderedSpaces]) {
      space.isRefused = false
      this.obeySpace(space)
    }
  }

  /** Pages whose time is over go. */
  timePassed(): void {
    for (const page of [...this.kept]) {
      if (this.holds.keptUntil(page) > this.init.now()) continue
      this.kept.delete(page)
      this.obey(page)
    }
  }

  /** When the first of them does; Infinity: there is none. */
  get nextDeadline(): number {
    let next = Infinity
    for (const page of this.kept) next = Math.min(next, this.holds.keptUntil(page))
    return next
  }

  /** The connection that the orders came on is gone. */
  forget(): void {
    for (const page of this.ordered) page.order = undefined
    this.ordered.clear()
    this.kept.clear()
    for (const space of this.orderedSpaces) this.orderOver(space)
  }

  /** The file is given up: nothing of it is held any more. */
  answerAll(space: AddressSpacePages): void {
    for (const page of space.all()) {
      const { order } = page
      if (order === undefined) continue
      page.order = undefined
      this.ordered.delete(page)
      this.answerUnheld(order, page.file, page.index)
    }
    if (space.order === undefined) return
    const { op } = space.order
    this.orderOver(space)
    this.answerUnheld({ type: 'revoke', op }, space.file, 0)
  }

  private orderOver(space: AddressSpacePages): void {
    space.order = undefined
    space.isRefused = false
    this.orderedSpaces.delete(space)
  }

  private answerUnheld({ type, op }: Pick<Order, 'type' | 'op'>, file: number, page: number): void {
    if (type === 'invalidate') this.init.send('control', { type: 'invalidateAck', op, file, page })
    else this.init.send('control', { type: 'ownerAck', op, file, page, held: false })
  }

  // Rule 13: an invalidation drops everything, then acknowledges.
  private invalidate(page: Page, order: Order): void {
    this.init.counters.invalidations++
    this.init.drop(page)
    this.init.send('control', { type: 'invalidateAck', op: order.op, file: page.file, page: page.index })
  }

  // Rule 12: access goes first, then the bytes leave; they stay here, tagged with their epoch, until they are known to be durable.
  private giveUp(page: Page, order: Order): void {
    const { counters, send, writebacks } = this.init
    const { file, index } = page
    const held = page.access !== 'invalid'
    if (order.type === 'revoke') {
      if (held) counters.handovers++
      page.access = 'invalid'
    } else if (held) {
      counters.downgrades++
      page.access = 'shared'
    }
    if (page.dirty) {
      send('bulk', { type: 'ownerAckDirty', op: order.op, dirty: writebacks.give(page) })
      return
    }
    if (order.type === 'revoke') page.epoch = 0
    send('control', { type: 'ownerAck', op: order.op, file, page: index, held })
  }

  /**
   * A file that is owned as a whole is given up in the order that filesystems learnt the hard way: no new pins, unmap, write, wait, evict, and
   * only then acknowledge.
   */
  private obeySpace(space: AddressSpacePages): void {
    const { order } = space
    if (order === undefined) return
    const { table, writebacks, send, counters, drop } = this.init
    const pages = [...space.all()]
    if (pages.some((page) => page.pinned)) table.pins.fileWanted(space, this.init.now())
    // What was asked for is granted while this session is the owner, and nothing of it may come behind the answer.
    if (pages.some((page) => page.pinned || page.req !== 0)) return
    for (const page of pages) {
      page.access = 'invalid'
      if (page.dirty && !page.writing && !space.isRefused) writebacks.hurry(page)
    }
    writebacks.pump()
    if (pages.some((page) => page.dirty)) return
    this.orderOver(space)
    counters.handovers++
    for (const page of pages) drop(page)
    send('control', { type: 'ownerAck', op: order.op, file: space.file, page: 0, held: pages.length > 0 })
    for (const page of pages) table.taken(page)
  }
}
