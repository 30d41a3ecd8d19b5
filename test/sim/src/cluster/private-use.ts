import type { CallOptions, Mapping } from '@quire/dsm-client'
import { Violation } from '../violation.js'
import { hex } from './history.js'
import { PAGE_BYTES, SPOTS } from './page-layout.js'
import type { ProgramInit } from './program-types.js'

/** The program's shared use of the same file. */
interface SharedUse {
  readonly id: number
  /** The session that opened the file. */
  readonly session: string
  readonly mapping: Mapping
}

interface Copy {
  /** True time before it was made or last written to. */
  since: number
  /** The written bytes by place in the page. Absent: not written, or not for certain. */
  readonly values: Map<number, string>
  /** A write of it was aborted, and may be missing. */
  isCertain: boolean
}

const VALUE_BYTES = 4

/**
 * Checks a private mapping against what its program knows of it.
 *
 * Bytes that the program wrote stay, whatever others do to the file, until their page is truncated or punched. Pages to
 * which the program has not written show the file.
 */
export class PrivateUse {
  private readonly copies = new Map<number, Copy>()

  constructor(
    private readonly init: ProgramInit,
    private readonly shared: SharedUse,
    readonly mapping: Mapping
  ) {}

  write(page: number, place: number, options: CallOptions): Promise<void> {
    return this.put(page, place, (offset, bytes) => this.mapping.write(offset, bytes, options))
  }

  /** Bytes that are written under a pin stay until the pin ends, even if the page is discarded meanwhile. */
  writePinned(page: number, place: number, options: CallOptions, hold: () => Promise<void>): Promise<void> {
    return this.put(page, place, async (offset, bytes) => {
      const pin = await this.mapping.pin(offset, bytes.length, 'write', options)
      try {
        pin.bytes.set(bytes)
        await hold()
        const found = hex(pin.bytes)
        if (!pin.lost.aborted && found !== hex(bytes)) throw this.violation('pinned pages stay', page, found)
        this.init.coverage.add('private pins')
      } finally {
        pin.release()
      }
    })
  }

  private async put(
    page: number,
    place: number,
    action: (offset: number, bytes: Uint8Array) => Promise<void>
  ): Promise<void> {
    const { invariants, history, coverage } = this.init
    const since = invariants.time
    const call = history.nowNs
    const bytes = history.nextValue(VALUE_BYTES)
    const before = this.copy(page)
    const isFirst = before === undefined
    const copy = before ?? { since, values: new Map<number, string>(), isCertain: false }
    this.copies.set(page, copy)
    try {
      await action(page * PAGE_BYTES + place, bytes)
    } catch (error) {
      copy.values.delete(place)
      if (isFirst) copy.isCertain = false
      throw error
    }
    coverage.add('private writes')
    // A page that is written again after a discard is another copy, of which only this much is known.
    if (this.copy(page) !== copy || this.isGone(page, copy.since)) {
      this.copies.set(page, { since, values: new Map(), isCertain: false })
      return
    }
    copy.values.set(place, hex(bytes))
    copy.isCertain = true
    // The rest of the page was copied from the file between the call and now.
    if (isFirst) await this.follow(page, place === SPOTS[2] ? SPOTS[1] : SPOTS[2], call)
  }

  /** Writes in one step, or not at all: only to a page that has a copy. */
  tryWrite(page: number, place: number): boolean {
    const bytes = this.init.history.nextValue(VALUE_BYTES)
    if (!this.mapping.tryWrite(page * PAGE_BYTES + place, bytes)) return false
    const copy = this.copy(page)
    if (copy === undefined || this.isGone(page, copy.since)) return true
    copy.values.set(place, hex(bytes))
    copy.isCertain = true
    return true
  }

  read(page: number, place: number, options: CallOptions): Promise<void> {
    return this.get(page, place, (offset) => this.mapping.read(offset, VALUE_BYTES, options))
  }

  readPinned(page: number, place: number, options: CallOptions, hold: () => Promise<void>): Promise<void> {
    return this.get(page, place, async (offset) => {
      const pin = await this.mapping.pin(offset, VALUE_BYTES, 'read', options)
      try {
        const bytes = pin.bytes.slice()
        await hold()
        this.init.coverage.add('private pins')
        return bytes
      } finally {
        pin.release()
      }
    })
  }

  /** Reads a place, and knows which bytes must be there or that they are the file's. */
  private async get(page: number, place: number, action: (offset: number) => Promise<Uint8Array>): Promise<void> {
    const { history, log, coverage } = this.init
    const call = history.nowNs
    const offset = page * PAGE_BYTES + place
    const known = this.copies.get(page)
    const bytes = hex(await action(offset))
    const copy = this.copy(page)
    coverage.add('private reads')
    if (known === undefined && copy === undefined) {
      const { session, id } = this.shared
      const event = {
        process: session,
        file: String(id),
        offset,
        length: VALUE_BYTES,
        op: 'read',
        value: bytes
      } as const
      return log.note({ ...event, call, return: history.nowNs })
    }
    if (copy === undefined || copy !== known || !copy.isCertain) return
    const expected = copy.values.get(place)
    if (expected !== undefined && bytes !== expected) {
      const facts = `${this.init.name}, file ${this.shared.id}, page ${page}+${place}: ${bytes}, not ${expected}`
      throw new Violation('private copies are kept', facts)
    }
    // A copied page stays as it was then, unless it was discarded at this moment.
    if (!this.isGone(page, copy.since)) copy.values.set(place, bytes)
    coverage.add('private copies read')
  }

  /** Reads in one step, or not at all. */
  tryRead(page: number, place: number): void {
    const target = new Uint8Array(VALUE_BYTES)
    if (!this.mapping.tryRead(page * PAGE_BYTES + place, target)) return
    const copy = this.copy(page)
    const expected = copy?.isCertain === true ? copy.values.get(place) : undefined
    if (expected !== undefined && hex(target) !== expected) {
      throw new Violation('private copies are kept', `${this.init.name}, page ${page}: tryRead found ${hex(target)}`)
    }
  }

  /** Called in the step in which all copies from `first` up to but without `end` were dropped. */
  checkNone(first: number, end: number): void {
    for (const page of this.copies.keys()) {
      const offset = page * PAGE_BYTES
      if (page < first || page >= end || offset + VALUE_BYTES > this.init.invariants.sizeOf(this.shared.id)) continue
      if (this.mapping.tryWrite(offset, this.init.history.nextValue(VALUE_BYTES))) {
        throw this.violation('an unmap takes private copies', page, 'a copy')
      }
    }
  }

  /** Nothing changes any more: copies of discarded pages are gone, and the others are there. */
  async checkAtRest(): Promise<void> {
    const { invariants } = this.init
    for (const [page, copy] of [...this.copies]) {
      const isGone = this.isGone(page, copy.since)
      for (const [place, expected] of copy.values) {
        const offset = page * PAGE_BYTES + place
        if (offset + VALUE_BYTES > invariants.sizeOf(this.shared.id)) continue
        const found = hex(await this.mapping.read(offset, VALUE_BYTES))
        const isKept = found === expected
        if (isGone && isKept && /[^0]/.test(expected)) {
          const theirs = hex(await this.shared.mapping.read(offset, VALUE_BYTES))
          if (theirs !== expected) throw this.violation('private copies die with their pages', page, found)
        }
        if (!isGone && copy.isCertain && !isKept) throw this.violation('private copies are kept', page, found)
      }
    }
  }

  /** Returns the copy as far as it is certain to exist. */
  private copy(page: number): Copy | undefined {
    const copy = this.copies.get(page)
    if (copy === undefined || !this.isGone(page, copy.since)) return copy
    // It dies at any moment now, if it has not died yet.
    if (copy.isCertain) this.copies.set(page, { ...copy, isCertain: false })
    return this.copies.get(page)
  }

  /** The file's page was discarded, and the copy with it; or the client dropped its copies. */
  private isGone(page: number, since: number): boolean {
    const { invariants, unmaps } = this.init
    const { id } = this.shared
    return invariants.wasDiscarded(id, page, since) || unmaps.has(id, page, since)
  }

  private async follow(page: number, place: number, call: number): Promise<void> {
    const { history, log } = this.init
    const copy = this.copies.get(page)
    const offset = page * PAGE_BYTES + place
    const bytes = hex(await this.mapping.read(offset, VALUE_BYTES))
    if (this.copies.get(page) !== copy || this.isGone(page, copy!.since)) return
    const { session, id } = this.shared
    const event = { process: session, file: String(id), offset, length: VALUE_BYTES, op: 'read', value: bytes } as const
    log.note({ ...event, call, return: history.nowNs })
    copy!.values.set(place, bytes)
  }

  private violation(invariant: string, page: number, found: string): Violation {
    return new Violation(invariant, `${this.init.name}, file ${this.shared.id}, page ${page}: found ${found}`)
  }
}
