/** The directory's part of files that shrink (docs/coherence.md, "Files that shrink"). */
import { describe, expect, it } from 'vitest'
import { filled, PAGE } from './state-helpers.js'
import { DirectoryWorld } from './support/directory-world.js'

const idle = { pages: 0, operations: 0, waiting: 0 }

describe('truncates', () => {
  it('a truncate asks every session that maps the file, and goes into the log after all have given the pages up', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    expect(world.truncate(a, file, 2 * PAGE)).toBeUndefined()
    for (const session of [a, b, c]) {
      expect(world.last(session, 'discard')).toMatchObject({ file, first: 2, size: 2 * PAGE, discards: 1 })
    }
    world.answer(b, 'discard')
    world.answer(a, 'discard')
    expect(world.proposals).toEqual([])
    world.answer(c, 'discard')
    expect(world.proposals).toMatchObject([{ type: 'truncate', session: a, file, size: 2 * PAGE, tail: undefined }])
    expect(world.last(b, 'discarded')).toBeUndefined()
    world.commit()
    expect(world.machine.file(file)).toMatchObject({ size: 2 * PAGE, discards: 1 })
    const { op } = world.last(b, 'discard') ?? world.last(b, 'discarded')!
    for (const session of [a, b, c])
      expect(world.last(session, 'discarded')).toMatchObject({ op, file, committed: true })
    expect(world.over).toEqual([file])
    expect(world.directory.stats()).toMatchObject(idle)
  })

  it('a discard counts the acknowledgment of each session once, and only if it names this discard', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.truncate(a, file, PAGE)
    const { op } = world.last(a, 'discard')!
    world.tell(a, { type: 'discardAck', op, file })
    world.tell(a, { type: 'discardAck', op, file })
    world.tell(b, { type: 'discardAck', op: op + 1, file })
    expect(world.proposals).toEqual([])
    world.answer(b, 'discard')
    world.settle()
    // A late acknowledgment of the first discard does not count for the second.
    world.truncate(a, file, 0)
    world.tell(a, { type: 'discardAck', op, file })
    world.tell(b, { type: 'discardAck', op, file })
    expect(world.proposals).toEqual([])
  })

  it("a truncate takes the page that the new end cuts from its owner, and stores the owner's bytes in its own entry", () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const { epoch } = world.acquire(b, file, 1, 'write')
    world.truncate(a, file, PAGE + 100)
    world.answer(a, 'discard')
    world.answer(b, 'discard')
    expect(world.proposals).toEqual([])
    world.answer(b, 'revoke', { seq: 4 })
    expect(world.proposals).toMatchObject([{ type: 'truncate', tail: { file, page: 1, epoch, seq: 4 } }])
    world.commit()
    const stored = world.machine.page(file, 1)
    expect(stored.bytes!.subarray(0, 100)).toEqual(filled(9, 100))
    expect(stored.bytes!.subarray(100)).toEqual(filled(0, PAGE - 100))
    const acknowledged = { file, page: 1, epoch, seq: 4, version: stored.version, result: 'stored' }
    expect(world.last(b, 'writebackAck')).toMatchObject({ req: 0, pages: [acknowledged] })
    expect(world.machine.owner(file, 1).session).toBe(0)
    expect(world.directory.stats()).toMatchObject(idle)
  })

  it('a truncate invalidates all readers of the page that the new end cuts, including the requester', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 1, 'read')
    world.acquire(b, file, 1, 'read')
    world.truncate(a, file, PAGE + 100)
    for (const session of [a, b]) world.answer(session, 'discard')
    world.answer(a, 'invalidate')
    expect(world.proposals).toEqual([])
    world.answer(b, 'invalidate')
    expect(world.proposals).toHaveLength(1)
  })

  it('a truncate waits for operations on pages in its range, and not for operations on other pages', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'write')
    world.acquire(a, file, 5, 'write')
    const [outside, inside] = [world.fault(b, file, 0, 'write'), world.fault(b, file, 5, 'write')]
    world.truncate(b, file, 2 * PAGE)
    expect(world.last(a, 'discard')).toBeUndefined()
    const revoke = world.all(a, 'revoke').find(({ page }) => page === 5)!
    world.tell(a, { type: 'ownerAck', op: revoke.op, file, page: 5, count: 1, held: true })
    world.commit()
    expect(world.granted(b, inside)).toMatchObject({ discard: 0 })
    expect(world.last(a, 'discard')).toBeDefined()
    world.settle()
    expect(world.granted(b, outside)).toBeDefined()
    expect(world.machine.owner(file, 5).session).toBe(0)
  })

  it('a truncate holds later faults in its range back until it is over (truncate then re-extend while a fault waits)', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    const { epoch } = world.acquire(b, file, 7, 'write')
    world.tell(b, { type: 'writeback', req: 1, pages: [{ file, page: 7, epoch, seq: 1, bytes: filled(7) }] })
    world.settle()
    world.truncate(a, file, 2 * PAGE)
    const waits = world.fault(c, file, 7, 'read')
    const before = world.fault(c, file, 1, 'read')
    expect(world.granted(c, waits)).toBeUndefined()
    expect(world.granted(c, before)).toBeDefined()
    expect(world.directory.stats()).toMatchObject({ waiting: 1 })
    for (const session of [a, b, c]) world.answer(session, 'discard')
    world.extend(a, file, 10 * PAGE)
    world.commit()
    expect(world.failed(c, waits)).toBe('ERR_PAST_END')
    world.extend(a, file, 10 * PAGE)
    const again = world.fault(c, file, 7, 'read')
    // The page was never written again, so it reads as zeros.
    expect(world.granted(c, again)).toMatchObject({ pages: [{ version: 0, bytes: new Uint8Array(0) }] })
  })

  it('a truncate also takes pages that an earlier entry adds to the file while the truncate waits', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.truncate(a, file, 20 * PAGE)
    world.extend(b, file, 30 * PAGE)
    const beyond = world.fault(b, file, 25, 'write')
    expect(world.granted(b, beyond)).toBeUndefined()
    world.settle()
    expect(world.machine.file(file)).toMatchObject({ size: 20 * PAGE, discards: 1 })
    expect(world.failed(b, beyond)).toBe('ERR_PAST_END')
  })

  it('a truncate that grows a file discards no page, even if sessions own pages of it', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(b, file, 9, 'write')
    world.truncate(a, file, 20 * PAGE)
    expect(world.last(b, 'discard')).toMatchObject({ first: 20, discards: 1 })
    world.settle()
    expect(world.machine.file(file)).toMatchObject({ size: 20 * PAGE, discards: 0 })
    expect(world.machine.owner(file, 9).session).toBe(b)
  })

  it('a truncate makes every earlier copy invalid, whatever version a fault names', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const { epoch } = world.acquire(b, file, 7, 'write')
    world.tell(b, { type: 'writeback', req: 1, pages: [{ file, page: 7, epoch, seq: 1, bytes: filled(7) }] })
    world.settle()
    const have = world.machine.version(file, 7)
    world.punch(a, file, 7, 8)
    const fault = world.fault(b, file, 7, 'read', have)
    world.settle()
    expect(world.granted(b, fault)).toMatchObject({ pages: [{ version: 0, bytes: new Uint8Array(0) }] })
  })

  it('every grant names the truncates that have begun, so that a client ignores older grants of their pages', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    expect(world.acquire(b, file, 5, 'write').discard).toBe(0)
    world.truncate(a, file, 2 * PAGE)
    const { op } = world.last(b, 'discard')!
    expect(world.granted(b, world.fault(b, file, 0, 'read'))?.discard).toBe(op)
    world.settle()
    expect(world.acquire(b, file, 1, 'write').discard).toBe(op)
    // Grants of other files do not name it.
    expect(world.acquire(b, world.open(b, '/other'), 1, 'write').discard).toBe(0)
    world.close(b, file)
    world.close(a, file)
    world.open(b, '/file')
    expect(world.acquire(b, file, 1, 'write').discard).toBe(0)
  })
})

describe('discards of one file', () => {
  it('discards of one file run one after another, each after the faults that arrived before it', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    world.punch(a, file, 4, 6)
    const between = world.fault(b, file, 5, 'write')
    world.punch(a, file, 4, 6)
    const behind = world.fault(c, file, 5, 'read')
    expect(world.all(b, 'discard')).toHaveLength(1)
    for (const session of [a, b, c]) world.answer(session, 'discard')
    expect(world.directory.stats()).toMatchObject({ operations: 2, waiting: 2 })
    world.commit()
    // The fault that arrived between the two is served before the second begins.
    expect(world.last(b, 'discard')).toBeUndefined()
    world.commit()
    expect(world.granted(b, between)).toMatchObject({ owner: true })
    expect(world.granted(c, behind)).toBeUndefined()
    expect(world.last(b, 'discard')).toMatchObject({ first: 4, end: 6, discards: 2 })
    world.settle()
    expect(world.granted(c, behind)).toMatchObject({ owner: false })
    expect(world.machine.file(file)?.discards).toBe(2)
  })

  it('discards of one file do not wait for discards of other files', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const other = world.open(a, '/other')
    world.truncate(a, file, 0)
    world.truncate(a, other, 0)
    world.answer(a, 'discard')
    world.answer(a, 'discard')
    expect(world.proposals).toMatchObject([{ file: other }])
    expect(world.directory.isDiscarding(file)).toBe(true)
    world.commit()
    expect(world.directory.isDiscarding(other)).toBe(false)
    world.answer(b, 'discard')
    expect(world.proposals).toMatchObject([{ file }])
  })

  it('a discard that cannot be carried out is refused without asking any session', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const stranger = world.session()
    expect(world.truncate(stranger, file, 0)?.name).toBe('InvalidArgumentError')
    expect(world.punch(a, 999, 0, 1)?.name).toBe('InvalidArgumentError')
    expect(world.truncate(a, file, 2 ** 53 - 1)?.name).toBe('InvalidArgumentError')
    expect(world.last(b, 'discard')).toBeUndefined()
    expect(world.directory.stats()).toMatchObject(idle)
  })
})

describe('sessions that a discard asks', () => {
  it('a session that expires or closes the file counts as having answered a discard', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    world.truncate(a, file, 0)
    world.answer(a, 'discard')
    world.expire(b)
    expect(world.proposals).toEqual([])
    world.close(c, file)
    expect(world.proposals).toHaveLength(1)
  })

  it('a session gets the order of a discard again on a new connection, even if it has acknowledged the order', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.disconnect(b)
    world.truncate(a, file, 0)
    world.answer(a, 'discard')
    expect(world.proposals).toEqual([])
    world.connect(b)
    const order = world.last(b, 'discard')!
    world.disconnect(a)
    world.connect(a)
    expect(world.last(a, 'discard')).toEqual(order)
    world.answer(b, 'discard')
    expect(world.proposals).toHaveLength(1)
    world.commit()
    expect(world.last(a, 'discarded')).toMatchObject({ op: order.op, committed: true })
  })

  it('sessions learn that a discard changed nothing if the requester expires before the entry; the recalled page keeps its bytes and gets no owner', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(b, file, 1, 'write')
    world.truncate(a, file, PAGE + 100)
    world.answer(b, 'discard')
    world.answer(b, 'revoke', { seq: 1 })
    const waits = world.fault(b, file, 5, 'write')
    world.expire(a)
    expect(world.last(b, 'discarded')).toMatchObject({ committed: false })
    expect(world.proposals).toMatchObject([
      { type: 'handover', page: 1, to: 0, pages: [{ seq: 1 }] },
      { type: 'handover', page: 5 }
    ])
    world.settle()
    expect(world.granted(b, waits)).toBeDefined()
    expect(world.machine.file(file)).toMatchObject({ size: 10 * PAGE, discards: 0 })
    expect(world.machine.page(file, 1).bytes).toEqual(filled(9))
    expect(world.last(b, 'writebackAck')).toMatchObject({ pages: [{ page: 1, result: 'stored' }] })
  })

  it('sessions learn that a discard changed nothing if the state machine refuses the entry', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(b, file, 1, 'write')
    world.truncate(a, file, PAGE + 100)
    for (const session of [a, b]) world.answer(session, 'discard')
    world.answer(b, 'revoke', { seq: 1 })
    // The entry is proposed, but the session closes the file before it is applied.
    world.close(a, file)
    expect(world.commit().type).toBe('failed')
    expect(world.last(b, 'discarded')).toMatchObject({ committed: false })
    world.settle()
    expect(world.machine.page(file, 1).bytes).toEqual(filled(9))
    expect(world.directory.stats()).toMatchObject(idle)
  })

  it('a discard whose sessions all end while it waits leaves no entry behind', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.apply({ type: 'unlink', ...world.request(a), path: '/file' })
    world.acquire(b, file, 5, 'write')
    world.fault(a, file, 5, 'write')
    world.truncate(a, file, 10)
    world.fault(b, file, 6, 'write')
    world.punch(b, file, 0, 9)
    world.expire(a)
    world.expire(b)
    expect(world.machine.file(file)).toBeUndefined()
    world.settle()
    expect(world.directory.stats()).toMatchObject(idle)
  })

  it('a discard does not ask a session that opens the file while the discard is under way, because the session holds no page', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1) as [number, [number]]
    world.truncate(a, file, 0)
    const late = world.session()
    world.open(late, '/file')
    expect(world.directory.isDiscarding(file)).toBe(true)
    const waits = world.fault(late, file, 3, 'read')
    world.answer(a, 'discard')
    world.commit()
    expect(world.failed(late, waits)).toBe('ERR_PAST_END')
    expect(world.last(late, 'discarded')).toMatchObject({ committed: true })
  })
})

describe('discards across leaders', () => {
  it('a discard does not begin before every session that maps the file has acknowledged the term', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.elect()
    world.connect(a)
    world.truncate(a, file, 0)
    expect(world.last(a, 'discard')).toBeUndefined()
    expect(world.directory.isDiscarding(file)).toBe(false)
    world.connect(b)
    expect(world.last(a, 'discard')).toBeDefined()
    expect(world.last(b, 'discard')).toBeDefined()
  })

  it('a discard is lost with its leader, and the repeated request is carried out once (leader dies between the orders and the entry)', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.truncate(a, file, 0, 100)
    for (const session of [a, b]) world.answer(session, 'discard')
    expect(world.proposals).toHaveLength(1)
    world.elect()
    for (const session of [a, b]) world.connect(session)
    expect(world.directory.stats()).toMatchObject({ operations: 0 })
    expect(world.machine.isAnswered(a, 100)).toBe(false)
    world.truncate(a, file, 0, 100)
    // A request that is repeated at one leader is carried out once, too.
    world.truncate(a, file, 0, 100)
    world.settle()
    expect(world.machine.file(file)).toMatchObject({ size: 0, discards: 1 })
    expect(world.machine.isAnswered(a, 100)).toBe(true)
  })

  it('the next leader does not repeat a discard whose entry is in the log, because the answer is remembered', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.truncate(a, file, 0, 100)
    for (const session of [a, b]) world.answer(session, 'discard')
    world.elect(1)
    expect(world.machine.isAnswered(a, 100)).toBe(true)
    expect(world.machine.file(file)).toMatchObject({ size: 0, discards: 1 })
  })
})
