import { crc32c } from '@node-rs/crc32'
import { CorruptionError, type ClientMessageOf, type QuireError } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { StoredChecksums } from '../src/server/stored-checksums.js'
import { DamagedPageError } from '../src/state/damaged-page.js'
import type { FileRecord, StateView } from '../src/state/view.js'
import { filled, PAGE } from './state-helpers.js'

const FILE = 4
const SESSION = 7
let clock: FakeClock
let damaged: Set<number>
let repaired: ((error: CorruptionError | undefined) => void) | undefined
let checksums: StoredChecksums
let results: (number | QuireError)[]
let zeros: Set<number>

beforeEach(() => {
  clock = new FakeClock()
  damaged = new Set()
  repaired = undefined
  results = []
  zeros = new Set()
  const file = { id: FILE, path: '/f', size: 3 * PAGE, pageSize: PAGE, sessions: new Set([SESSION]) }
  const view = {
    file: (id: number) => (id === FILE ? (file as unknown as FileRecord) : undefined),
    page: (id: number, page: number) => {
      if (damaged.has(page)) throw new DamagedPageError('pages', 'a bit flipped', id, page)
      return { version: 1, bytes: zeros.has(page) ? undefined : filled(page + 1) }
    }
  } as StateView
  checksums = new StoredChecksums({
    view,
    clock,
    whenRepaired: (_file, _page, then) => {
      repaired = then
      return () => {}
    },
    guard: (input) => input()
  })
})

function ask(offset: number, length: number): void {
  const request: ClientMessageOf<'checksum'> = { type: 'checksum', seq: 1, file: FILE, offset, length, before: 0 }
  checksums.compute(request, SESSION, (result) => results.push(result))
}

describe('checksums of stored bytes', () => {
  it('checksums are computed one in each turn of the event loop', async () => {
    for (let page = 0; page < 3; page++) ask(page * PAGE, PAGE)
    expect(results).toHaveLength(0)
    await clock.advance(0)
    expect(results.length).toBeGreaterThan(0)
    await clock.advance(10)
    expect(results).toHaveLength(3)
    expect(new Set(results).size).toBe(3)
  })

  it('a checksum waits until a damaged page is repaired, and others do not wait for it', async () => {
    damaged.add(1)
    ask(0, 3 * PAGE)
    ask(0, PAGE)
    await clock.advance(10)
    expect(results).toHaveLength(1)
    damaged.clear()
    repaired!(undefined)
    await clock.advance(10)
    expect(results).toHaveLength(2)
    expect(results.every((result) => typeof result === 'number')).toBe(true)
  })

  it('a checksum fails with CorruptionError if no peer has a good copy', async () => {
    damaged.add(1)
    ask(0, 3 * PAGE)
    await clock.advance(10)
    repaired!(new CorruptionError('page 1', undefined, 'no good copy'))
    expect(results).toEqual([expect.any(CorruptionError)])
  })

  it('the checksum of a page of zeros, which has no bytes, is that of its 4,096 zeros', async () => {
    zeros.add(1)
    ask(PAGE, PAGE)
    ask(PAGE + 5, PAGE)
    await clock.advance(10)
    const across = crc32c(filled(2 + 1, 5), crc32c(filled(0, PAGE - 5)))
    expect(results).toEqual([crc32c(filled(0)), across])
  })

  it('nothing is computed after the term', async () => {
    ask(0, PAGE)
    checksums.end()
    await clock.advance(10)
    expect(results).toEqual([])
  })
})
