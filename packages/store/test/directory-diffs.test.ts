/** Diffs that answer the orders of the directory (docs/coherence.md, Diffs). */
import type { PageWrite } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { filled, PAGE } from './state-helpers.js'
import { DirectoryWorld } from './support/directory-world.js'

const diff = (value: number, seq = 1): Partial<PageWrite> => ({
  seq,
  ranges: [{ offset: 8, length: 1 }],
  bytes: Uint8Array.of(value)
})

function patched(value: number, before = 0): Uint8Array {
  const bytes = filled(before)
  bytes[8] = value
  return bytes
}

/** Session `a` owns page 0 of a file that `b` maps, too. */
function owned(): { world: DirectoryWorld; file: number; a: number; b: number; epoch: number } {
  const world = new DirectoryWorld()
  const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
  const { epoch } = world.acquire(a, file, 0, 'write')
  return { world, file, a, b, epoch }
}

const results = (world: DirectoryWorld, session: number): string[] =>
  world.all(session, 'writebackAck').flatMap(({ pages }) => pages.map(({ result }) => result))

describe('an order that is answered with a diff', () => {
  it('a revoke that is answered with a diff costs one small entry, and the next owner gets the whole page', () => {
    const { world, file, a, b } = owned()
    const req = world.fault(b, file, 0, 'write')
    world.answer(a, 'revoke', diff(5))
    expect(world.proposals).toMatchObject([{ type: 'handover', pages: [{ seq: 1, bytes: Uint8Array.of(5) }] }])
    world.commit()
    expect(results(world, a)).toEqual(['stored'])
    expect(world.granted(b, req)).toMatchObject({ owner: true, pages: [{ bytes: patched(5) }] })
  })

  it('a downgrade that is answered with a diff costs one small entry, and readers get the whole page', () => {
    const { world, file, a, b } = owned()
    const req = world.fault(b, file, 0, 'read')
    world.answer(a, 'downgrade', diff(5))
    expect(world.proposals).toMatchObject([{ type: 'writeback', pages: [{ seq: 1, bytes: Uint8Array.of(5) }] }])
    world.commit()
    expect(results(world, a)).toEqual(['stored'])
    expect(world.granted(b, req)).toMatchObject({ pages: [{ bytes: patched(5) }] })
  })

  it.each(['revoke', 'downgrade'] as const)('a %s that is answered with a diff of another base is repeated', (type) => {
    const { world, file, a, b } = owned()
    const req = world.fault(b, file, 0, type === 'revoke' ? 'write' : 'read')
    world.answer(a, type, diff(5, 2))
    expect(world.proposals).toEqual([])
    expect(results(world, a)).toEqual(['base'])
    world.answer(a, type, { seq: 3, bytes: filled(6) })
    world.commit()
    expect(world.granted(b, req)).toMatchObject({ pages: [{ bytes: filled(6) }] })
  })

  it('an order that is answered with a diff of a damaged page is repeated, and the whole page heals it', () => {
    const { world, file, a, b, epoch } = owned()
    world.tell(a, { type: 'writeback', req: 1, pages: [{ file, page: 0, epoch, seq: 1, bytes: filled(1) }] })
    world.commit()
    world.store.lose(file, 0, world.machine.appliedIndex)
    const req = world.fault(b, file, 0, 'write')
    world.answer(a, 'revoke', diff(5, 2))
    expect(world.proposals).toEqual([])
    expect(results(world, a)).toEqual(['stored', 'base'])
    world.answer(a, 'revoke', { seq: 3, bytes: filled(6) })
    world.commit()
    expect(world.granted(b, req)).toMatchObject({ pages: [{ bytes: filled(6) }] })
  })

  it('a downgrade is repeated if the page turns out to be damaged when its diff is applied', () => {
    const { world, file, a, b, epoch } = owned()
    world.tell(a, { type: 'writeback', req: 1, pages: [{ file, page: 0, epoch, seq: 1, bytes: filled(1) }] })
    world.commit()
    const req = world.fault(b, file, 0, 'read')
    world.answer(a, 'downgrade', diff(5, 2))
    world.store.lose(file, 0, world.machine.appliedIndex)
    world.commit()
    expect(results(world, a)).toEqual(['stored', 'base'])
    expect(world.granted(b, req)).toBeUndefined()
    world.answer(a, 'downgrade', { seq: 3, bytes: filled(6) })
    world.commit()
    expect(world.granted(b, req)).toMatchObject({ pages: [{ bytes: filled(6) }] })
  })

  it('the revoke for the tail of a truncate is repeated until the page comes whole', () => {
    const { world, file, a, b } = owned()
    world.truncate(b, file, 100)
    world.answer(a, 'revoke', diff(5))
    expect(results(world, a)).toEqual(['base'])
    world.answer(a, 'revoke', { seq: 2, bytes: filled(6) })
    for (const session of [a, b]) world.answer(session, 'discard')
    expect(world.proposals).toMatchObject([{ type: 'truncate', tail: { seq: 2 } }])
    world.settle()
    const cut = new Uint8Array(PAGE)
    cut.fill(6, 0, 100)
    expect(world.machine.page(file, 0).bytes).toEqual(cut)
  })
})
