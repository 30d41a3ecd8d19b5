/** Replaces damaged pages by the copies of other peers (docs/storage.md, Damage). */
import { crc32c } from '@node-rs/crc32'
import { CorruptionError, type Clock, type PageMessage } from '@quire/protocol'
import { DamagedPageError, type StoredPage } from '../state/index.js'
import type { Applier } from './applier-types.js'
import { judgeCopy, type NoCopy, type PageAnswer } from './page-copy.js'

export interface PageRepairsInit {
  readonly applier: Applier
  readonly clock: Clock
  /** The ids of the members that may have a copy, without this peer. */
  readonly members: () => readonly string[]
  /** Sends the message, which may be lost. */
  readonly send: (to: string, message: PageMessage) => void
  readonly onDamaged?: (file: number, page: number) => void
  readonly onRepaired?: (file: number, page: number, from: string) => void
  /** No member has a good copy. */
  readonly onLost?: (file: number, page: number) => void
}

/** Counts of damaged pages since the start of this peer. */
export interface RepairCounts {
  /** Wait for a good copy. */
  readonly damaged: number
  readonly repaired: number
  /** No member had a good copy. */
  readonly lost: number
}

type Then = (error: CorruptionError | undefined) => void

interface Repair {
  readonly file: number
  readonly page: number
  /** Why members cannot help. */
  readonly useless: Map<string, NoCopy>
  readonly waiting: Set<Then>
  isAsked: boolean
}

/** So many pages are asked for at a time, besides those that somebody waits for. */
const MAX_ASKED = 16
/** Further damaged pages are forgotten, and found again. */
const MAX_REPAIRS = 65_536
const RETRY_MS = 500
/** Stands for a page of zeros, whose bytes do not travel. */
const NO_BYTES = new Uint8Array(0)

/**
 * Asks the other members for their copies of damaged pages until one may take the place of the damaged one, an entry
 * has replaced or removed the page, or no member has a good copy.
 */
export class PageRepairs {
  private readonly repairs = new Map<string, Repair>()
  private repaired = 0
  private lost = 0
  private asked = 0
  private cancelRetry: (() => void) | undefined
  private isStopped = false

  constructor(private readonly init: PageRepairsInit) {}

  get counts(): RepairCounts {
    return { damaged: this.repairs.size, repaired: this.repaired, lost: this.lost }
  }

  /** Somebody has met a damaged page. */
  found(file: number, page: number): void {
    if (this.isStopped || this.repairs.size >= MAX_REPAIRS) return
    this.repair(file, page)
    this.pump()
  }

  /**
   * Calls `then` when the page can be read again, or when no member has a good copy of it. It never calls it before
   * this method has returned, nor after `stop`, nor after the function that it returns was called.
   */
  whenRepaired(file: number, page: number, then: Then): () => void {
    if (this.isStopped) return () => {}
    const repair = this.repair(file, page)
    repair.waiting.add(then)
    if (!repair.isAsked) this.ask(repair)
    return () => repair.waiting.delete(then)
  }

  /** A member asks for a copy, or answers. */
  receive(from: string, message: PageMessage): void {
    if (this.isStopped || this.init.applier.isReplacing) return
    if (message.type === 'pageWanted') this.init.send(from, this.answer(message.file, message.page))
    else this.answered(from, message)
  }

  stop(): void {
    this.isStopped = true
    this.cancelRetry?.()
    this.repairs.clear()
  }

  private answer(file: number, page: number): PageAnswer {
    const { state } = this.init.applier
    const facts = { type: 'pageCopy', file, page, applied: state.appliedIndex } as const
    try {
      const { version, bytes = NO_BYTES } = state.page(file, page)
      // A hole has no version.
      const copy = version === 0 ? undefined : { version, crc: crc32c(bytes), bytes }
      return { ...facts, damaged: false, copy }
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      this.found(file, page)
      return { ...facts, damaged: true, copy: undefined }
    }
  }

  private answered(from: string, answer: PageAnswer): void {
    const { applier } = this.init
    const { file, page } = answer
    const repair = this.repairs.get(keyOf(file, page))
    if (repair === undefined || this.isOver(repair)) return
    const { appliedIndex, durableIndex } = applier
    const damage = applier.damage(file, page)!
    const pageSize = applier.state.file(file)?.pageSize ?? 0
    const judged = judgeCopy(answer, { damage, appliedIndex, durableIndex, pageSize })
    if (judged === 'later') return
    if (typeof judged === 'string') {
      repair.useless.set(from, judged)
      this.giveUp(repair)
      return this.pump()
    }
    this.repairWith(repair, { version: judged.version, bytes: judged.bytes?.slice() }, from)
    this.pump()
  }

  private repairWith(repair: Repair, copy: StoredPage | undefined, from: string): void {
    const { file, page } = repair
    this.init.applier.repair(file, page, copy)
    this.repaired++
    this.init.onRepaired?.(file, page, from)
    this.end(repair, undefined)
  }

  private repair(file: number, page: number): Repair {
    const key = keyOf(file, page)
    let repair = this.repairs.get(key)
    if (repair === undefined) {
      repair = { file, page, useless: new Map(), waiting: new Set(), isAsked: false }
      this.repairs.set(key, repair)
      this.init.onDamaged?.(file, page)
      this.scheduleRetry()
    }
    return repair
  }

  private pump(): void {
    // On a full disk, the copies would fill the memory.
    if (this.init.applier.isFull) return
    for (const repair of this.repairs.values()) {
      if (this.asked >= MAX_ASKED) return
      if (!repair.isAsked) this.ask(repair)
    }
  }

  private ask(repair: Repair): void {
    const { file, page, useless } = repair
    repair.isAsked = true
    this.asked++
    for (const member of this.init.members()) {
      if (!useless.has(member)) this.init.send(member, { type: 'pageWanted', file, page })
    }
  }

  /** Asks again for what is still missing. Those that were asked last wait for their next turn behind the others. */
  private retry(): void {
    this.cancelRetry = undefined
    // The pages that take the place of these may be good.
    if (this.init.applier.isReplacing) return this.scheduleRetry()
    this.asked = 0
    for (const repair of [...this.repairs.values()].filter(({ isAsked }) => isAsked)) {
      repair.isAsked = false
      if (this.isOver(repair) || this.giveUp(repair)) continue
      // A member whose copy was damaged may have got a good one since.
      for (const [member, why] of repair.useless) if (why === 'damaged') repair.useless.delete(member)
      const key = keyOf(repair.file, repair.page)
      this.repairs.delete(key)
      this.repairs.set(key, repair)
      if (repair.waiting.size > 0) this.ask(repair)
    }
    this.pump()
    if (this.repairs.size > 0) this.scheduleRetry()
  }

  private scheduleRetry(): void {
    this.cancelRetry ??= this.init.clock.schedule(RETRY_MS, () => this.retry())
  }

  /** An entry has replaced or removed the page. */
  private isOver(repair: Repair): boolean {
    if (this.init.applier.damage(repair.file, repair.page) !== undefined) return false
    this.end(repair, undefined)
    return true
  }

  /** Ends the repair if no member can help. Removes the rest of the page if all other members lack it. */
  private giveUp(repair: Repair): boolean {
    const { file, page, useless } = repair
    const members = this.init.members()
    if (!members.every((member) => useless.has(member))) return false
    if (members.length > 0 && members.every((member) => useless.get(member) === 'absent')) {
      this.repairWith(repair, undefined, members[0]!)
      return true
    }
    this.lost++
    this.init.onLost?.(file, page)
    this.end(repair, new CorruptionError(`page ${page} of file ${file}`, undefined, 'no peer has a good copy'))
    return true
  }

  private end(repair: Repair, error: CorruptionError | undefined): void {
    this.repairs.delete(keyOf(repair.file, repair.page))
    if (repair.isAsked) this.asked--
    for (const then of repair.waiting) then(error)
  }
}

function keyOf(file: number, page: number): string {
  return `${file}:${page}`
}
