/**
 * What the coherence protocol promises, checked from outside after every event, for all clients whose lease is valid at that instant of
 * true time:
 *
 * - a page is writable at one client and readable nowhere else, or readable at many with equal bytes;
 * - a clean copy holds the committed bytes;
 * - a value that another client could read, or that a flush has acknowledged, never disappears;
 * - a read returns what the page held at some moment between its call and its return;
 * - in the end every increment is there, but for those that went with a lost session before anybody saw them.
 */
import type { Applied, StateView } from '@quire/store/peer-core'
import type { ClientView } from '@quire/dsm-client/inspect'
import { COUNT_OFFSET, COUNTER_OFFSET, ID_OFFSETS, PAGE_BYTES, readU32 } from './page-layout.js'
import type { SimPeer } from './peers.js'
import { Violation } from './violation.js'

/** One write of one id into one place. */
export interface Operation {
  readonly id: number
  readonly kind: 'register' | 'increment'
  readonly client: string
  readonly session: number
  readonly file: number
  readonly page: number
  readonly offset: number
  readonly call: number
  /** Infinity while under way. */
  end: number
  /** `maybe`: the call failed, the bytes may have been written. */
  status: 'running' | 'done' | 'maybe'
  /** Of an increment: the operation that it followed, and the count that it left. */
  readonly previous: number
  readonly count: number
  /** Another client could read it. */
  shown: boolean
  /** A flush that began after it was acknowledged. */
  flushed: boolean
}

/** One place in a page: the ids that it has held, with the time from which on. */
interface Place {
  readonly offset: number
  readonly values: number[]
  readonly since: number[]
  /** Ids that were ever committed. */
  readonly committed: Set<number>
}

interface PageModel {
  readonly file: number
  readonly page: number
  readonly places: Place[]
  committed: Uint8Array
}

interface PendingRead {
  readonly client: string
  readonly session: number
  readonly file: number
  readonly offset: number
  readonly bytes: Uint8Array
  readonly call: number
  readonly end: number
}

export interface ViewedClient {
  readonly name: string
  view(): ClientView | undefined
}

export const NO_OPERATION = 0
const ZEROS = new Uint8Array(PAGE_BYTES)

export class PageInvariants {
  /** By id; nothing at 0. */
  readonly operations: Operation[] = []
  private readonly pages = new Map<number, PageModel>()
  private appliedIndex = 0
  /** The state of whoever is ahead. */
  private latest: StateView | undefined
  private readonly outcomes = new Map<number, string>()
  private readonly ended = new Set<number>()
  private readonly expired = new Set<number>()
  /** Sessions that a client ended itself, everything flushed. */
  private readonly closedCleanly = new Set<number>()
  private pendingReads: PendingRead[] = []
  private readonly sizes = new Map<number, number>()
  private expectedSizes = new Map<number, number>()

  constructor(
    private readonly clients: () => readonly ViewedClient[],
    private readonly now: () => number
  ) {}

  /** True time, for calls. */
  get time(): number {
    return this.now()
  }

  // ---- what programs do

  begin(
    kind: Operation['kind'],
    client: string,
    session: number,
    file: number,
    page: number,
    offset: number,
    increment = { previous: NO_OPERATION, count: 0 }
  ): Operation {
    const operation: Operation = {
      id: this.operations.length === 0 ? 1 : this.operations.length,
      kind,
      client,
      session,
      file,
      page,
      offset,
      call: this.now(),
      end: Infinity,
      status: 'running',
      ...increment,
      shown: false,
      flushed: false
    }
    this.operations[operation.id] = operation
    return operation
  }

  finish(operation: Operation, status: 'done' | 'maybe'): void {
    operation.status = status
    operation.end = this.now()
  }

  /** A read has returned `bytes`. Judged when the event is over. */
  read(client: string, session: number, file: number, offset: number, bytes: Uint8Array, call: number): void {
    this.pendingReads.push({ client, session, file, offset, bytes, call, end: this.now() })
  }

  /** A flush of the range, called at `call`, has succeeded. */
  flushed(session: number, file: number, firstPage: number, lastPage: number, call: number): void {
    for (const operation of this.operations) {
      if (operation === undefined || operation.session !== session || operation.file !== file) continue
      if (operation.page < firstPage || operation.page > lastPage || operation.status !== 'done') continue
      // At the same instant nobody knows which came first.
      if (operation.end >= call) continue
      operation.flushed = true
      const place = this.placeOf(operation)
      if (!this.supersededIn(place.committed, operation)) {
        const when = `from ${call.toFixed(3)} to ${this.now().toFixed(3)}`
        throw new Violation(
          'msync means durable',
          `${describe(operation)} is not committed, yet a flush ${when} of pages ${firstPage} to ${lastPage} succeeded`
        )
      }
    }
  }

  /** `committed` has the operation's value, or a later one that the same session wrote over it. */
  private supersededIn(committed: ReadonlySet<number>, operation: Operation): boolean {
    if (committed.has(operation.id)) return true
    for (const id of committed) {
      const other = this.operations[id]
      if (other?.session === operation.session && (id > operation.id || other.end >= operation.call)) return true
    }
    return false
  }

  /** The file is at least this long from now on. */
  grown(file: number, size: number): void {
    this.expectedSizes.set(file, Math.max(size, this.expectedSizes.get(file) ?? 0))
  }

  sizeOf(file: number): number {
    return this.expectedSizes.get(file) ?? 0
  }

  closed(session: number): void {
    this.closedCleanly.add(session)
  }

  // ---- what the log says

  /** Of the last entry that anybody has applied. */
  get lastIndex(): number {
    return this.appliedIndex
  }

  applied(peer: SimPeer, index: number, applied: Applied | undefined): void {
    const text = JSON.stringify(applied) ?? ''
    const known = this.outcomes.get(index)
    if (known !== undefined && known !== text) {
      throw new Violation(
        'state machine safety',
        `${peer.name}: entry ${index} came out as ${text}, elsewhere ${known}`
      )
    }
    this.outcomes.set(index, text)
    if (index <= this.appliedIndex) return
    if (index !== this.appliedIndex + 1) {
      throw new Violation('applied in order', `${peer.name} applied ${index}, nobody ${this.appliedIndex + 1}`)
    }
    this.appliedIndex = index
    this.latest = peer.core!.replica.applier.state
    if (applied === undefined) return
    switch (applied.type) {
      case 'handover':
        if (applied.version === index) this.commit(peer, applied.file, applied.page)
        if (applied.done) this.settle(this.model(applied.file, applied.page))
        break
      case 'writeback':
        for (const outcome of applied.outcomes) {
          if (outcome.version === index) this.commit(peer, outcome.file, outcome.page)
        }
        break
      case 'session-ended':
        if (!applied.existed) break
        this.ended.add(applied.session)
        if (applied.expired) this.expired.add(applied.session)
        this.settleUnowned()
        break
      case 'opened':
        this.grown(applied.stat.id, applied.stat.size)
        break
      case 'closed':
        this.settleUnowned()
        break
      case 'extended':
        this.sizes.set(applied.file, applied.size)
        break
      case 'truncated':
      case 'punched':
      case 'renamed':
      case 'unlinked':
        break // no program here asks for it
      case 'config':
      case 'session-opened':
      case 'failed':
        break
    }
  }

  private commit(peer: SimPeer, file: number, page: number): void {
    const bytes = peer.core!.replica.applier.state.page(file, page).bytes ?? ZEROS
    const model = this.model(file, page)
    model.committed = bytes
    for (const place of model.places) place.committed.add(readU32(bytes, place.offset))
  }

  /** Where nobody can read the page, what is committed is what the next reader gets. */
  private settle(model: PageModel): void {
    if (this.countHolders(model) === 0) this.update(model, model.committed)
  }

  private countHolders(model: PageModel): number {
    let count = 0
    for (const client of this.clients()) {
      const view = client.view()
      if (view === undefined || !view.isValid) continue
      for (const page of view.pages) {
        if (page.file === model.file && page.index === model.page && page.access !== 'invalid') count++
      }
    }
    return count
  }

  private settleUnowned(): void {
    for (const model of this.pages.values()) {
      if (this.latest?.owner(model.file, model.page).session === 0) this.settle(model)
    }
  }

  // ---- after every event

  check(): void {
    const held = new Map<PageModel, { client: string; access: string; bytes: Uint8Array }>()
    for (const client of this.clients()) {
      const view = client.view()
      if (view === undefined || !view.isValid) continue
      if (this.expired.has(view.session)) {
        throw new Violation('lease', `${client.name} serves session ${view.session}, which has expired`)
      }
      for (const page of view.pages) {
        if (page.access === 'invalid') continue
        const model = this.model(page.file, page.index)
        const bytes = page.frame!.bytes
        const where = `${client.name}, page ${page.file}:${page.index}`
        const other = held.get(model)
        if (other !== undefined) {
          if (other.access === 'modified' || page.access === 'modified') {
            throw new Violation(
              'one writer or many readers',
              `${where}: ${page.access}; ${other.client}: ${other.access}`
            )
          }
          if (Buffer.compare(bytes, other.bytes) !== 0) {
            throw new Violation(
              'equal copies',
              `${where} differs from ${other.client}'s: ${difference(bytes, other.bytes)}`
            )
          }
        } else {
          held.set(model, { client: client.name, access: page.access, bytes })
        }
        if (!page.dirty && Buffer.compare(bytes, model.committed) !== 0) {
          throw new Violation(
            'clean copies are committed',
            `${where}, ${page.access}, version ${page.version}: ${difference(bytes, model.committed)}`
          )
        }
        this.show(view.session, model, bytes)
      }
    }
    for (const [model, { bytes }] of held) this.update(model, bytes)
    this.followOwners(held)
    for (const read of this.pendingReads.splice(0)) this.checkRead(read)
  }

  /** What an owner has written and given up, or may not touch for want of a lease, is what the page holds until its session ends. */
  private followOwners(held: ReadonlyMap<PageModel, unknown>): void {
    for (const client of this.clients()) {
      const view = client.view()
      if (view === undefined || view.isEnded) continue
      for (const page of view.pages) {
        if (!page.dirty || (page.access !== 'invalid' && view.isValid)) continue
        const model = this.model(page.file, page.index)
        if (held.has(model)) continue
        const owner = this.latest?.owner(page.file, page.index)
        if (owner?.session === view.session && owner.epoch === page.epoch) this.update(model, page.frame!.bytes)
      }
    }
  }

  private show(session: number, model: PageModel, bytes: Uint8Array): void {
    for (const { offset } of model.places) {
      const operation = this.operations[readU32(bytes, offset)]
      if (operation !== undefined && operation.session !== session) operation.shown = true
    }
  }

  /** The page holds `bytes` now. */
  private update(model: PageModel, bytes: Uint8Array): void {
    for (const place of model.places) {
      const value = readU32(bytes, place.offset)
      if (value === place.values.at(-1)) continue
      const where = `page ${model.file}:${model.page}+${place.offset}`
      const operation = this.operations[value]
      if (value !== NO_OPERATION) {
        if (operation === undefined || operation.file !== model.file || operation.page !== model.page) {
          throw new Violation('no value out of thin air', `${where} holds ${value}`)
        }
        if (place.offset === COUNTER_OFFSET && operation.count !== readU32(bytes, COUNT_OFFSET)) {
          throw new Violation(
            'pins are atomic',
            `${where}: ${describe(operation)}, the count is ${readU32(bytes, COUNT_OFFSET)}`
          )
        }
      }
      const earlier = place.values.lastIndexOf(value)
      // What comes a second time was there before the values after it: those are gone.
      if (earlier >= 0) this.checkUndone(where, place.values.slice(earlier + 1), value)
      place.values.push(value)
      place.since.push(this.now())
    }
  }

  private checkUndone(where: string, undone: readonly number[], to: number): void {
    for (const id of undone) {
      const operation = this.operations[id]
      // The place went from an older value to this one and back, by the same loss.
      if (operation === undefined || id === to) continue
      if (operation.shown || operation.flushed || !this.ended.has(operation.session)) {
        const why = operation.shown ? 'others have seen it' : operation.flushed ? 'it was flushed' : 'its session lives'
        throw new Violation(
          'visible means durable',
          `${where} went back to ${to}; ${describe(operation)} is gone, but ${why}`
        )
      }
    }
  }

  private checkRead(read: PendingRead): void {
    const { offset, bytes, call, end } = read
    const first = Math.floor(offset / PAGE_BYTES)
    const last = Math.floor((offset + bytes.length - 1) / PAGE_BYTES)
    for (let page = first; page <= last; page++) {
      const model = this.model(read.file, page)
      for (const place of model.places) {
        const at = page * PAGE_BYTES + place.offset - offset
        if (at < 0 || at + 4 > bytes.length) continue
        const value = readU32(bytes, at)
        if (this.isOwnAndOverwritten(read, place, value)) continue
        if (!heldBetween(place, value, call, end)) {
          throw new Violation(
            'reads are linearizable',
            `${read.client} of page ${read.file}:${page}+${place.offset} from ${call.toFixed(2)} to ${end.toFixed(2)} returned ${value}; it held ${history(place, call)}`
          )
        }
      }
    }
  }

  /** Programs of one client may read, between two events, what one of them has written and another has written over. */
  private isOwnAndOverwritten(read: PendingRead, place: Place, value: number): boolean {
    const operation = this.operations[value]
    if (operation?.session !== read.session || place.values.includes(value)) return false
    return operation.call <= read.end && operation.end >= read.call
  }

  // ---- the end

  /** `bytes` is what everybody agrees on, and everything has come to rest. */
  checkFinal(file: number, page: number, bytes: Uint8Array): void {
    const model = this.model(file, page)
    if (Buffer.compare(bytes, model.committed) !== 0) {
      throw new Violation(
        'everything is durable in the end',
        `page ${file}:${page}: ${difference(bytes, model.committed)}`
      )
    }
    for (const { offset } of model.places) {
      if (offset === COUNTER_OFFSET) this.checkCounter(model, bytes)
      else this.checkRegister(model, offset, readU32(bytes, offset))
    }
  }

  private checkCounter(model: PageModel, bytes: Uint8Array): void {
    const chain = new Set<number>()
    for (let id = readU32(bytes, COUNTER_OFFSET); id !== NO_OPERATION; id = this.operations[id]!.previous) chain.add(id)
    const count = readU32(bytes, COUNT_OFFSET)
    const where = `counter ${model.file}:${model.page}`
    if (chain.size !== count)
      throw new Violation('sums are exact', `${where} says ${count}, its chain has ${chain.size}`)
    for (const operation of this.operations) {
      if (operation?.kind !== 'increment' || operation.file !== model.file || operation.page !== model.page) continue
      if (!chain.has(operation.id) && !this.mayBeLost(operation)) {
        throw new Violation('no update is lost', `${where}: ${describe(operation)} is not in the chain of ${count}`)
      }
    }
  }

  private checkRegister(model: PageModel, offset: number, value: number): void {
    const last = this.operations[value]
    for (const operation of this.operations) {
      if (operation?.kind !== 'register' || operation.file !== model.file || operation.page !== model.page) continue
      if (operation.offset !== offset || operation === last || operation.status !== 'done') continue
      if (this.mayBeLost(operation)) continue
      if (last === undefined || operation.call > last.end) {
        const found = last === undefined ? 'nothing' : describe(last)
        throw new Violation(
          'no update is lost',
          `page ${model.file}:${model.page}+${offset} holds ${found}, not ${describe(operation)}`
        )
      }
    }
  }

  private mayBeLost(operation: Operation): boolean {
    if (operation.shown || operation.flushed) return false
    return this.ended.has(operation.session) && !this.closedCleanly.has(operation.session)
  }

  // ---- models

  private placeOf(operation: Operation): Place {
    return this.model(operation.file, operation.page).places.find(({ offset }) => offset === operation.offset)!
  }

  private model(file: number, page: number): PageModel {
    const key = file * 4096 + page
    let model = this.pages.get(key)
    if (model === undefined) {
      const places = ID_OFFSETS.map((offset) => ({ offset, values: [0], since: [0], committed: new Set([0]) }))
      model = { file, page, places, committed: ZEROS }
      this.pages.set(key, model)
    }
    return model
  }
}

function heldBetween({ values, since }: Place, value: number, call: number, end: number): boolean {
  for (let i = values.length - 1; i >= 0; i--) {
    const until = since[i + 1] ?? Infinity
    if (until < call) return false
    if (values[i] === value && since[i]! <= end) return true
  }
  return false
}

function history({ values, since }: Place, from: number): string {
  const parts: string[] = []
  for (let i = 0; i < values.length; i++) {
    if ((since[i + 1] ?? Infinity) >= from) parts.push(`${values[i]} since ${since[i]!.toFixed(2)}`)
  }
  return parts.join(', ')
}

function describe(operation: Operation): string {
  const { id, kind, client, session, file, page, offset, call, end, status, shown, flushed } = operation
  const known = `${shown ? ', shown' : ''}${flushed ? ', flushed' : ''}`
  const times = `${call.toFixed(1)}..${end.toFixed(1)}`
  return `${kind} ${id} of ${client} (page ${file}:${page}+${offset}, session ${session}, ${times}, ${status}${known})`
}

function difference(a: Uint8Array, b: Uint8Array): string {
  for (const offset of [...ID_OFFSETS, COUNT_OFFSET]) {
    if (readU32(a, offset) !== readU32(b, offset)) return `${readU32(a, offset)} and ${readU32(b, offset)} at ${offset}`
  }
  return `they differ at byte ${a.findIndex((byte, i) => byte !== b[i])}`
}
