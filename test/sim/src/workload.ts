/** Random programs over a few files. Every value that they write tells who wrote it, so that what they read can be judged. */
import type { DsmClient, DsmFile, Mapping } from '@quire/dsm-client'
import type { Clock } from '@quire/protocol'
import type { Coverage } from './coverage.js'
import type { Operation, PageInvariants } from './page-invariants.js'
import { COUNT_OFFSET, COUNTER_OFFSET, PAGE_BYTES, readU32, REGISTERS, u32Bytes, writeU32 } from './page-layout.js'
import type { Chance } from './random.js'
import { Violation } from './violation.js'

export interface WorkloadSettings {
  readonly files: number
  /** Pages of a file when it is made, and at most. */
  readonly pages: number
  readonly maxPages: number
  /** Mean pause between two actions. */
  readonly pauseMs: number
  /** Of one client, at the same time. */
  readonly programs: number
  /** Mean time that a pin is held. */
  readonly pinMs: number
  /** How often each action is taken, relative to the others. */
  readonly weights: Readonly<Record<Action, number>>
}

export type Action =
  | 'increment'
  | 'write'
  | 'writeAcross'
  | 'read'
  | 'readAcross'
  | 'sync'
  | 'extend'
  | 'stat'
  | 'reopen'
export const ACTIONS: readonly Action[] = [
  'increment',
  'write',
  'writeAcross',
  'read',
  'readAcross',
  'sync',
  'extend',
  'stat',
  'reopen'
]

export interface ProgramInit {
  readonly name: string
  readonly client: DsmClient
  readonly clock: Clock
  readonly chance: Chance
  readonly settings: WorkloadSettings
  readonly invariants: PageInvariants
  readonly coverage: Coverage
  readonly isStopping: () => boolean
  /** The client closes. */
  readonly isLeaving: () => boolean
}

/** What may happen to a program while others crash and networks break. */
const EXPECTED = new Set(['SessionExpiredError', 'UnavailableError', 'BusyError', 'ClosedError', 'CacheFullError'])

interface Handle {
  readonly file: DsmFile
  readonly mapping: Mapping
  readonly id: number
  readonly session: number
}

export function pathOf(file: number): string {
  return `/file-${file}`
}

export class Program {
  private readonly handles = new Map<number, Handle>()

  constructor(private readonly init: ProgramInit) {}

  async run(): Promise<void> {
    const { chance, settings, isStopping } = this.init
    while (!isStopping()) {
      const file = chance.int(0, settings.files - 1)
      const action = this.pickAction()
      await this.attempt(action, () => this.act(action, file))
      await this.sleep(chance.exponential(settings.pauseMs))
    }
  }

  /** For the end: takes part in every page, which must succeed, and returns what all the pages hold. */
  async visitAll(): Promise<{ file: number; page: number; bytes: Uint8Array }[]> {
    const found: { file: number; page: number; bytes: Uint8Array }[] = []
    for (let number = 0; number < this.init.settings.files; number++) {
      const handle = await this.open(number)
      const { size } = await handle.file.stat()
      this.checkSize(handle, size)
      for (let page = 0; page < size / PAGE_BYTES; page++) {
        await this.increment(handle, page)
        found.push({ file: handle.id, page, bytes: await handle.mapping.read(page * PAGE_BYTES, PAGE_BYTES) })
      }
    }
    return found
  }

  async readAll(): Promise<{ file: number; page: number; bytes: Uint8Array }[]> {
    const found: { file: number; page: number; bytes: Uint8Array }[] = []
    for (const { file, id } of this.handles.values()) {
      const { size } = await file.stat()
      for (let page = 0; page < size / PAGE_BYTES; page++) {
        found.push({ file: id, page, bytes: await file.read(page * PAGE_BYTES, PAGE_BYTES) })
      }
    }
    return found
  }

  private pickAction(): Action {
    const { chance, settings } = this.init
    let at = chance.next() * ACTIONS.reduce((sum, action) => sum + settings.weights[action], 0)
    for (const action of ACTIONS) {
      at -= settings.weights[action]
      if (at < 0) return action
    }
    return 'read'
  }

  private async attempt(action: Action, run: () => Promise<void>): Promise<void> {
    const { coverage } = this.init
    try {
      await run()
      coverage.add(`ok: ${action}`)
    } catch (error) {
      const { name } = error as Error
      if (!EXPECTED.has(name)) throw error
      coverage.add(`${name}: ${action}`)
      if (name === 'SessionExpiredError' || name === 'ClosedError') this.handles.clear()
      await this.sleep(20)
    }
  }

  private async act(action: Action, number: number): Promise<void> {
    const { chance } = this.init
    const handle = await this.open(number)
    const known = this.init.invariants.sizeOf(handle.id) / PAGE_BYTES
    const page = chance.int(0, known - 1)
    switch (action) {
      case 'increment':
        return this.increment(handle, page)
      case 'write':
        return this.write(handle, [{ page, offset: chance.pick(REGISTERS) }])
      case 'writeAcross':
        if (page + 1 >= known) return this.write(handle, [{ page, offset: REGISTERS[1] }])
        return this.write(handle, [
          { page, offset: REGISTERS[2] },
          { page: page + 1, offset: REGISTERS[0] }
        ])
      case 'read':
        return this.read(handle, page * PAGE_BYTES + chance.int(0, 3) * 4, chance.pick([16, 1200, PAGE_BYTES - 32]))
      case 'readAcross': {
        const end = chance.int(page + 1, known)
        return this.read(handle, page * PAGE_BYTES, (end - page) * PAGE_BYTES)
      }
      case 'sync':
        return this.sync(handle, known)
      case 'extend':
        return this.extend(handle, known)
      case 'stat':
        return this.stat(handle, number)
      case 'reopen':
        return this.close(handle, number)
    }
  }

  private async open(number: number): Promise<Handle> {
    const { client, settings, invariants } = this.init
    const existing = this.handles.get(number)
    if (existing !== undefined) return existing
    const file = await client.open(pathOf(number), { create: true, size: settings.pages * PAGE_BYTES })
    const session = Number(client.session.id)
    invariants.grown(Number(file.id), settings.pages * PAGE_BYTES)
    const mapping = await file.mmap({ length: settings.maxPages * PAGE_BYTES })
    const handle = { file, mapping, id: Number(file.id), session }
    this.handles.set(number, handle)
    return handle
  }

  /** Read, modify, write under a pin: nobody may come between. */
  private async increment(handle: Handle, page: number): Promise<void> {
    const { chance, settings } = this.init
    const pin = await handle.mapping.pin(page * PAGE_BYTES, PAGE_BYTES, 'write')
    try {
      let base = readU32(pin.bytes, COUNT_OFFSET)
      let previous = readU32(pin.bytes, COUNTER_OFFSET)
      if (chance.is(0.3)) await this.sleep(chance.exponential(settings.pinMs))
      if (settings.programs > 1) {
        // A pin keeps other clients out. Programs of one client share its memory, as threads would.
        base = readU32(pin.bytes, COUNT_OFFSET)
        previous = readU32(pin.bytes, COUNTER_OFFSET)
      }
      // What is written to a pin whose session has gone is never seen, nor what comes behind the last flush.
      if (pin.lost.aborted || this.init.isLeaving()) return
      const operation = this.begin('increment', handle, page, COUNTER_OFFSET, { previous, count: base + 1 })
      writeU32(pin.bytes, COUNT_OFFSET, base + 1)
      writeU32(pin.bytes, COUNTER_OFFSET, operation.id)
      this.init.invariants.finish(operation, 'done')
      if (chance.is(0.2)) await this.sleep(chance.exponential(settings.pinMs))
    } finally {
      pin.release()
    }
  }

  /** Writes one register, or two that lie side by side. */
  private async write(handle: Handle, places: readonly { page: number; offset: number }[]): Promise<void> {
    const { chance } = this.init
    const operations = places.map(({ page, offset }) => this.begin('register', handle, page, offset))
    const bytes = new Uint8Array(4 * places.length)
    for (const [i, { id }] of operations.entries()) writeU32(bytes, i * 4, id)
    const at = places[0]!.page * PAGE_BYTES + places[0]!.offset
    await this.settle(operations, () =>
      chance.is(0.5) ? handle.mapping.write(at, bytes) : handle.file.write(at, bytes)
    )
  }

  /** Writes the last register of the page behind the end: the file grows by a page. */
  private async extend(handle: Handle, pages: number): Promise<void> {
    if (pages >= this.init.settings.maxPages) return
    const offset = REGISTERS[2]
    const operation = this.begin('register', handle, pages, offset)
    await this.settle([operation], () => handle.file.write(pages * PAGE_BYTES + offset, u32Bytes(operation.id)))
    this.init.invariants.grown(handle.id, (pages + 1) * PAGE_BYTES)
  }

  private async read(handle: Handle, offset: number, length: number): Promise<void> {
    const { chance, invariants, name } = this.init

    const call = invariants.time
    const bytes = chance.is(0.5) ? await handle.mapping.read(offset, length) : await handle.file.read(offset, length)
    if (bytes.length !== length) {
      throw new Violation('sizes only grow', `${name} read ${bytes.length} of ${length} bytes at ${offset}`)
    }
    invariants.read(name, handle.session, handle.id, offset, bytes, call)
  }

  private async sync(handle: Handle, pages: number): Promise<void> {
    const { chance, invariants } = this.init
    const call = invariants.time
    const first = chance.is(0.5) ? 0 : chance.int(0, pages - 1)
    const last = first === 0 ? Infinity : chance.int(first, pages - 1)
    if (last === Infinity) await handle.file.sync()
    else await handle.mapping.msync(first * PAGE_BYTES, (last - first + 1) * PAGE_BYTES)
    invariants.flushed(handle.session, handle.id, first, last, call)
  }

  private async stat(handle: Handle, number: number): Promise<void> {
    const { chance, client, invariants } = this.init
    const before = invariants.sizeOf(handle.id)
    const { size } = chance.is(0.5) ? await handle.file.stat() : await client.stat(pathOf(number))
    if (size < before) throw new Violation('sizes only grow', `${this.init.name} learnt ${size}, it was ${before}`)
    invariants.grown(handle.id, size)
  }

  private async close(handle: Handle, number: number): Promise<void> {
    const { chance, invariants, isLeaving } = this.init
    const call = invariants.time
    this.handles.delete(number)
    // While the client closes, its files' closing says nothing: the flush is the client's.
    if (chance.is(0.3)) {
      await handle.mapping.munmap()
      if (!isLeaving()) invariants.flushed(handle.session, handle.id, 0, Infinity, call)
    }
    await handle.file.close()
    if (!isLeaving()) invariants.flushed(handle.session, handle.id, 0, Infinity, call)
  }

  private begin(
    kind: Operation['kind'],
    handle: Handle,
    page: number,
    offset: number,
    increment?: { previous: number; count: number }
  ): Operation {
    const { invariants, name } = this.init
    return invariants.begin(kind, name, handle.session, handle.id, page, offset, increment)
  }

  private async settle(operations: readonly Operation[], write: () => Promise<void>): Promise<void> {
    const { invariants } = this.init
    try {
      await write()
      for (const operation of operations) invariants.finish(operation, 'done')
    } catch (error) {
      for (const operation of operations) invariants.finish(operation, 'maybe')
      throw error
    }
  }

  private checkSize(handle: Handle, size: number): void {
    const expected = this.init.invariants.sizeOf(handle.id)
    if (size < expected) throw new Violation('sizes only grow', `file ${handle.id} has ${size}, it had ${expected}`)
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.init.clock.schedule(ms, resolve)
    })
  }
}
