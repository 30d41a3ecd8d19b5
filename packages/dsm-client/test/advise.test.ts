/** Read-ahead of mappings and files, and the advice that governs it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DsmClient, DsmFile, Mapping } from '../src/types.js'
import { World, failure, view } from './support/client.js'

const PAGE = 4096
const PAGES = 100

let world: World
let client: DsmClient
let file: DsmFile
let mapping: Mapping

beforeEach(async () => {
  world = new World()
  client = await world.create({ cacheBytes: 4 * 1024 * 1024 })
  file = await client.open('/f', { create: true, size: PAGES * PAGE })
  mapping = await file.mmap()
})

afterEach(() => world.until(client.close()))

const asked = (): number[] => world.leader.of('fault').map(({ page }) => page)
const sorted = (pages: Iterable<number>): number[] => [...pages].sort((a, b) => a - b)
const upTo = (end: number): number[] => Array.from({ length: end }, (_, page) => page)

describe('read-ahead of a mapping', () => {
  it('read-ahead of a mapping gets the pages after two reads in a row, each once, up to the end of the file', async () => {
    for (const page of [0, 1]) await mapping.read(page * PAGE, PAGE)
    expect(asked().length).toBeGreaterThan(2)
    for (let page = 2; page < PAGES; page++) await mapping.read(page * PAGE, PAGE)
    expect(sorted(asked())).toEqual(upTo(PAGES))
    const { hits, readAheads, readAheadsWasted } = client.stats()
    expect([hits, readAheads, readAheadsWasted]).toEqual([PAGES - 2, PAGES - 2, 0])
  })

  it('read-ahead of a mapping goes on while tryRead finds the pages', async () => {
    const target = new Uint8Array(PAGE)
    for (const page of [0, 1]) await mapping.read(page * PAGE, PAGE)
    const before = asked().length
    await world.clock.advance(1)
    for (const page of [2, 3, 4, 5]) expect(mapping.tryRead(page * PAGE, target)).toBe(true)
    await world.clock.advance(1)
    expect(asked().length).toBeGreaterThan(before)
  })

  it('read-ahead of a mapping follows pins for reading, and no pins for writing', async () => {
    for (const page of [0, 4]) (await mapping.pin(page * PAGE, 4 * PAGE, 'read')).release()
    await world.clock.advance(1)
    expect(sorted(asked())).toEqual(upTo(16))
    for (const page of [50, 54]) (await mapping.pin(page * PAGE, 4 * PAGE, 'write')).release()
    await world.clock.advance(1)
    expect(asked().filter((page) => page >= 16)).toEqual([50, 51, 52, 53, 54, 55, 56, 57])
  })

  it('read-ahead of a mapping stops at the end of the mapping', async () => {
    const short = await file.mmap({ length: 5 * PAGE })
    for (const page of [0, 1, 2, 3]) await short.read(page * PAGE, PAGE)
    expect(sorted(asked())).toEqual(upTo(5))
  })

  it('read-ahead of a private mapping reads the pages of the file', async () => {
    const copy = await file.mmap({ flags: 'private' })
    for (const page of [0, 1]) await copy.read(page * PAGE, PAGE)
    expect(asked().length).toBeGreaterThan(2)
  })

  it('read-ahead of a file follows the reads of each handle by itself', async () => {
    const other = await client.open('/f')
    for (let page = 0; page < 20; page++) {
      await file.read(page * PAGE, PAGE)
      await other.read((80 - 2 * page) * PAGE, PAGE)
    }
    expect(client.stats().readAheads).toBeGreaterThan(30)
    await world.until(other.close())
  })
})

describe('advise', () => {
  it("advise 'random' ends the read-ahead, and 'normal' brings it back", async () => {
    await mapping.advise(0, mapping.length, 'random')
    for (const page of [0, 1, 2, 3]) await mapping.read(page * PAGE, PAGE)
    expect(asked()).toEqual([0, 1, 2, 3])
    await mapping.advise(0, mapping.length, 'normal')
    for (const page of [4, 5]) await mapping.read(page * PAGE, PAGE)
    expect(asked().length).toBeGreaterThan(6)
  })

  it("advise 'sequential' reads the whole window ahead at the second read", async () => {
    await mapping.advise(0, mapping.length, 'sequential')
    for (const page of [0, 1]) await mapping.read(page * PAGE, PAGE)
    expect(sorted(asked())).toEqual(upTo(PAGES))
  })

  it("advise 'willneed' gets the pages of the range, and does not wait for them", async () => {
    world.leader.holding.add('fault')
    await mapping.advise(10 * PAGE, 20 * PAGE, 'willneed')
    await world.clock.advance(1)
    expect(asked()).toEqual(upTo(30).slice(10))
    world.leader.release('fault')
    await world.clock.advance(1)
    expect(mapping.tryRead(10 * PAGE, new Uint8Array(20 * PAGE))).toBe(true)
  })

  it("advise 'dontneed' drops the pages of the range when their bytes are durable", async () => {
    await mapping.write(PAGE, Uint8Array.of(7))
    await mapping.read(2 * PAGE, 1)
    await mapping.advise(PAGE, PAGE, 'dontneed')
    expect(world.leader.of('writeback')).toHaveLength(1)
    expect([...view(client).pages].map(({ index }) => index)).toEqual([2])
    expect(await mapping.read(PAGE, 1)).toEqual(Uint8Array.of(7))
  })

  it('advise refuses a range beyond the mapping and an unknown advice', async () => {
    for (const call of [mapping.advise(0, mapping.length + 1, 'normal'), mapping.advise(0, 1, 'soon' as never)]) {
      expect(await failure(call)).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    }
  })
})
