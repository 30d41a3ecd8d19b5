import { describe, expect, it } from 'vitest'
import { createPageStore, type Backend, type BackendChange, type BackendTable } from '../src/pages/index.js'
import { pageKey } from '../src/pages/page-rows.js'
import { DIVERGED_KEY, divergenceValue, INSTALLED_KEY, recordKey, snapshotValue } from '../src/pages/record-rows.js'
import { ScrubWalk, type WalkDamage } from '../src/pages/scrub-walk.js'
import { filled, memoryStorage, PAGE } from './state-helpers.js'
import { open as openLmdb, useFolder } from './support/lmdb-store.js'
import { lending } from './support/snapshot-rows.js'
import { snapshotAt } from './support/snapshot-peer.js'

useFolder()

const BACKENDS: readonly (readonly [string, () => Backend])[] = [
  ['memory', () => memoryStorage().open()],
  ['LMDB', openLmdb]
]
const SLICE_BYTES = 128 * 1024
const SESSION = { clientId: 'c', ttlMs: 1, settled: 0 }
const SESSION_KEY = recordKey('session', 3, 0)

/** The bytes of a page. Some pages are zeros. */
function bytesOf(page: number): Uint8Array | undefined {
  return page % 7 === 0 ? undefined : filled(page)
}

/** Holds 300 pages of each of two files, and 200 records. */
async function stored(backend: Backend): Promise<Backend> {
  const store = createPageStore({ backend })
  for (let page = 0; page < 300; page++) {
    for (const file of [1, 2]) store.write(file, page, { version: 5, bytes: bytesOf(page) })
  }
  for (let session = 0; session < 200; session++) store.put('session', session, 0, SESSION)
  store.freeze(7)
  await store.flush()
  return backend
}

interface Walked {
  readonly hash: string | undefined
  readonly slices: number
  readonly damagedPages: readonly WalkDamage[]
  readonly damagedRecords: number
}

function walk(backend: Backend, sliceBytes = SLICE_BYTES): Walked {
  const view = lending(backend.view())
  const scrub = new ScrubWalk({ view, name: 'pages' })
  const damagedPages: WalkDamage[] = []
  let damagedRecords = 0
  for (let slices = 1; ; slices++) {
    const slice = scrub.walk(sliceBytes)
    damagedPages.push(...slice.damagedPages)
    damagedRecords += slice.damagedRecords
    if (!slice.done) continue
    view.close()
    return { hash: scrub.hash(), slices, damagedPages, damagedRecords }
  }
}

function valueOf(backend: Backend, table: BackendTable, key: Uint8Array): Uint8Array {
  return backend.get(table, key)!.slice()
}

/** The row with one bit of its value flipped. */
function flipped(backend: Backend, table: BackendTable, key: Uint8Array, at: number): BackendChange {
  const value = valueOf(backend, table, key)
  value[at]! ^= 4
  return { table, key, value }
}

/** Moves the row to another key, as if a bit of its key had flipped. */
function moved(backend: Backend, table: BackendTable, key: Uint8Array, to: Uint8Array): BackendChange[] {
  return [
    { table, key, value: undefined },
    { table, key: to, value: valueOf(backend, table, key) }
  ]
}

describe.each(BACKENDS)('a scrub of rows in %s', (_, open) => {
  it('a walk over sound rows in many slices finds no damage, and gives the same hash each time', async () => {
    const backend = await stored(open())
    const walked = walk(backend)
    expect(walked).toMatchObject({ damagedPages: [], damagedRecords: 0 })
    expect(walked.hash).toMatch(/^[0-9a-f]{64}$/)
    expect(walked.slices).toBeGreaterThan(15)
    expect(walk(backend)).toEqual(walked)
  })

  it.each([
    ['the version in a head', 'heads', 0],
    ['the checksum of a body', 'heads', 8],
    ['the flag of zeros in a head', 'heads', 12],
    ['the last bytes of a page', 'heads', 20],
    ['the checksum of a head', 'heads', 41],
    ['a body', 'bodies', 3000]
  ] as const)('a walk finds a flipped bit in %s, goes on behind it, and gives no hash', async (_name, table, at) => {
    const backend = await stored(open())
    await backend.commit([flipped(backend, table, pageKey(1, 9), at), flipped(backend, 'bodies', pageKey(2, 299), 0)])
    const { hash, damagedPages, damagedRecords } = walk(backend)
    expect(damagedPages.map(({ file, page }) => [file, page])).toEqual([
      [1, 9],
      [2, 299]
    ])
    expect([hash, damagedRecords]).toEqual([undefined, 0])
  })

  it('a walk reports a head under the key of another page, and the body that has no head now', async () => {
    const backend = await stored(open())
    await backend.commit(moved(backend, 'heads', pageKey(1, 9), pageKey(1, 9 + 1024)))
    expect(walk(backend)).toMatchObject({
      hash: undefined,
      damagedPages: [
        { file: 1, page: 9, reason: 'page 9 of file 1: the page has a body but no head' },
        { file: 1, page: 9 + 1024, reason: "page 1033 of file 1: the checksum of the page's head does not match" }
      ]
    })
    // Each slice ends after one row.
    expect(walk(backend, 1).damagedPages).toEqual(walk(backend).damagedPages)
  })

  it('a walk reports a body under the key of another page, and the head that has no body now', async () => {
    const backend = await stored(open())
    await backend.commit(moved(backend, 'bodies', pageKey(2, 299), pageKey(2, 2000)))
    expect(walk(backend)).toMatchObject({
      hash: undefined,
      damagedPages: [
        { file: 2, page: 299, reason: 'page 299 of file 2: the page has a head but no body' },
        { file: 2, page: 2000, reason: 'page 2000 of file 2: the page has a body but no head' }
      ]
    })
  })

  it('a walk reports a body of a page of zeros, wherever a slice ends', async () => {
    const backend = await stored(open())
    for (const page of [7, 294]) await backend.commit([{ table: 'bodies', key: pageKey(1, page), value: filled(1) }])
    for (const sliceBytes of [SLICE_BYTES, 1]) {
      expect(walk(backend, sliceBytes)).toMatchObject({
        hash: undefined,
        damagedPages: [
          { file: 1, page: 7, reason: 'page 7 of file 1: the page is zeros but has a body' },
          { file: 1, page: 294, reason: 'page 294 of file 1: the page is zeros but has a body' }
        ]
      })
    }
  })

  it('a walk reports a page whose key has another length, without naming a page', async () => {
    const backend = await stored(open())
    const key = pageKey(1, 9).subarray(0, 15)
    await backend.commit([{ table: 'heads', key, value: valueOf(backend, 'heads', pageKey(1, 9)) }])
    const { damagedPages } = walk(backend)
    expect(damagedPages).toMatchObject([{ file: undefined, page: undefined, reason: 'a page has a key of 15 bytes' }])
  })

  it('a walk counts records with a flipped bit in the value or in the key, and goes on', async () => {
    const backend = await stored(open())
    await backend.commit([
      flipped(backend, 'records', SESSION_KEY, 5),
      ...moved(backend, 'records', recordKey('session', 4, 0), recordKey('session', 4, 8)),
      flipped(backend, 'bodies', pageKey(1, 1), 0)
    ])
    expect(walk(backend)).toMatchObject({ hash: undefined, damagedRecords: 2, damagedPages: [{ file: 1, page: 1 }] })
  })

  it.each([
    ['a record', 'session', 1],
    ['a page', 'page', 1],
    ['a page of zeros', 'zeros', 1],
    ['a version', 'version', 1],
    ['a missing page', 'gone', 1],
    ['a missing record', 'no session', 1]
  ])('a walk gives another hash for a state that differs in %s', async (_name, what) => {
    const backend = await stored(open())
    const before = walk(backend).hash
    const store = createPageStore({ backend })
    if (what === 'session') store.put('session', 3, 0, { ...SESSION, ttlMs: 2 })
    if (what === 'page') store.write(1, 9, { version: 5, bytes: filled(10) })
    if (what === 'zeros') store.write(1, 9, { version: 5, bytes: undefined })
    if (what === 'version') store.write(1, 9, { version: 6, bytes: filled(9) })
    if (what === 'gone') store.remove(1, 9, 10)
    if (what === 'no session') store.put('session', 3, 0, undefined)
    store.freeze(7)
    await store.flush()
    const { hash, damagedPages, damagedRecords } = walk(backend)
    expect([damagedPages, damagedRecords]).toEqual([[], 0])
    expect(hash).toMatch(/^[0-9a-f]{64}$/)
    expect(hash).not.toBe(before)
  })

  it('a walk gives the same hash after changes that lead back to the same state', async () => {
    const backend = await stored(open())
    const before = walk(backend).hash
    const store = createPageStore({ backend })
    store.remove(1, 0, 300)
    store.put('session', 3, 0, undefined)
    store.freeze(7)
    await store.flush()
    expect(walk(backend).hash).not.toBe(before)
    for (let page = 299; page >= 0; page--) store.write(1, page, { version: 5, bytes: bytesOf(page) })
    store.put('session', 3, 0, SESSION)
    store.freeze(7)
    await store.flush()
    expect(walk(backend).hash).toBe(before)
  })

  it('records that are no part of the state do not change the hash', async () => {
    const backend = await stored(open())
    const before = walk(backend).hash
    const mark = { index: 7, hash: 'a', agreed: 'b' }
    await backend.commit([
      { table: 'records', key: INSTALLED_KEY, value: snapshotValue(INSTALLED_KEY, snapshotAt(7)) },
      { table: 'records', key: DIVERGED_KEY, value: divergenceValue(mark) }
    ])
    expect(walk(backend)).toMatchObject({ hash: before, damagedRecords: 0 })
    expect(createPageStore({ backend }).diverged).toEqual(mark)
  })

  it('records are written anew from memory with the next checkpoint, and others are removed', async () => {
    const backend = await stored(open())
    const before = walk(backend).hash
    const store = createPageStore({ backend })
    const records = [...store.restored.records]
    await backend.commit([
      flipped(backend, 'records', SESSION_KEY, 5),
      ...moved(backend, 'records', recordKey('session', 4, 0), recordKey('session', 4, 8)),
      { table: 'records', key: Uint8Array.of(0xff, 1), value: filled(1, 9) }
    ])
    expect(walk(backend).damagedRecords).toBe(3)
    store.rewriteRecords(records)
    store.freeze(7)
    await store.flush()
    expect(walk(backend)).toMatchObject({ hash: before, damagedRecords: 0 })
  })

  it('a record that an entry removes after the records were taken from memory stays removed', async () => {
    const backend = await stored(open())
    const store = createPageStore({ backend })
    const records = [...store.restored.records]
    store.put('session', 3, 0, undefined)
    store.freeze(7)
    await store.flush()
    const { hash } = walk(backend)
    store.put('session', 3, 0, SESSION)
    store.rewriteRecords(records)
    store.put('session', 3, 0, undefined)
    store.freeze(7)
    await store.flush()
    expect(walk(backend).hash).toBe(hash)
  })

  it('a walk whose view is closed ends with a ClosedError', async () => {
    const backend = await stored(open())
    const view = backend.view()
    const scrub = new ScrubWalk({ view, name: 'pages' })
    scrub.walk(SLICE_BYTES)
    await backend.close()
    expect(() => scrub.walk(SLICE_BYTES)).toThrow(expect.objectContaining({ name: 'ClosedError' }))
  })
})

it('the hash of a state is fixed, because peers of several versions and machines compare it', async () => {
  const store = createPageStore({ backend: memoryStorage().open() })
  store.write(1, 2, { version: 3, bytes: filled(4, PAGE) })
  store.write(1, 3, { version: 3, bytes: undefined })
  store.put('session', 5, 0, SESSION)
  store.freeze(6)
  await store.flush()
  const scrub = new ScrubWalk(store.openView())
  expect(scrub.walk(SLICE_BYTES).done).toBe(true)
  expect(scrub.hash()).toMatchInlineSnapshot(`"022652800de48cfdb86564239f0a0bcc2d69c80c362ff54f902b5c9a639b5307"`)
})
