/** Runs of pages at the leader: a run is only a batch of pages. */
import { errorToWire, PastEndError, type Access } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { joinHandovers } from '../src/server/handover-runs.js'
import type { DirectoryCommand } from '../src/directory/types.js'
import { encodeCommand } from '../src/state/index.js'
import { filled, PAGE } from './state-helpers.js'
import { DirectoryWorld } from './support/directory-world.js'

/** Sends a run of faults. Page `page` + i has the request 500 + i. */
function faultRun(world: DirectoryWorld, session: number, file: number, page: number, count: number, access: Access) {
  world.tell(session, { type: 'fault', req: 500, file, page, count, access, have: 0 })
}

/** The granted pages, in the order of their grants. */
function grantedPages(world: DirectoryWorld, session: number): number[] {
  return world.all(session, 'grant').map(({ page }) => page)
}

type Handover = Extract<DirectoryCommand, { type: 'handover' }>

function handover(page: number, rest: Partial<Handover> = {}): Handover {
  return { type: 'handover', file: 1, page, from: 0, fromEpoch: 0, to: 7, pages: [undefined], ...rest }
}

describe('a run of faults', () => {
  it('a run of faults is granted page by page: pages that another session owns come later', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(b, file, 2, 'write')
    faultRun(world, a, file, 0, 5, 'read')
    expect(grantedPages(world, a)).toEqual([0, 1, 3, 4])
    expect(world.all(b, 'downgrade').map(({ page }) => page)).toEqual([2])
    world.answer(b, 'downgrade')
    expect(grantedPages(world, a)).toEqual([0, 1, 3, 4, 2])
  })

  it('a run of faults fails for the pages beyond the end alone', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1, { size: 3 * PAGE }) as [number, [number]]
    faultRun(world, a, file, 1, 4, 'read')
    expect(grantedPages(world, a)).toEqual([1, 2])
    const failed = world.all(a, 'faultFailed')
    expect(failed.map(({ req, page }) => [req, page])).toEqual([
      [502, 3],
      [503, 4]
    ])
    expect(failed[0]!.error).toEqual(errorToWire(new PastEndError('/file', 3 * PAGE, 3 * PAGE)))
  })

  it('a newer fault replaces its own page of an older run, and no other', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    for (const page of [0, 1, 2]) world.acquire(b, file, page, 'write')
    faultRun(world, a, file, 0, 3, 'write')
    const newer = world.fault(a, file, 1, 'read')
    for (let i = 0; i < 3; i++) world.answer(b, 'revoke')
    world.settle()
    expect(world.granted(a, 500)).toBeDefined()
    expect(world.granted(a, 502)).toBeDefined()
    expect(world.granted(a, newer)).toBeDefined()
  })

  it('two runs of writers that cross end, whichever page comes first', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    faultRun(world, a, file, 0, 4, 'write')
    faultRun(world, b, file, 2, 4, 'write')
    world.settle()
    expect(new Set(grantedPages(world, a))).toEqual(new Set([0, 1, 2, 3]))
    expect(new Set(grantedPages(world, b))).toEqual(new Set([2, 3, 4, 5]))
    expect(world.directory.stats()).toMatchObject({ operations: 0, waiting: 0 })
  })
})

describe('a run of answers', () => {
  it('a run of bytes that a writer gives back becomes one entry, and each page goes to its next owner', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    for (const page of [0, 1, 2]) world.acquire(a, file, page, 'write')
    faultRun(world, b, file, 0, 3, 'write')
    const orders = world.all(a, 'revoke')
    const pages = orders.map(({ page }) => ({ file, page, epoch: 1, seq: 1, bytes: filled(page + 1) }))
    world.tell(a, { type: 'ownerAckDirty', op: orders[0]!.op, pages })
    const joined = joinHandovers(world.proposals)
    expect(joined).toHaveLength(1)
    world.proposals = [...joined]
    world.commit()
    expect(world.all(b, 'grant').map(({ page, pages: [content] }) => [page, content!.bytes![0]])).toEqual([
      [0, 1],
      [1, 2],
      [2, 3]
    ])
    expect(world.all(a, 'writebackAck').flatMap((ack) => ack.pages.map(({ page, result }) => [page, result]))).toEqual([
      [0, 'stored'],
      [1, 'stored'],
      [2, 'stored']
    ])
  })

  it('a handover of a run counts for the pages that still have the old owner, and the directory decides again for the others', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1) as [number, [number]]
    faultRun(world, a, file, 0, 3, 'write')
    world.proposals = [...joinHandovers(world.proposals)]
    expect(world.proposals).toHaveLength(1)
    const other = { type: 'handover' as const, file, page: 1, at: 0, pages: [undefined] }
    for (const [from, to] of [
      [0, a],
      [a, 0]
    ] as const) {
      // Behind the directory's back.
      const command = encodeCommand({ ...other, from, fromEpoch: world.machine.owner(file, 1).epoch, to })
      world.machine.apply(world.machine.appliedIndex + 1, 'normal', command)
    }
    world.commit()
    expect(grantedPages(world, a)).toEqual([0, 2])
    expect(world.proposals).toMatchObject([{ page: 1, from: 0, fromEpoch: 2 }])
    world.commit()
    expect(grantedPages(world, a)).toEqual([0, 2, 1])
  })

  it('a run of acknowledgments counts for each operation that it names', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    for (const page of [0, 1]) world.acquire(a, file, page, 'read')
    world.acquire(c, file, 1, 'read')
    faultRun(world, b, file, 0, 2, 'write')
    const [first] = world.all(a, 'invalidate')
    world.commit()
    world.commit()
    world.tell(a, { type: 'invalidateAck', op: first!.op, file, page: 0, count: 2 })
    expect(grantedPages(world, b)).toEqual([0])
    world.answer(c, 'invalidate')
    expect(grantedPages(world, b)).toEqual([0, 1])
  })
})

describe('handovers', () => {
  it('handovers of neighboring pages between the same sessions join', () => {
    const bytes = { seq: 1, ranges: undefined, bytes: filled(1) }
    const joined = joinHandovers([handover(3), handover(4, { pages: [bytes] }), handover(5)])
    expect(joined).toEqual([handover(3, { pages: [undefined, bytes, undefined] })])
  })

  it.each([
    ['a gap', handover(5)],
    ['another file', handover(4, { file: 2 })],
    ['another owner', handover(4, { from: 9 })],
    ['another epoch', handover(4, { fromEpoch: 1 })],
    ['another receiver', handover(4, { to: 8 })]
  ])('a run of handovers ends before %s', (_, next) => {
    expect(joinHandovers([handover(3), next])).toEqual([handover(3), next])
  })

  it('commands keep their order: a run of handovers ends at another command', () => {
    const writeback: DirectoryCommand = { type: 'writeback', session: 7, pages: [] }
    expect(joinHandovers([handover(3), writeback, handover(4)])).toEqual([handover(3), writeback, handover(4)])
  })

  it('an entry has a limited number of pages and of bytes', () => {
    const many = joinHandovers(Array.from({ length: 300 }, (_, page) => handover(page))) as Handover[]
    expect(many.map(({ pages }) => pages.length)).toEqual([256, 44])
    const large = { seq: 1, ranges: undefined, bytes: new Uint8Array(65_536) }
    const few = joinHandovers(Array.from({ length: 6 }, (_, page) => handover(page, { pages: [large] }))) as Handover[]
    expect(few.map(({ pages }) => pages.length)).toEqual([4, 2])
  })
})
