/** Truncate and punch in the state machine: docs/coherence.md, 'Files that shrink'. */
import { describe, expect, it } from 'vitest'
import { encodeCommand } from '../src/state/index.js'
import { filled, PAGE } from './state-helpers.js'
import { Files, tailOf, errorName } from './support/state-requests.js'

describe('truncate', () => {
  it('a truncate removes the pages beyond the new end, releases them under a new epoch, and counts the discard', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 6 * PAGE })
    h.file(h.two, '/a')
    h.store(file, 1, 1)
    h.store(file, 3, 3)
    h.store(file, 5, 5, h.two)
    expect(h.truncate(file, 3 * PAGE)).toMatchObject({ type: 'truncated', file, size: 3 * PAGE })
    expect(h.machine.file(file)).toMatchObject({ size: 3 * PAGE, version: h.index, discards: 1, modifiedAt: 70 })
    expect(h.machine.owner(file, 1).session).toBe(h.one)
    for (const page of [3, 5]) {
      expect(h.machine.owner(file, page)).toEqual({ session: 0, epoch: 2, seq: 0 })
      expect(h.machine.page(file, page)).toEqual({ version: 0, bytes: undefined })
    }
    expect(h.bytes(file, 1)).toEqual(filled(1))
    expect(h.machine.ownedPages()).toBe(1)
  })

  it('a truncate zeroes the stored bytes beyond the new end in the page that it cuts, as a new version of the page', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 1, 7)
    h.truncate(file, PAGE + 100)
    expect(h.machine.version(file, 1)).toBe(h.index)
    expect(h.bytes(file, 1).subarray(0, 100)).toEqual(filled(7, 100))
    expect(h.bytes(file, 1).subarray(100)).toEqual(filled(0, PAGE - 100))
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: epoch + 1, seq: 0 })
  })

  it("a truncate stores the owner's unflushed bytes of the cut page up to the new end, in the same entry", () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 1, 7)
    h.truncate(file, PAGE + 100, tailOf(file, 1, epoch, 8, 2))
    expect(h.bytes(file, 1).subarray(0, 100)).toEqual(filled(8, 100))
    expect(h.bytes(file, 1).subarray(100)).toEqual(filled(0, PAGE - 100))
  })

  it.each([
    [
      'an epoch that is not the current one',
      (h: Files, file: number, epoch: number) => tailOf(file, 1, epoch + 1, 8, 2)
    ],
    ['a writeback that is already stored', (h: Files, file: number, epoch: number) => tailOf(file, 1, epoch, 8, 1)],
    ['the number of another page', (h: Files, file: number, epoch: number) => tailOf(file, 0, epoch, 8, 2)],
    ['the id of another file', (h: Files, file: number, epoch: number) => tailOf(file + 1, 1, epoch, 8, 2)],
    [
      'a length other than the page size',
      (h: Files, file: number, epoch: number) => ({ ...tailOf(file, 1, epoch, 8, 2), bytes: filled(8, 9) })
    ]
  ])('a truncate ignores the bytes for the cut page if they have %s', (_what, tail) => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 1, 7)
    h.truncate(file, PAGE + 100, tail(h, file, epoch))
    expect(h.bytes(file, 1).subarray(0, 100)).toEqual(filled(7, 100))
  })

  it('a truncate ignores the bytes of an owner that has expired (page owned by an expired session)', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    h.file(h.two, '/a')
    const epoch = h.own(file, 1, h.two)
    h.apply({ type: 'expireSession', session: h.two, at: 1 })
    h.truncate(file, PAGE + 100, tailOf(file, 1, epoch, 8))
    expect(h.bytes(file, 1)).toEqual(filled(0))
  })

  it('a file that grows again after a truncate reads zeros (truncate then re-extend)', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    for (const page of [0, 1, 2, 3]) h.store(file, page, 9)
    h.truncate(file, PAGE + 10)
    h.ask({ type: 'extend', file, size: 4 * PAGE })
    expect(h.bytes(file, 1).subarray(0, 10)).toEqual(filled(9, 10))
    expect(h.bytes(file, 1).subarray(10)).toEqual(filled(0, PAGE - 10))
    for (const page of [2, 3]) expect(h.machine.page(file, page)).toEqual({ version: 0, bytes: undefined })
  })

  it('a truncate to a larger size only sets the size, and shows no bytes from beyond the old end', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: PAGE + 10 })
    const epoch = h.own(file, 1, h.one)
    h.truncate(file, PAGE + 20, tailOf(file, 1, epoch, 8))
    expect(h.machine.file(file)).toMatchObject({ size: PAGE + 20, version: h.index, discards: 0 })
    expect(h.bytes(file, 1).subarray(0, 10)).toEqual(filled(8, 10))
    expect(h.bytes(file, 1).subarray(10)).toEqual(filled(0, PAGE - 10))
  })

  it('a truncate to the same size changes nothing, and succeeds', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 2 * PAGE })
    expect(h.truncate(file, 2 * PAGE)).toMatchObject({ type: 'truncated', size: 2 * PAGE })
    expect(h.machine.file(file)).toMatchObject({ version: file, discards: 0 })
  })

  it('a repeated truncate is applied once, even after the file has grown again', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const first = h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.one, 500)
    h.ask({ type: 'extend', file, size: 4 * PAGE })
    h.store(file, 2, 3)
    expect(h.machine.isAnswered(h.one, 500)).toBe(true)
    expect(h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.one, 500)).toEqual(first)
    expect(h.machine.file(file)).toMatchObject({ size: 4 * PAGE, discards: 1 })
    expect(h.bytes(file, 2)).toEqual(filled(3))
  })

  it('a truncate refuses a file that the session does not map, and a size beyond the largest', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    expect(errorName(h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.two))).toBe('InvalidArgumentError')
    expect(errorName(h.truncate(file, 2 ** 53 - 1))).toBe('InvalidArgumentError')
    expect(h.machine.file(file)?.size).toBe(10 * PAGE)
  })

  it('a truncate makes later writebacks of discarded pages stale, even if the file has such pages again', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 2, 1)
    h.truncate(file, PAGE)
    h.ask({ type: 'extend', file, size: 4 * PAGE })
    expect(h.writeback(h.one, file, 2, epoch, 2, filled(9))).toMatchObject({ result: 'stale' })
    const again = h.own(file, 2, h.one)
    expect(again).toBeGreaterThan(epoch)
    expect(h.writeback(h.one, file, 2, epoch, 3, filled(9))).toMatchObject({ result: 'stale' })
    expect(h.bytes(file, 2)).toEqual(filled(0))
  })

  it('a truncate that cuts a page leaves its former bytes as they are, because a checkpoint may still write them', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: PAGE })
    const epoch = h.own(file, 0, h.one)
    const pages = [{ file, page: 0, epoch, seq: 1, bytes: filled(8) }]
    h.machine.apply(
      h.index + 1,
      'normal',
      Buffer.from(encodeCommand({ type: 'writeback', session: h.one, pages, at: 1 }))
    )
    const before = h.bytes(file, 0)
    h.truncate(file, 100)
    expect(before).toEqual(filled(8))
  })

  it('a truncate copies the bytes of its entry, so that the caller may reuse the buffer', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 2 * PAGE })
    const epoch = h.own(file, 0, h.one)
    const request = { session: h.one, seq: 400, settled: 0, at: 1 }
    const data = encodeCommand({ type: 'truncate', ...request, file, size: 100, tail: tailOf(file, 0, epoch, 8) })
    h.machine.apply(h.index + 1, 'normal', data)
    data.fill(255)
    expect(h.bytes(file, 0).subarray(0, 100)).toEqual(filled(8, 100))
  })
})

describe('punch', () => {
  it('a punch makes holes of whole pages, at most up to the end of the file, and keeps the size', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 3 * PAGE + 1 })
    for (const page of [0, 1, 2, 3]) h.store(file, page, 5)
    const size = 3 * PAGE + 1
    expect(h.ask({ type: 'punch', file, first: 1, end: 2 })).toMatchObject({ type: 'punched', first: 1, end: 2 })
    expect(h.machine.file(file)).toMatchObject({ size, discards: 1, version: h.index })
    expect(h.machine.page(file, 1)).toEqual({ version: 0, bytes: undefined })
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.ask({ type: 'punch', file, first: 2, end: 2 ** 40 })).toMatchObject({ first: 2, end: 4 })
    expect(h.machine.ownedPages()).toBe(1)
    expect(h.machine.file(file)).toMatchObject({ size, discards: 2 })
  })

  it('a punch of an empty range changes nothing, and succeeds', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: PAGE })
    for (const [first, end] of [
      [0, 0],
      [5, 2],
      [1, 9]
    ] as const) {
      expect(h.ask({ type: 'punch', file, first, end }).type).toBe('punched')
    }
    expect(h.machine.file(file)).toMatchObject({ version: file, discards: 0 })
  })
})
