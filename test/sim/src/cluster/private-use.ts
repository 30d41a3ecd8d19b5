/**
 * A private mapping and what its program knows of it: what it wrote stays, whatever others do to the file, until the page is truncated or punched
 * away; pages that it has not written to are the file's.
 */
import type { CallOptions, Mapping } from '@quire/dsm-client'
import { Violation } from '../violation.js'
import { PAGE_BYTES, SPOTS } from './page-layout.js'
import type { Handle, ProgramInit } from './program.js'

interface Copy {
  /** True time before it was made or last written to. */
  since: number
  /** By place in the page; absent: not written to, or not for certain. */
  readonly values: Map<number, string>
  /** A write of it was given up: it may not be there. */
  isCertain: boolean
}

const VALUE_BYTES = 4

export class PrivateUse {
  private readonly copies = new Map<number, Copy>()

  constructor(
    private readonly init: ProgramInit,
    private readonly handle: Handle,
    readonly mapping: Mapping
  ) {}

  async write(page: number, place: number, options: CallOptions): Promise<void> {
    const { invariants, chronicle, coverage } = this.init
    const since = invariants.time
    const call = chronicle.nowNs
    const bytes = chronicle.nextValue(VALUE_BYTES)
    const before = this.copy(page)
    const isFirst = before === undefined
    const copy = before ?? { since, values: new Map<number, string>(), isCertain: false }
    this.copies.set(page, copy)
    try {
      await this.mapping.write(page * PAGE_BYTES + place, bytes, options)
    } catch (error) {
      copy.values.delete(place)
      if (isFirst) copy.isCertain = false
      throw error
    }
    coverage.add('private writes')
    // Written anew after a discard, it is another copy, of which only this much is known.
    if (this.copy(page) !== copy || invariants.wasDiscarded(this.handle.id, page, copy.since)) {
      this.copies.set(page, { since, values: new Map(), isCertain: false })
      return
    }
    copy.values.set(place, hex(bytes))
    copy.isCertain = true
    // What is beside it was copied from the file between the call and now.
    if (isFirst) await this.follow(page, place === SPOTS[2] ? SPOTS[1] : SPOTS[2], call)
  }

  /** Reads a place, and knows what must be there or that it is the file's. */
  async read(page: number, place: number, options: CallOptions): Promise<void> {
    const { chronicle, invariants, log, coverage } = this.init
    const call = chronicle.nowNs
    const offset = page * PAGE_BYTES + place
    const known = this.copies.get(page)
    const bytes = hex(await this.mapping.read(offset, VALUE_BYTES, options))
    const copy = this.copy(page)
    if (known === undefined && copy === undefined) {
      const { session: process, id } = this.handle
      const event = { process, file: String(id), offset, length: VALUE_BYTES, op: 'read', value: bytes } as const
      return log.note({ ...event, call, return: chronicle.nowNs })
    }
    if (copy === undefined || copy !== known || !copy.isCertain) return
    const expected = copy.values.get(place)
    if (expected !== undefined && bytes !== expected) {
      const facts = `${this.init.name}, file ${this.handle.id}, page ${page}+${place}: ${bytes}, not ${expected}`
      throw new Violation('private copies are kept', facts)
    }
    // A page that was copied stays as it was then, unless it was discarded in this moment.
    if (!invariants.wasDiscarded(this.handle.id, page, copy.since)) copy.values.set(place, bytes)
    coverage.add('private copies read')
  }

  /** In one step, or not at all. */
  tryRead(page: number, place: number): void {
    const target = new Uint8Array(VALUE_BYTES)
    if (!this.mapping.tryRead(page * PAGE_BYTES + place, target)) return
    const copy = this.copy(page)
    const expected = copy?.isCertain === true ? copy.values.get(place) : undefined
    if (expected !== undefined && hex(target) !== expected) {
      throw new Violation('private copies are kept', `${this.init.name}, page ${page}: tryRead found ${hex(target)}`)
    }
  }

  /** Nobody changes anything any more: copies of pages that were discarded are gone, the others are there. */
  async checkAtRest(): Promise<void> {
    const { invariants } = this.init
    for (const [page, copy] of [...this.copies]) {
      const isGone = invariants.wasDiscarded(this.handle.id, page, copy.since)
      for (const [place, expected] of copy.values) {
        const offset = page * PAGE_BYTES + place
        if (offset + VALUE_BYTES > invariants.sizeOf(this.handle.id)) continue
        const found = hex(await this.mapping.read(offset, VALUE_BYTES))
        const isKept = found === expected
        if (isGone && isKept && /[^0]/.test(expected)) {
          const theirs = hex(await this.handle.mapping.read(offset, VALUE_BYTES))
          if (theirs !== expected) throw this.violation('private copies die with their pages', page, found)
        }
        if (!isGone && copy.isCertain && !isKept) throw this.violation('private copies are kept', page, found)
      }
    }
  }

  /** The copy as far as it is known to be there. */
  private copy(page: number): Copy | undefined {
    const copy = this.copies.get(page)
    if (copy === undefined || !this.init.invariants.wasDiscarded(this.handle.id, page, copy.since)) return copy
    // It dies at any moment now, if it has not died.
    if (copy.isCertain) this.copies.set(page, { ...copy, isCertain: false })
    return this.copies.get(page)
  }

  private async follow(page: number, place: number, call: number): Promise<void> {
    const { chronicle, log, invariants } = this.init
    const copy = this.copies.get(page)
    const offset = page * PAGE_BYTES + place
    const bytes = hex(await this.mapping.read(offset, VALUE_BYTES))
    if (this.copies.get(page) !== copy || invariants.wasDiscarded(this.handle.id, page, copy!.since)) return
    const { session: process, id } = this.handle
    const event = { process, file: String(id), offset, length: VALUE_BYTES, op: 'read', value: bytes } as const
    log.note({ ...event, call, return: chronicle.nowNs })
    copy!.values.set(place, bytes)
  }

  private violation(invariant: string, page: number, found: string): Violation {
    return new Violation(invariant, `${this.init.name}, file ${this.handle.id}, page ${page}: found ${found}`)
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
