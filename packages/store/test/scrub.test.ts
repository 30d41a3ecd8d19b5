import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { createMemoryStorage, createPageStore, Scrub, type EndedScrub, type ScrubLimits } from '../src/pages/index.js'
import { filled, PAGE } from './state-helpers.js'
import { countViews } from './support/counted-views.js'

const PAGES = 640

async function setUp(limits: Partial<ScrubLimits> = {}) {
  const clock = new FakeClock()
  const storage = createMemoryStorage({ schedule: queueMicrotask })
  const state = {
    openViews: 0,
    unusedBytes: 0,
    ended: [] as EndedScrub[],
    damaged: [] as string[],
    fatal: [] as Error[]
  }
  const backend = countViews(storage.open(), (change) => (state.openViews += change))
  const store = createPageStore({ backend })
  for (let page = 0; page < PAGES; page++) store.write(1, page, { version: 5, bytes: filled(page) })
  store.put('session', 3, 0, { clientId: 'c', ttlMs: 1, settled: 0 })
  store.freeze(7)
  await store.flush()
  const scrub = new Scrub({
    clock,
    limits,
    usage: () => {
      const { fileBytes, usedBytes } = store.usage()
      return { fileBytes: fileBytes + state.unusedBytes, usedBytes }
    },
    onDamagedPage: ({ file, page }) => state.damaged.push(`${file}:${page}`),
    onEnd: (scrubbed) => state.ended.push(scrubbed),
    onFatal: (error) => state.fatal.push(error)
  })
  return { clock, storage, backend, store, scrub, state }
}

describe('Scrub', () => {
  it('a walk reads at the given rate, reports its hash, and closes its view', async () => {
    const { clock, store, scrub, state } = await setUp({ bytesPerSecond: 640 * 1024 })
    scrub.start(7, store.openView())
    expect([scrub.isRunning, state.openViews]).toEqual([true, 1])
    // 640 pages with their keys and heads take four seconds.
    await clock.advance(3_700)
    expect(state.ended).toEqual([])
    expect(await clock.until(() => state.ended.length > 0)).toBe(true)
    expect(clock.now()).toBeLessThan(4_200)
    const [ended] = state.ended
    expect(ended).toMatchObject({ index: 7, damagedPages: 0, damagedRecords: 0, givenUp: undefined })
    expect(ended!.hash).toMatch(/^[0-9a-f]{64}$/)
    expect([scrub.isRunning, state.openViews, clock.pending]).toEqual([false, 0, 0])
  })

  it('a walk shows the rows that it began with, whatever is stored meanwhile', async () => {
    const { clock, store, scrub, state } = await setUp()
    for (const index of [7, 8]) {
      scrub.start(index, store.openView())
      if (index === 7) {
        store.write(1, PAGES - 1, { version: 8, bytes: filled(0) })
        store.freeze(8)
        await store.flush()
      }
      await clock.until(() => !scrub.isRunning)
    }
    const [first, second] = state.ended
    expect(first!.hash).not.toBe(second!.hash)
    scrub.start(8, store.openView())
    await clock.until(() => !scrub.isRunning)
    expect(state.ended[2]!.hash).toBe(second!.hash)
  })

  it('a walk reports each damaged page, counts it, and has no hash', async () => {
    const { clock, storage, store, scrub, state } = await setUp()
    storage.damage('bodies', 2, 9)
    storage.damage('heads', 600, 9)
    storage.damage('records', 2, 9)
    for (const round of [1, 2]) {
      scrub.start(7, store.openView())
      await clock.until(() => !scrub.isRunning)
      expect(state.ended.at(-1)).toMatchObject({
        hash: undefined,
        damagedPages: 2,
        damagedRecords: 1,
        givenUp: undefined
      })
      expect([scrub.damagedPages, scrub.damagedRecords]).toEqual([2 * round, round])
    }
    expect(state.damaged).toEqual(['1:2', '1:600', '1:2', '1:600'])
  })

  it('a walk that takes too long is given up', async () => {
    const { clock, store, scrub, state } = await setUp({ bytesPerSecond: 64 * 1024, maxAgeMs: 10_000 })
    scrub.start(7, store.openView())
    await clock.until(() => !scrub.isRunning)
    expect(clock.now()).toBeLessThan(13_000)
    expect(state.ended).toMatchObject([{ hash: undefined, givenUp: 'it takes too long' }])
    expect([state.openViews, clock.pending]).toEqual([0, 0])
  })

  it('a walk is given up when the file of the pages grows too much', async () => {
    const { clock, store, scrub, state } = await setUp({ bytesPerSecond: 640 * 1024, maxUnusedBytes: PAGES * PAGE })
    scrub.start(7, store.openView())
    await clock.advance(1_000)
    expect(scrub.isRunning).toBe(true)
    state.unusedBytes = 3 * PAGES * PAGE
    await clock.advance(1_000)
    expect(state.ended).toMatchObject([{ hash: undefined, givenUp: 'the file of the pages grows too much' }])
    expect(state.openViews).toBe(0)
  })

  it('a walk is given up when its rows are replaced', async () => {
    const { clock, storage, store, scrub, state } = await setUp({ bytesPerSecond: 640 * 1024 })
    scrub.start(7, store.openView())
    await clock.advance(1_000)
    await store.replace(() => Promise.resolve(storage.open()))
    await clock.advance(1_000)
    expect(state.ended).toMatchObject([{ hash: undefined, givenUp: 'a snapshot has replaced the state' }])
    expect([state.fatal, clock.pending]).toEqual([[], 0])
  })

  it('a walk that cannot read its rows at all ends the peer', async () => {
    const { clock, store, scrub, state } = await setUp()
    const failure = new Error('the disk is gone')
    const { view, name } = store.openView()
    scrub.start(7, {
      name,
      view: {
        from: () => {
          throw failure
        },
        close: () => view.close()
      }
    })
    await clock.advance(1)
    expect([state.fatal, state.ended, state.openViews]).toEqual([[failure], [], 0])
  })

  it('a scrub that is stopped reports nothing, and leaves neither view nor timer', async () => {
    const { clock, store, scrub, state } = await setUp({ bytesPerSecond: 640 * 1024 })
    scrub.start(7, store.openView())
    await clock.advance(1_000)
    scrub.stop()
    expect([state.openViews, clock.pending, state.ended]).toEqual([0, 0, []])
  })
})
