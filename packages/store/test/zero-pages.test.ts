/** Pages of zeros, of which peers store only a head (docs/storage.md, Pages of zeros). */
import { CorruptionError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { createPageStore, type Backend, type BackendTable, type PageStore } from '../src/pages/index.js'
import { PageEncoder, findDamage, pageKey } from '../src/pages/page-rows.js'
import { filled, Harness, memoryStorage, memoryStore, PAGE } from './state-helpers.js'
import { DirectoryWorld } from './support/directory-world.js'
import { open as openLmdb, useFolder } from './support/lmdb-store.js'

useFolder()

const ZEROS = filled(0)
const BACKENDS: readonly (readonly [string, () => Backend])[] = [
  ['memory', () => memoryStorage().open()],
  ['LMDB', openLmdb]
]

/** A state machine over a page store, and a session that owns page 1 of a file. */
function owned(store = memoryStore()) {
  const h = new Harness(store)
  const session = h.session()
  const file = h.file(session)
  const epoch = h.own(file, 1, session)
  return { h, session, file, epoch, page: () => h.machine.page(file, 1) }
}

async function checkpoint(store: PageStore, index: number): Promise<void> {
  store.freeze(index)
  await store.flush()
}

/** The numbers of the pages that have a row in the table. */
function pagesIn(backend: Backend, table: BackendTable): number[] {
  return [...backend.entries(table, new Uint8Array(0))].map(([key]) => key[15]!)
}

describe('entries that write zeros', () => {
  it('a writeback of zeros leaves a page with a version and without bytes', () => {
    const { h, session, file, epoch, page } = owned()
    h.writeback(session, file, 1, epoch, 1, filled(3))
    h.writeback(session, file, 1, epoch, 2, ZEROS)
    expect(page()).toEqual({ version: h.index, bytes: undefined })
    expect(h.machine.version(file, 1)).toBe(h.index)
    const last = filled(0)
    last[PAGE - 1] = 0x80
    h.writeback(session, file, 1, epoch, 3, last)
    expect(page()).toEqual({ version: h.index, bytes: last })
  })

  it('a handover of zeros leaves a page with a version and without bytes', () => {
    const { h, session, file, epoch, page } = owned()
    h.handover(file, 1, session, epoch, 0, ZEROS)
    expect(page()).toEqual({ version: h.index, bytes: undefined })
  })

  it('a diff that takes the last other byte away leaves a page without bytes, and a later one brings bytes again', () => {
    const { h, session, file, epoch, page } = owned()
    const write = (seq: number, value: number): void => {
      const diff = { ranges: [{ offset: 7, length: 1 }], bytes: Uint8Array.of(value) }
      const pages = [{ file, page: 1, epoch, seq, ...diff }]
      const { outcomes } = h.apply<'writeback'>({ type: 'writeback', session, at: 1, pages })
      expect(outcomes).toEqual([{ file, page: 1, epoch, seq, result: 'stored' }])
    }
    write(1, 5)
    expect(page().bytes?.[7]).toBe(5)
    write(2, 0)
    expect(page()).toEqual({ version: h.index, bytes: undefined })
    write(3, 6)
    expect(page()).toEqual({ version: h.index, bytes: filled(0).fill(6, 7, 8) })
  })

  it('a truncate that cuts off all other bytes leaves a page without bytes, and one that cuts zeros a new version', () => {
    const { h, session, file, epoch, page } = owned()
    h.writeback(session, file, 1, epoch, 1, filled(0).fill(1, 100))
    for (const [at, size] of [PAGE + 100, PAGE + 50].entries()) {
      const request = { type: 'truncate', session, seq: at + 2, settled: 0, at: 1 } as const
      h.apply({ ...request, file, size, tail: undefined })
      expect(page()).toEqual({ version: h.index, bytes: undefined })
    }
  })

  it('a page of zeros takes little memory', () => {
    const store = createPageStore({ backend: memoryStorage().open() })
    const { h, session, file, epoch } = owned(store)
    const before = store.memtableBytes
    h.writeback(session, file, 1, epoch, 1, ZEROS)
    expect(store.memtableBytes - before).toBeLessThan(512)
    h.writeback(session, file, 1, epoch, 2, filled(1))
    expect(store.memtableBytes - before).toBeGreaterThan(PAGE)
  })
})

describe.each(BACKENDS)('rows of pages of zeros in %s', (_, open) => {
  it('a page of zeros is a head alone, and reads the same after a restart', async () => {
    const backend = open()
    const store = createPageStore({ backend })
    const { h, session, file, epoch, page } = owned(store)
    h.writeback(session, file, 1, epoch, 1, ZEROS)
    const [stored, digest] = [page(), h.machine.digest()]
    await checkpoint(store, h.index)
    expect([pagesIn(backend, 'heads'), pagesIn(backend, 'bodies')]).toEqual([[1], []])
    const restarted = createPageStore({ backend })
    expect(restarted.read(file, 1)).toEqual(stored)
    expect(restarted.version(file, 1)).toBe(stored.version)
    expect([...restarted.pages(file)]).toEqual([1])
    expect(restarted.damage(file, 1)).toBeUndefined()
    expect(h.machine.digest()).toBe(digest)
  })

  it('zeros over data remove the body, and data over zeros add one', async () => {
    const backend = open()
    const store = createPageStore({ backend })
    const contents = [filled(1), undefined, filled(2), undefined, undefined]
    for (const [at, bytes] of contents.entries()) {
      const version = at + 1
      store.write(1, 7, { version, bytes })
      await checkpoint(store, version)
      expect([pagesIn(backend, 'heads'), pagesIn(backend, 'bodies')]).toEqual([[7], bytes === undefined ? [] : [7]])
      expect(createPageStore({ backend }).read(1, 7)).toEqual({ version, bytes })
    }
    store.remove(1, 0, 10)
    await checkpoint(store, 9)
    expect([pagesIn(backend, 'heads'), store.read(1, 7)]).toEqual([[], undefined])
  })

  it('a page of zeros that another peer sends for a damaged one is a head alone', async () => {
    const backend = open()
    const store = createPageStore({ backend })
    store.write(1, 7, { version: 3, bytes: filled(1) })
    await checkpoint(store, 3)
    store.lose(1, 7, 5)
    expect(store.damage(1, 7)).toEqual({ head: { version: 5, mark: undefined } })
    await checkpoint(store, 5)
    expect(store.damage(1, 7)).toEqual({ head: { version: 5, mark: undefined } })
    store.repair(1, 7, { version: 5, bytes: undefined })
    await checkpoint(store, 6)
    expect([pagesIn(backend, 'heads'), pagesIn(backend, 'bodies')]).toEqual([[7], []])
    expect(createPageStore({ backend }).read(1, 7)).toEqual({ version: 5, bytes: undefined })
  })

  it.each([
    ['data', filled(1), undefined, 'the page has a head but no body', 'checksum'],
    ['zeros', undefined, filled(1, PAGE - 28), 'the page is zeros but has a body', 'zeros']
  ] as const)('a page of %s with the wrong body is damaged', async (_name, bytes, body, reason, mark) => {
    const backend = open()
    const store = createPageStore({ backend })
    store.write(1, 7, { version: 3, bytes })
    await checkpoint(store, 3)
    await backend.commit([{ table: 'bodies', key: pageKey(1, 7), value: body }])
    expect(() => store.read(1, 7)).toThrow(`page 7 of file 1: ${reason}`)
    const { head } = store.damage(1, 7)!
    expect(head).toEqual({ version: 3, mark: mark === 'zeros' ? mark : (expect.any(Number) as number) })
  })
})

describe('the flag of a page of zeros', () => {
  it('each damaged bit in the head of a page of zeros is found, that of the flag as well', async () => {
    const storage = memoryStorage()
    const store = createPageStore({ backend: storage.open() })
    store.write(1, 7, { version: 3, bytes: undefined })
    await checkpoint(store, 3)
    let bits = 0
    for (; storage.damage('heads', 0, bits); bits++) {
      expect(() => store.read(1, 7), `bit ${bits}`).toThrow(CorruptionError)
      expect(store.damage(1, 7)).toEqual({ head: undefined })
      storage.damage('heads', 0, bits)
    }
    expect(bits).toBe(45 * 8)
  })

  it('a head that has lost the flag is that of a page without its body, and one that has got it contradicts the body', () => {
    const { key, head, body } = new PageEncoder().encode(1, 7, 3, filled(1))
    const zeros = new PageEncoder().encode(1, 7, 3, 'zeros')
    const lost = new PageEncoder().encode(1, 7, 3, 'lost')
    const damage = (rows: Partial<Record<BackendTable, Uint8Array | undefined>>) =>
      findDamage({ name: 'rows', get: (table: BackendTable) => rows[table] } as unknown as Backend, key)
    expect(damage({ heads: head, bodies: body })).toBeUndefined()
    expect(damage({ heads: zeros.head, bodies: zeros.body })).toBeUndefined()
    expect(damage({ heads: lost.head, bodies: lost.body })).toEqual({ head: { version: 3, mark: undefined } })
    expect(damage({ heads: zeros.head, bodies: body })).toEqual({ head: { version: 3, mark: 'zeros' } })
  })
})

describe('grants of pages of zeros', () => {
  it('a grant of a page of zeros has its version and no bytes', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const { epoch } = world.acquire(a, file, 0, 'write')
    world.tell(a, { type: 'writeback', req: 1, pages: [{ file, page: 0, epoch, seq: 1, bytes: ZEROS }] })
    world.commit()
    const version = world.machine.appliedIndex
    expect(world.acquire(b, file, 0, 'read').pages).toEqual([{ version, bytes: new Uint8Array(0) }])
    // The copy of zeros is current, as any other would be.
    const again = world.fault(b, file, 0, 'read', version)
    expect(world.granted(b, again)?.pages).toEqual([{ version, bytes: undefined }])
  })

  it('an order is answered with a diff of a page of zeros, and the next owner gets the bytes', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const { epoch } = world.acquire(a, file, 0, 'write')
    world.tell(a, { type: 'writeback', req: 1, pages: [{ file, page: 0, epoch, seq: 1, bytes: ZEROS }] })
    world.commit()
    const req = world.fault(b, file, 0, 'write')
    world.answer(a, 'revoke', { seq: 2, ranges: [{ offset: 8, length: 1 }], bytes: Uint8Array.of(5) })
    world.commit()
    expect(world.granted(b, req)).toMatchObject({ owner: true, pages: [{ bytes: filled(0).fill(5, 8, 9) }] })
  })
})
