/** The leader's part of the hazards (test/hazards.test.ts), by their names, and how long faults wait. */
import { describe, expect, it } from 'vitest'
import { filled, PAGE } from './state-helpers.js'
import { DirectoryWorld } from './support/directory-world.js'

const dirtyOf = (file: number) => ({ file, page: 0, epoch: 1, seq: 1, bytes: filled(1) })
const idle = { pages: 0, operations: 0, waiting: 0 }

describe('hazards', () => {
  it('owner dies between transfer commit and grant: the next writer gets the page without bytes of the dead owner', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    world.acquire(c, file, 0, 'read')
    world.fault(a, file, 0, 'write')
    world.commit()
    // The owner is on record, but a reader has not acknowledged its invalidation, so there is no grant yet.
    expect(world.machine.owner(file, 0).session).toBe(a)
    expect(world.last(a, 'grant')).toBeUndefined()
    world.expire(a)
    const next = world.fault(b, file, 0, 'write')
    world.settle()
    expect(world.granted(b, next)).toMatchObject({ owner: true, pages: [{ version: 0 }] })
  })

  it('leader dies between invalidations and transfer commit: the next leader knows of no operation and assumes that every copy exists', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(b, file, 0, 'read')
    world.fault(a, file, 0, 'write')
    world.answer(b, 'invalidate')
    world.elect()
    for (const session of [a, b]) world.connect(session)
    expect(world.machine.owner(file, 0).session).toBe(0)
    const again = world.fault(a, file, 0, 'write')
    world.commit()
    expect(world.granted(a, again)).toBeUndefined()
    world.answer(b, 'invalidate')
    expect(world.granted(a, again)).toMatchObject({ owner: true })
  })

  it('retry of a fault after its grant was committed but lost: the owner on record gets the grant again, without an entry', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.fault(a, file, 0, 'write')
    world.elect(1)
    for (const session of [a, b]) world.connect(session)
    const { epoch } = world.machine.owner(file, 0)
    const again = world.fault(a, file, 0, 'write')
    world.answer(b, 'invalidate')
    expect(world.proposals).toEqual([])
    expect(world.granted(a, again)).toMatchObject({ owner: true, epoch })
  })

  it('writeback accepted twice: the second is acknowledged and changes nothing', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1) as [number, [number]]
    const { epoch } = world.acquire(a, file, 0, 'write')
    const dirty = { file, page: 0, epoch, seq: 1, bytes: filled(1) }
    world.tell(a, { type: 'writeback', req: 1, pages: [dirty] })
    world.tell(a, { type: 'writeback', req: 2, pages: [{ ...dirty, bytes: filled(2) }] })
    world.settle()
    const version = world.machine.version(file, 0)
    const outcome = { file, page: 0, epoch, seq: 1, version, result: 'stored' }
    expect(world.all(a, 'writebackAck').map(({ req, pages }) => [req, pages])).toEqual([
      [1, [outcome]],
      [2, [outcome]]
    ])
    expect(world.machine.page(file, 0).bytes).toEqual(filled(1))
  })

  it('page owned by an expired session: the next writer gets it, and a writeback of the expired session is stale', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const { epoch } = world.acquire(a, file, 0, 'write')
    const next = world.fault(b, file, 0, 'write')
    world.expire(a)
    world.commit()
    expect(world.granted(b, next)).toMatchObject({ owner: true })
    const pages = [{ file, page: 0, epoch, seq: 1, bytes: filled(1) }]
    expect(world.apply({ type: 'writeback', session: a, pages, at: 0 })).toMatchObject({
      outcomes: [{ result: 'stale' }]
    })
  })

  it('release crossing a revoke: an owner that closes the file counts as having answered', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'write')
    const next = world.fault(b, file, 0, 'write')
    const { op } = world.last(a, 'revoke')!
    world.close(a, file)
    // The answer to the revocation arrives after the close.
    world.tell(a, { type: 'ownerAck', op, file, page: 0, count: 1, held: false })
    expect(world.proposals).toHaveLength(1)
    world.settle()
    expect(world.granted(b, next)).toMatchObject({ owner: true })
    world.close(b, file)
    expect(world.directory.stats()).toMatchObject(idle)
  })

  it('prefetched page not in the copyset: every session with a read grant is invalidated before a write', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    for (let page = 0; page < 8; page++) world.fault(b, file, page, 'read')
    for (let page = 0; page < 8; page++) world.fault(a, file, page, 'write')
    expect(world.all(b, 'invalidate').map(({ page }) => page)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  it('grant arriving after the revoke of a newer term: every order names the grant that it follows on this connection', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    const req = world.fault(a, file, 0, 'write')
    world.commit()
    world.fault(b, file, 0, 'write')
    expect(world.last(a, 'revoke')).toMatchObject({ term: 1, after: req })
    world.disconnect(a)
    world.connect(a)
    expect(world.last(a, 'revoke')).toMatchObject({ term: 1, after: 0 })
    world.elect()
    for (const session of [a, b]) world.connect(session)
    world.fault(b, file, 0, 'write')
    expect(world.last(a, 'revoke')).toMatchObject({ term: 2, after: 0 })
  })

  it('false sharing between two writers: each gets the page in turn, with the bytes of the other', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'write')
    for (let turn = 1; turn <= 6; turn++) {
      const [holder, next] = turn % 2 === 1 ? [a, b] : [b, a]
      const req = world.fault(next, file, 0, 'write')
      world.answer(holder, 'revoke', { bytes: filled(turn) })
      world.commit()
      expect(world.granted(next, req)).toMatchObject({ owner: true, pages: [{ bytes: filled(turn) }] })
    }
    expect(world.directory.stats()).toMatchObject({ longestWaitTurns: 0, contended: [{ file, page: 0, turns: 7 }] })
  })
})

describe('waiting faults', () => {
  it('waiting faults of eight clients that keep writing one page are granted in turn: none waits for more than the seven others', () => {
    const world = new DirectoryWorld()
    const [file, sessions] = world.sharedFile(8)
    const had = new Map(sessions.map((session) => [session, 0]))
    const waiting = new Map(sessions.map((session) => [session, world.fault(session, file, 0, 'write')]))
    for (let turn = 0; turn < 400; turn++) {
      while (world.proposals.length > 0) world.commit()
      const holder = sessions.find((session) => world.granted(session, waiting.get(session)!) !== undefined)!
      had.set(holder, had.get(holder)! + 1)
      // It asks for the page again before it has given it up.
      waiting.set(holder, world.fault(holder, file, 0, 'write'))
      if (world.last(holder, 'revoke') !== undefined) world.answer(holder, 'revoke', { seq: 1 })
    }
    expect([...had.values()]).toEqual(Array(8).fill(50))
    expect(world.directory.stats().longestWaitTurns).toBe(7)
  })

  it('waiting faults of readers and writers that keep asking for one page wait for at most as many turns as there are writers', () => {
    const world = new DirectoryWorld()
    const [file, sessions] = world.sharedFile(8)
    const access = (session: number) => (sessions.indexOf(session) % 2 === 0 ? 'read' : 'write')
    const waiting = new Map(sessions.map((session) => [session, world.fault(session, file, 0, access(session))]))
    const had = new Map(sessions.map((session) => [session, 0]))
    for (let round = 0; round < 300; round++) {
      world.settle()
      for (const session of sessions) {
        if (world.granted(session, waiting.get(session)!) === undefined) continue
        had.set(session, had.get(session)! + 1)
        waiting.set(session, world.fault(session, file, 0, access(session)))
      }
    }
    for (const count of had.values()) expect(count).toBeGreaterThan(20)
    expect(world.directory.stats().longestWaitTurns).toBeLessThanOrEqual(4)
  })

  it('waiting faults of several readers are granted together when the first has its turn, before a writer that arrived in between', () => {
    const world = new DirectoryWorld()
    const [file, [owner, one, writer, two]] = world.sharedFile(4) as [number, [number, number, number, number]]
    world.acquire(owner, file, 0, 'write')
    const first = world.fault(one, file, 0, 'read')
    const write = world.fault(writer, file, 0, 'write')
    const second = world.fault(two, file, 0, 'read')
    world.answer(owner, 'downgrade')
    expect(world.granted(one, first)).toBeDefined()
    expect(world.granted(two, second)).toBeDefined()
    expect(world.granted(writer, write)).toBeUndefined()
    // A reader that arrives now waits behind the writer.
    const late = world.fault(owner, file, 0, 'read')
    world.answer(one, 'invalidate')
    world.answer(two, 'invalidate')
    world.answer(owner, 'revoke')
    expect(world.granted(owner, late)).toBeUndefined()
    world.commit()
    expect(world.granted(writer, write)).toBeDefined()
    world.settle()
    expect(world.granted(owner, late)).toBeDefined()
  })

  it('waiting faults delay a truncate if they arrived before it, and not if they arrive after it', () => {
    const world = new DirectoryWorld()
    const [file, sessions] = world.sharedFile(4)
    const [first] = sessions as [number]
    const before = sessions.map((session) => [session, world.fault(session, file, 5, 'write')] as const)
    world.truncate(first, file, 0)
    for (let round = 0; round < 20 && world.machine.file(file)!.size > 0; round++) {
      for (const session of sessions) world.fault(session, file, 6, 'write')
      world.settle()
    }
    for (const [session, req] of before) expect(world.granted(session, req)).toBeDefined()
    expect(world.machine.file(file)?.size).toBe(0)
  })
})

describe('files that are owned as a whole', () => {
  const whole = { unit: 'file' } as const

  it('a file that is owned as a whole has one owner, which is granted every page at once', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    const reqs = [4, 0, 7].map((page) => world.fault(a, file, page, page === 0 ? 'read' : 'write'))
    world.commit()
    expect(world.proposals).toEqual([])
    const { epoch } = world.machine.owner(file, 0)
    for (const req of reqs) expect(world.granted(a, req)).toMatchObject({ access: 'write', owner: true, epoch })
    expect(world.granted(a, world.fault(a, file, 2, 'read'))).toMatchObject({ page: 2, epoch })
    expect(world.directory.stats()).toMatchObject({ pages: 1, operations: 0, waiting: 0 })
    expect(world.last(b, 'invalidate')).toBeUndefined()
  })

  it('a file that is owned as a whole is revoked as a whole for another session, which is then granted all its pages together', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    const { epoch } = world.acquire(a, file, 3, 'write')
    const last = world.fault(a, file, 4, 'write')
    const reqs = [world.fault(b, file, 3, 'read')]
    reqs.push(world.fault(b, file, 9, 'write'))
    expect(world.all(a, 'revoke')).toMatchObject([{ page: 0, after: last }])
    world.tell(a, { type: 'writeback', req: 1, pages: [{ file, page: 3, epoch, seq: 1, bytes: filled(3) }] })
    world.commit()
    world.answer(a, 'revoke')
    // The former owner asks again after its answer, for its next turn.
    const behind = world.fault(a, file, 5, 'write')
    world.commit()
    expect(world.granted(b, reqs[0]!)).toMatchObject({ page: 3, epoch: epoch + 1, pages: [{ bytes: filled(3) }] })
    expect(world.granted(b, reqs[1]!)).toMatchObject({ page: 9, epoch: epoch + 1 })
    expect(world.granted(a, behind)).toBeUndefined()
    world.settle()
    expect(world.granted(a, behind)).toMatchObject({ page: 5, epoch: epoch + 2 })
    expect(world.directory.stats().longestWaitTurns).toBe(1)
  })

  it('a file that is owned as a whole belongs to its owner until the owner answers: further faults of the owner overtake waiting sessions', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    const { epoch } = world.acquire(a, file, 3, 'write')
    const waits = world.fault(b, file, 3, 'read')
    expect(world.granted(a, world.fault(a, file, 4, 'write'))).toMatchObject({ page: 4, epoch })
    // The same holds for a discard, and on a new connection.
    world.truncate(b, file, PAGE)
    world.disconnect(a)
    world.connect(a)
    expect(world.granted(a, world.fault(a, file, 5, 'write'))).toMatchObject({ page: 5, epoch })
    world.answer(a, 'revoke')
    world.commit()
    expect(world.granted(b, waits)).toMatchObject({ page: 3, epoch: epoch + 1 })
    expect(world.granted(a, world.fault(a, file, 6, 'write'))).toBeUndefined()
    expect(world.granted(b, world.fault(b, file, 6, 'write'))).toMatchObject({ page: 6, epoch: epoch + 1 })
    world.settle()
    expect(world.machine.file(file)?.size).toBe(PAGE)
    expect(world.directory.stats()).toMatchObject({ operations: 0, waiting: 0 })
  })

  it('a file that is owned as a whole is recalled for a truncate: its owner gives up the whole file before the entry', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    world.acquire(b, file, 3, 'write')
    world.truncate(a, file, PAGE + 1)
    const waits = [world.fault(a, file, 0, 'read'), world.fault(a, file, 5, 'read')]
    // The revocation comes first, so that no grant of the range is in flight when the sessions get the order.
    expect(world.last(a, 'discard')).toBeUndefined()
    world.tell(b, { type: 'ownerAckDirty', op: world.last(b, 'revoke')!.op, pages: [dirtyOf(file)] })
    expect(world.last(a, 'discard')).toBeUndefined()
    world.answer(b, 'revoke')
    expect(world.proposals).toEqual([])
    for (const session of [a, b]) world.answer(session, 'discard')
    expect(world.proposals).toMatchObject([{ type: 'truncate', tail: undefined }])
    world.settle()
    expect(world.machine.file(file)?.size).toBe(PAGE + 1)
    expect(world.granted(a, waits[0]!)).toMatchObject({ page: 0, owner: true })
    expect(world.failed(a, waits[1]!)).toBe('ERR_PAST_END')
  })

  it("a file that is owned as a whole is granted in the order of its owner's faults, even for pages that a discard is about to take", () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    world.acquire(a, file, 3, 'write')
    world.fault(b, file, 0, 'write')
    world.truncate(b, file, PAGE)
    world.answer(a, 'revoke')
    // A revocation names the last grant, and the client handles it after all grants that it asked for before.
    const reqs = [5, 0].map((page) => world.fault(a, file, page, 'write'))
    world.settle()
    expect(world.failed(a, reqs[0]!)).toBe('ERR_PAST_END')
    expect(world.granted(a, reqs[1]!)).toBeDefined()
    expect(world.machine.file(file)?.size).toBe(PAGE)
  })

  it('a file that is owned as a whole is truncated even while sessions keep asking for it', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    let turn = 0
    const want = () => world.fault(turn++ % 2 === 0 ? a : b, file, 0, 'write')
    want()
    want()
    world.truncate(a, file, 0)
    for (let round = 0; round < 20 && world.machine.file(file)!.size > 0; round++) {
      want()
      for (const session of [a, b]) {
        if (world.last(session, 'revoke') !== undefined) world.answer(session, 'revoke')
        if (world.last(session, 'discard') !== undefined) world.answer(session, 'discard')
      }
      if (world.proposals.length > 0) world.commit()
    }
    expect(world.machine.file(file)?.size).toBe(0)
  })

  it('a new leader grants a file that is owned as a whole to its owner again, without an entry and before other sessions have acknowledged the term', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(2, whole) as [number, [number, number]]
    const { epoch } = world.acquire(a, file, 3, 'write')
    world.elect()
    world.connect(a)
    expect(world.granted(a, world.fault(a, file, 3, 'write'))).toMatchObject({ owner: true, epoch })
    expect(world.proposals).toEqual([])
  })

  it('a file that is owned as a whole loses no bytes if a writeback of its owner waits for another file and a later writeback does not', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1, whole) as [number, [number]]
    const b = world.session()
    const shared = world.open(b, '/shared')
    world.open(a, '/shared')
    const { epoch } = world.acquire(a, file, 3, 'write')
    const { epoch: sharedEpoch } = world.acquire(a, shared, 0, 'write')
    world.elect()
    world.connect(a)
    // No other session maps the whole file, so only `shared` waits until b acknowledges the term.
    const mixed = [
      { file: shared, page: 0, epoch: sharedEpoch, seq: 1, bytes: filled(1) },
      { file, page: 3, epoch, seq: 1, bytes: filled(3) }
    ]
    world.tell(a, { type: 'writeback', req: 1, pages: mixed })
    world.tell(a, { type: 'writeback', req: 2, pages: [{ file, page: 4, epoch, seq: 2, bytes: filled(4) }] })
    world.connect(b)
    world.settle()
    expect(world.all(a, 'writebackAck').map(({ req }) => req)).toEqual([1, 2])
    expect(world.machine.page(file, 3).bytes).toEqual(filled(3))
    expect(world.machine.page(file, 4).bytes).toEqual(filled(4))
  })

  it('after an election, a leader assumes that only the owner holds a file that is owned as a whole', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3, whole) as [number, [number, number, number]]
    world.acquire(a, file, 3, 'write')
    world.elect()
    for (const session of [a, b, c]) world.connect(session)
    world.fault(b, file, 3, 'write')
    expect(world.all(c, 'invalidate')).toEqual([])
    expect(world.all(a, 'revoke')).toHaveLength(1)
  })

  it('a file that is owned as a whole leaves no operation and no ownership behind when its sessions are gone', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2, whole) as [number, [number, number]]
    world.acquire(a, file, 3, 'write')
    world.acquire(b, file, 5, 'read')
    world.punch(a, file, 2, 4)
    world.settle()
    world.acquire(a, file, 3, 'write')
    world.close(a, file)
    world.expire(b)
    expect(world.directory.stats()).toMatchObject(idle)
    expect(world.machine.ownedPages()).toBe(0)
  })
})
