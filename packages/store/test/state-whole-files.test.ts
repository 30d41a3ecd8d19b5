/** Files that are owned as a whole, in the state machine: docs/coherence.md, 'Whole files as the unit'. */
import { describe, expect, it } from 'vitest'
import { filled, PAGE } from './state-helpers.js'
import { Files, errorName } from './support/state-requests.js'

describe('a file that is owned as a whole', () => {
  it('a file that is owned as a whole has one owner record, under page 0', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    expect(h.machine.file(file)?.unit).toBe('file')
    const epoch = h.own(file, 0, h.one)
    expect(h.machine.owner(file, 7)).toEqual({ session: h.one, epoch, seq: 0 })
    expect(h.machine.ownedPages()).toBe(1)
  })

  it('a file that is owned as a whole accepts writebacks of all its pages from the owner, under one sequence of numbers', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    const epoch = h.own(file, 0, h.one)
    expect(h.writeback(h.one, file, 3, epoch, 1, filled(3))).toMatchObject({ result: 'stored' })
    const version = h.index
    expect(h.machine.version(file, 3)).toBe(version)
    expect(h.writeback(h.one, file, 5, epoch, 2, filled(5))).toMatchObject({ result: 'stored' })
    expect(h.machine.version(file, 5)).toBe(h.index)
    // The first writeback again (hazard: writeback accepted twice).
    expect(h.writeback(h.one, file, 3, epoch, 1, filled(9))).toMatchObject({ result: 'stored' })
    expect(h.machine.version(file, 3)).toBe(version)
    expect([h.bytes(file, 3), h.bytes(file, 5)]).toEqual([filled(3), filled(5)])
    expect(h.writeback(h.two, file, 3, epoch, 9, filled(9))).toMatchObject({ result: 'stale' })
    expect(h.writeback(h.one, file, 10, epoch, 9, filled(9))).toMatchObject({ result: 'stale' })
  })

  it('a file that is owned as a whole loses its owner when it shrinks and when a hole is punched', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    const epoch = h.own(file, 0, h.one)
    h.writeback(h.one, file, 5, epoch, 1, filled(3))
    h.truncate(file, 2 * PAGE)
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: epoch + 1, seq: 0 })
    expect(h.machine.version(file, 5)).toBe(0)
    const again = h.own(file, 0, h.one)
    h.ask({ type: 'punch', file, first: 1, end: 2 })
    expect(h.machine.owner(file, 0)).toEqual({ session: 0, epoch: again + 1, seq: 0 })
  })

  it("an open with a unit other than the file's is refused, and one without a unit is accepted", () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    expect(errorName(h.open(h.one, '/a', { unit: 'page' }))).toBe('InvalidArgumentError')
    expect(h.file(h.one, '/a', { unit: undefined })).toBe(file)
    h.file(h.one, '/b')
    expect(errorName(h.open(h.one, '/b', { unit: 'file' }))).toBe('InvalidArgumentError')
  })
})
