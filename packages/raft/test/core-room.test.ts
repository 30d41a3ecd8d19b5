import type { RaftRoom } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness, rejected, voteFor, type CoreOptions } from './support/core-harness.js'

/** Election timeout of the harness, in ticks. */
const TIMEOUT = 10

/** Storage has no room for the oldest write under way: it keeps the hard state, and the entries up to `stored`. */
function giveBack(node: CoreHarness, stored: number, flush = true): CoreHarness {
  const { write } = node.writes.shift()!
  node.storage.write({ ...write!, entries: write!.entries.filter(({ index }) => index <= stored) })
  node.core.persistedInPart(write!.ack, stored)
  return node.drain(flush)
}

/** A follower of `b` in term 2 that has entry 1, and whose disk is full. */
function fullFollower(): CoreHarness {
  const node = new CoreHarness().step('b', append(2, 1, 1, [2]), false)
  giveBack(node, 1)
  node.sent.length = 0
  return node
}

function says(node: CoreHarness, rooms: Readonly<Record<string, RaftRoom>>): CoreHarness {
  for (const [from, room] of Object.entries(rooms)) {
    node.step(from, { type: 'heartbeatReply', term: node.core.term, round: 0, room })
  }
  return node
}

/** Passes that many election timeouts, in which the others answer with this room. */
function wait(node: CoreHarness, timeouts: number, rooms: Readonly<Record<string, RaftRoom>>): CoreHarness {
  for (let tick = 0; tick < timeouts * TIMEOUT; tick++) says(node.tick(1), rooms)
  return node
}

/** A leader whose followers have every entry. `own` is the leader's room from now on. */
function leader(own: boolean, options: CoreOptions = {}): CoreHarness {
  const node = new CoreHarness(options).lead()
  for (const id of node.core.configuration.voters) if (id !== 'a') node.accept(id, node.core.lastIndex)
  node.core.setRoom(own)
  node.sent.length = 0
  return node
}

describe('followers whose disk is full', () => {
  it('a follower whose disk is full takes no entries, and says so when its leader asks', () => {
    const node = fullFollower()
    node.step('b', append(2, 1, 1, [2, 2])).step('b', { type: 'heartbeat', term: 2, commit: 1, round: 4 })
    expect(node.sent.map(({ message }) => message)).toEqual([
      { type: 'heartbeatReply', term: 2, round: 4, room: 'none' }
    ])
    expect(node.stored).toHaveLength(1)
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: 'b', room: 'none' })
  })

  it('a follower whose disk is full answers only appends about stored entries, because an answer to others would bring them again at once', () => {
    const node = fullFollower()
    for (let i = 0; i < 3; i++) node.step('b', append(2, 1, 1, [2, 2]))
    expect(node.sent).toEqual([])
    node.step('b', append(2, 1, 1))
    expect(node.take('appendReply').map(({ message }) => message)).toEqual([accepted(2, 1)])
  })

  it('a follower whose disk is full never acknowledges an entry that is only in memory, even if it is sent again', () => {
    const node = fullFollower()
    // Storage gave entry 2 back, which stays in memory.
    expect(node.core.lastIndex).toBe(2)
    node.step('b', append(2, 1, 1, [2])).step('b', append(2, 2, 2))
    expect(node.take('appendReply').map(({ message }) => message)).toEqual([accepted(2, 1)])
  })

  it('a follower whose disk is full does not answer an append with entries that it cannot store, whether they are in memory or after a gap', () => {
    const node = fullFollower()
    node
      .step('b', append(2, 1, 1, [2]))
      .step('b', append(2, 1, 1, [2, 2]))
      .step('b', append(2, 5, 2, [2]))
    expect(node.sent).toEqual([])
    // The follower answers about stored entries, and answers an append without entries.
    node.step('b', append(2, 5, 2))
    expect(node.take('appendReply').map(({ message }) => message)).toEqual([rejected(2, 5, 2, 2)])
  })

  it('a follower whose disk is full makes its vote durable before the reply, without its entries (Figure 2)', () => {
    const node = fullFollower().tick(TIMEOUT)
    node.step('c', { type: 'requestVote', term: 5, lastIndex: 9, lastTerm: 2, transfer: false }, false)
    expect(node.take('voteReply')).toEqual([])
    expect(node.writes.at(-1)!.write).toMatchObject({ hardState: { term: 5, vote: 'c', commit: 1 }, entries: [] })
    node.flush()
    expect(node.take('voteReply')).toMatchObject([{ to: 'c', message: voteFor(5), late: true }])
  })

  it('a follower whose disk is full hands its entries to storage once there is room again, and acknowledges them when they are durable', () => {
    const node = fullFollower()
    node.core.roomAgain()
    node.step('b', append(2, 1, 1, [2, 2]), false)
    expect(node.take('appendReply')).toEqual([])
    node.flush()
    expect(node.take('appendReply').map(({ message }) => message)).toEqual([accepted(2, 3)])
    expect(node.terms).toEqual([1, 2, 2])
    expect(node.core.room).toBe('enough')
  })

  it('a node hands entries in again only when storage has given back every write that was under way (raft seed 2026773797)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2]), false).step('b', append(2, 2, 2, [2]), false)
    giveBack(node, 1, false)
    node.core.roomAgain()
    node.step('b', append(2, 3, 2, [2]), false)
    const handedIn = () => node.writes.flatMap(({ write }) => (write === undefined ? [] : [write.entries]))
    expect(handedIn()).toMatchObject([[{ index: 3 }]])
    giveBack(node, 1, false)
    node.core.roomAgain()
    node.drain(false)
    expect(handedIn()).toMatchObject([[{ index: 2 }, { index: 3 }, { index: 4 }]])
    node.flush()
    expect(node.terms).toEqual([1, 2, 2, 2])
    node.step('b', append(2, 1, 1, [2, 2, 2]))
    expect(node.take('appendReply').at(-1)!.message).toEqual(accepted(2, 4))
  })

  it('a follower whose disk is full keeps the part of a write that storage took', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2, 2, 2]), false)
    giveBack(node, 3)
    expect(node.stored).toHaveLength(3)
    node.step('b', append(2, 1, 1, [2, 2]))
    expect(node.take('appendReply').map(({ message }) => message)).toEqual([accepted(2, 3)])
  })

  it('a follower whose disk is full follows another leader without writing any of its entries', () => {
    const node = fullFollower()
    node.step('c', append(4, 1, 1, [4]))
    expect(node.take('appendReply')).toEqual([])
    expect(node.hardState).toMatchObject({ term: 4 })
    node.core.roomAgain()
    node.step('c', append(4, 1, 1, [4]))
    expect(node.terms).toEqual([1, 4])
  })
})

describe('voters that lack room', () => {
  it('a voter that lacks room lets the others stand first, and stands if none of them does', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1))
    node.core.setRoom(false)
    expect(node.tick(TIMEOUT).core.role).toBe('follower')
    expect(node.tick(TIMEOUT).core.role).toBe('preCandidate')
    const other = new CoreHarness().step('b', append(2, 1, 1))
    expect(other.tick(TIMEOUT).core.role).toBe('preCandidate')
  })

  it('a voter that lacks room does not stand while its leader answers', () => {
    const node = new CoreHarness()
    node.core.setRoom(false)
    for (let i = 0; i < 20; i++) node.tick(2).step('b', { type: 'heartbeat', term: 2, commit: 1, round: 0 })
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: 'b' })
  })
})

describe('leaders that lack room', () => {
  it('a leader that lacks room hands leadership to a voter that has room and every committed entry', () => {
    const node = leader(false)
    wait(node, 1, { b: 'little', c: 'enough' })
    expect(node.core.transferTarget).toBe('c')
    expect(node.take('timeoutNow').map(({ to }) => to)).toContain('c')
  })

  it('a leader that lacks room stays leader if no voter has more room, and accepts what it is given', () => {
    const node = leader(false)
    wait(node, 20, { b: 'little', c: 'none' })
    expect(node.core).toMatchObject({ role: 'leader', term: 2, transferTarget: undefined, roomierVoter: undefined })
    expect(node.take('timeoutNow')).toEqual([])
    expect(node.core.propose([new Uint8Array(1)])).toMatchObject({ index: 3 })
  })

  it('a leader that lacks room does not hand over to a node that lacks entries, is silent, or is not a voter', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead().accept('b', 2).accept('x', 2)
    node.core.setRoom(false)
    says(node, { b: 'enough' })
    // From now on b is silent, and c has no committed entry.
    wait(node, 3, { c: 'enough', x: 'enough' })
    expect(node.core).toMatchObject({ role: 'leader', transferTarget: undefined })
  })

  it('a leader that lacks room does not hand over if the remaining voters with room form no majority', () => {
    const node = leader(true, { voters: ['a', 'b', 'c', 'd', 'e'] })
    node.core.setRoom(false)
    node.core.propose([new Uint8Array(1)])
    node.drain(false)
    giveBack(node, 2)
    wait(node, 3, { b: 'enough', c: 'enough', d: 'none', e: 'none' })
    expect(node.core).toMatchObject({ role: 'leader', room: 'none', transferTarget: undefined })
    wait(node, 1, { b: 'enough', c: 'enough', d: 'little', e: 'none' })
    expect(node.core.transferTarget).toBeDefined()
  })

  it('a leader that lacks room hands over entries that its own disk did not take', () => {
    const node = leader(true)
    node.core.setRoom(false)
    node.core.propose([new Uint8Array(1)])
    node.drain(false)
    giveBack(node, 2)
    says(node.accept('b', 3), { b: 'enough', c: 'enough' })
    node.accept('c', 3)
    expect(node.core).toMatchObject({ commitIndex: 3, appliedIndex: 2 })
    wait(node, 2, { b: 'enough', c: 'enough' })
    expect(node.take('timeoutNow').length).toBeGreaterThan(0)
  })

  it('a leader that lacks room stays leader if it has room again before the first offer', () => {
    const node = leader(false)
    wait(node, 0.5, { b: 'enough', c: 'enough' })
    node.core.setRoom(true)
    wait(node, 5, { b: 'enough', c: 'enough' })
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
    expect(node.take('timeoutNow')).toEqual([])
  })

  it('a leader that lacks room accepts proposals between two offers that come to nothing', () => {
    const node = leader(false)
    let offers = 0
    let before: string | undefined
    for (let tick = 0; tick < 40 * TIMEOUT; tick++) {
      says(node.tick(1), { b: 'enough', c: 'enough' })
      if (before === undefined && node.core.transferTarget !== undefined) offers++
      before = node.core.transferTarget
    }
    expect(offers).toBeGreaterThan(4)
    expect(offers).toBeLessThan(10)
  })

  it('a leader looks for no successor while it has room', () => {
    const node = leader(true)
    wait(node, 10, { b: 'enough', c: 'enough' })
    expect(node.core).toMatchObject({ role: 'leader', transferTarget: undefined, roomierVoter: undefined })
  })
})

describe('followers that store nothing', () => {
  it('a follower that stores nothing gets no entries, and all of them once it has room again', () => {
    const node = leader(true)
    says(node, { b: 'none', c: 'enough' })
    node.core.propose([new Uint8Array(1)])
    node.drain()
    expect(node.take('append').map(({ to }) => to)).toEqual(['c'])
    node.tick(2)
    says(node, { b: 'none' })
    expect(node.take('append').filter(({ to, message }) => to === 'b' && message.entries.length > 0)).toEqual([])
    node.tick(2)
    says(node, { b: 'little' })
    expect(node.take('append').filter(({ to }) => to === 'b')).toMatchObject([{ message: { entries: [{ index: 3 }] } }])
  })

  it('a follower that stores nothing gets at most one append per heartbeat for late answers, however many there are', () => {
    const node = leader(true)
    says(node, { b: 'enough', c: 'enough' })
    const match = node.core.lastIndex
    for (let i = 0; i < 8; i++) {
      node.core.propose([new Uint8Array(1)])
      node.drain()
    }
    for (let heartbeat = 0; heartbeat < 3; heartbeat++) {
      node.sent.length = 0
      for (let i = 1; i <= 8; i++) {
        node.step('b', accepted(node.core.term, match)).step('b', rejected(node.core.term, match + i, match, 2))
      }
      expect(node.take('append').filter(({ to }) => to === 'b').length).toBeLessThanOrEqual(1)
      says(node.tick(2), { b: 'enough' })
    }
    // An acknowledgment of a new entry brings all the others.
    node.sent.length = 0
    node.step('b', accepted(node.core.term, match + 1))
    const [next] = node.take('append').filter(({ to }) => to === 'b')
    expect(next!.message).toMatchObject({ prevIndex: match + 1 })
    expect(next!.message.entries).toHaveLength(7)
  })

  it('a follower that stores nothing does not answer the appends of a leader that believes its old report of room', () => {
    const b = new CoreHarness({ id: 'b' }).step('a', append(2, 1, 1, [2]))
    b.step('a', append(2, 2, 2, [2, 2]), false)
    giveBack(b, 2)
    // An append carries one entry here.
    const a = leader(true, { limits: { maxAppendBytes: 1 } })
    expect(a.core).toMatchObject({ term: 2, lastIndex: 2 })
    says(a, { b: 'enough', c: 'enough' })
    for (let i = 0; i < 8; i++) {
      a.core.propose([new Uint8Array(1)])
      a.drain()
    }
    // The answers from before its disk was full arrive late, in between.
    const late = [accepted(2, 2), rejected(2, 5, 2, 2), accepted(2, 2), rejected(2, 6, 2, 2)]
    let appends = 0
    for (let turn = 0; turn < 100; turn++) {
      const answer = late.shift()
      if (answer !== undefined) a.step('b', answer)
      for (const { to, message } of a.take('append')) {
        if (to !== 'b') continue
        appends++
        b.step('a', message)
      }
      for (const { message } of b.take('appendReply')) a.step('b', message)
    }
    expect(appends).toBeLessThan(10)
  })

  it('a follower that stores nothing is asked which entries it has, because a majority may need them', () => {
    const node = new CoreHarness().lead()
    node.sent.length = 0
    says(node.tick(2), { b: 'none' })
    const [probe] = node.take('append').filter(({ to }) => to === 'b')
    expect(probe!.message).toMatchObject({ entries: [] })
    node.step('b', accepted(2, 2))
    expect(node.core.commitIndex).toBe(2)
  })
})

describe('the choice of the next leader', () => {
  it('the best next leader is a voter with room that has every committed entry', () => {
    const node = leader(true)
    node.core.propose([new Uint8Array(1)])
    node.drain(false).accept('b', 3, false)
    says(node, { b: 'little', c: 'enough' })
    expect(node.core.mostAdvancedVoter).toBe('c')
    node.flush()
    expect(node.core.commitIndex).toBe(3)
    expect(node.core.mostAdvancedVoter).toBe('b')
  })
})
