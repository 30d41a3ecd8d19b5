/** Orders of the leader to give up access (GFS2: demote requests). */
import type { ClientMessage, LeaderMessageOf } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import { HoldTimes } from './hold-times.js'
import type { Demotion, Page } from './page.js'
import type { PageTable } from './page-table.js'
import { Refetches } from './refetches.js'
import type { CoherenceCounters } from './stats.js'
import type { WritebackQueue } from './writeback-queue.js'

type DemotionMessage = LeaderMessageOf<'invalidate' | 'revoke' | 'downgrade'>

export interface DemotionsInit {
  readonly table: PageTable
  readonly writebacks: WritebackQueue
  readonly counters: CoherenceCounters
  readonly now: () => number
  readonly send: (lane: 'control' | 'bulk', message: ClientMessage) => void
  /** Forgets bytes that are durable, or belong to another owner. */
  readonly drop: (page: Page) => void
  /** The next deadline may be earlier than before: that of a hold time, or of a pin's patience. */
  readonly onDeadline: () => void
}

/**
 * Obeys the leader's orders to give up pages.
 *
 * An order waits for the grant that it follows, for pins, for the page's hold time and for credit. A file that is owned
 * as a whole is demoted as a whole.
 */
export class Demotions {
  private readonly demoted = new Set<Page>()
  private readonly demotedSpaces = new Set<AddressSpacePages>()
  private readonly holds = new HoldTimes()
  private readonly refetches: Refetches
  /** Pages that their hold time keeps here. */
  private readonly kept = new Set<Page>()

  constructor(private readonly init: DemotionsInit) {
    this.refetches = new Refetches(init.table.frames.capacityBytes)
  }

  receive(message: DemotionMessage): void {
    for (let i = 0; i < message.count; i++) this.receiveOne(message, i)
  }

  /** The order for the page at `i` of the run. */
  private receiveOne(message: DemotionMessage, i: number): void {
    const { type, file } = message
    const op = message.op + i
    const index = message.page + i
    const after = message.after === 0 ? 0 : message.after + i
    const space = this.init.table.space(file)
    if (space?.held.isDemotedAsWhole === true) {
      space.demotion = { op }
      this.demotedSpaces.add(space)
      return this.obeySpace(space)
    }
    const page = space?.get(index)
    if (page === undefined) return this.answerUnheld({ type, op }, file, index)
    // After a reconnection the leader repeats the order, which teaches nothing new.
    if (page.demotion === undefined) this.holds.wanted(page)
    page.demotion = { type, op, after }
    this.demoted.add(page)
    this.obey(page)
  }

  /** Obeys the order for the page, unless a grant that precedes it is on its way or something holds the page. */
  obey(page: Page): void {
    const space = this.init.table.space(page.file)
    if (space?.demotion !== undefined) return this.obeySpace(space)
    const { demotion } = page
    if (demotion === undefined) return
    if (page.req !== 0 && page.req === demotion.after) return
    if (demotion.type === 'downgrade' ? page.writePins > 0 : page.pinned) {
      this.init.table.pins.wanted(page, this.init.now())
      return this.init.onDeadline()
    }
    if (demotion.type !== 'invalidate') {
      if (this.holds.keptUntil(page) > this.init.now()) {
        if (!this.kept.has(page)) this.init.counters.holds++
        this.kept.add(page)
        return this.init.onDeadline()
      }
      // Many orders at once must not put more bytes on their way than the credit allows.
      if (page.dirty && !this.init.writebacks.hasCredit(page)) return
    }
    page.demotion = undefined
    this.demoted.delete(page)
    if (demotion.type === 'invalidate') this.invalidate(page, demotion)
    else this.giveUp(page, demotion)
    this.init.table.accessReduced(page)
  }

  /** Credit or a place on the line has come free. Demoted pages use it before ordinary flushes. */
  obeyAll(): void {
    for (const page of [...this.demoted]) this.obey(page)
    for (const space of [...this.demotedSpaces]) this.obeySpace(space)
  }

  /** The leader refused a writeback that the demotion of a whole file requires: the file leaves at a `retry`. */
  writebackRefused(page: Page): void {
    const space = this.init.table.space(page.file)
    if (space?.demotion !== undefined) space.isRefused = true
  }

  /** Offers the leader again what it refused. */
  retry(): void {
    for (const space of [...this.demotedSpaces]) {
      space.isRefused = false
      this.obeySpace(space)
    }
  }

  /** Gives up the pages whose hold time is over. */
  timePassed(): void {
    for (const page of [...this.kept]) {
      if (this.holds.keptUntil(page) > this.init.now()) continue
      this.kept.delete(page)
      this.obey(page)
    }
  }

  /** When the next hold time ends, in milliseconds; Infinity if none runs. */
  get nextDeadline(): number {
    let next = Infinity
    for (const page of this.kept) next = Math.min(next, this.holds.keptUntil(page))
    return next
  }

  /** The connection that carried the orders is gone. */
  forget(): void {
    for (const page of this.demoted) page.demotion = undefined
    this.demoted.clear()
    this.kept.clear()
    for (const space of this.demotedSpaces) this.demotionOver(space)
  }

  /** The client gives the file up: answers all orders for it, because it holds nothing of it. */
  answerAll(space: AddressSpacePages): void {
    for (const page of space.all()) {
      const { demotion } = page
      if (demotion === undefined) continue
      page.demotion = undefined
      this.demoted.delete(page)
      this.answerUnheld(demotion, page.file, page.index)
    }
    if (space.demotion === undefined) return
    const { op } = space.demotion
    this.demotionOver(space)
    this.answerUnheld({ type: 'revoke', op }, space.file, 0)
  }

  private demotionOver(space: AddressSpacePages): void {
    space.demotion = undefined
    space.isRefused = false
    this.demotedSpaces.delete(space)
  }

  private answerUnheld({ type, op }: Pick<Demotion, 'type' | 'op'>, file: number, page: number): void {
    if (type === 'invalidate') this.init.send('control', { type: 'invalidateAck', op, file, page, count: 1 })
    else this.init.send('control', { type: 'ownerAck', op, file, page, count: 1, held: false })
  }

  // Rule 13: an invalidation drops everything, then acknowledges.
  private invalidate(page: Page, demotion: Demotion): void {
    const { counters, drop, send } = this.init
    const { file, index } = page
    counters.invalidations++
    if (page.access !== 'invalid') counters.taken.add(file, index)
    const isReadAgain = this.refetches.invalidated(page)
    drop(page)
    send('control', { type: 'invalidateAck', op: demotion.op, file, page: index, count: 1 })
    if (isReadAgain) this.refetch(page)
  }

  private refetch(page: Page): void {
    const { table } = this.init
    // An access that waits may need the page's frame.
    if (table.queuedFaults > 0 || !this.refetches.hasRoom(page)) return
    const space = table.spaceOf(page)
    if (table.readAhead(space, page.index)) this.refetches.ask(space.get(page.index)!)
  }

  // Rule 12: access goes first, then the bytes leave. They stay here, with their epoch, until they are known to be
  // durable.
  private giveUp(page: Page, demotion: Demotion): void {
    const { counters, send, writebacks } = this.init
    const { file, index } = page
    const held = page.access !== 'invalid'
    if (held) counters.taken.add(file, index)
    if (demotion.type === 'revoke') {
      if (held) counters.handovers++
      page.invalidate()
    } else if (held) {
      counters.downgrades++
      page.downgrade()
    }
    if (page.dirty) {
      send('bulk', { type: 'ownerAckDirty', op: demotion.op, pages: [writebacks.give(page)] })
      return
    }
    if (demotion.type === 'revoke') page.epoch = 0
    send('control', { type: 'ownerAck', op: demotion.op, file, page: index, count: 1, held })
  }

  /**
   * Gives up a file that is owned as a whole, in the order that filesystems learned the hard way: refuse new pins,
   * unmap, write, wait, evict, and only then acknowledge.
   */
  private obeySpace(space: AddressSpacePages): void {
    const { demotion } = space
    if (demotion === undefined) return
    const { table, writebacks, send, counters, drop } = this.init
    const pages = [...space.all()]
    if (pages.some((page) => page.pinned)) {
      table.pins.fileWanted(space, this.init.now())
      this.init.onDeadline()
    }
    // The leader grants outstanding faults while this session is the owner. No grant may follow the answer.
    if (pages.some((page) => page.pinned || page.req !== 0)) return
    for (const page of pages) {
      page.invalidate()
      if (page.dirty && !page.writing && !space.isRefused) writebacks.hurry(page)
    }
    writebacks.pump()
    if (pages.some((page) => page.dirty)) return
    this.demotionOver(space)
    counters.handovers++
    for (const page of pages) drop(page)
    const held = pages.length > 0
    if (held) counters.taken.add(space.file, 0)
    send('control', { type: 'ownerAck', op: demotion.op, file: space.file, page: 0, count: 1, held })
    for (const page of pages) table.accessReduced(page)
  }
}
