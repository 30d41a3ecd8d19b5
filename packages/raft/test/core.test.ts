import { InvariantError } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { describe, expect, it } from 'vitest'
import { append, CoreHarness } from './support/core-harness.js'

const vote = (term: number, lastIndex = 1, lastTerm = 1) =>
  ({ type: 'requestVote', term, lastIndex, lastTerm, transfer: false }) as const

describe('terms', () => {
  it.each(['leader', 'candidate', 'follower'])(
    'a %s that sees a higher term becomes a follower in it (§5.1)',
    (role) => {
      const node = new CoreHarness()
      if (role === 'candidate') node.stand()
      if (role === 'leader') node.lead()
      expect(node.core.role).toBe(role)
      node.step('c', append(9, 1, 1))
      expect(node.core).toMatchObject({ role: 'follower', term: 9, leader: 'c' })
      expect(node.hardState).toMatchObject({ term: 9, vote: undefined })
    }
  )

  it('answers a request of an earlier term with its own, and takes nothing from it (§5.1)', () => {
    const node = new CoreHarness({ term: 5 })
    node
      .step('b', append(4, 1, 1, [4]))
      .step('b', vote(4))
      .step('b', { type: 'heartbeat', term: 4, commit: 1, round: 1 })
    expect(node.sent.map(({ message }) => [message.type, message.term])).toEqual([
      ['appendReply', 5],
      ['voteReply', 5],
      ['heartbeatReply', 5]
    ])
    expect(node.core.lastIndex).toBe(1)
  })

  it('stops when a second leader shows up in a term (§5.2, Election Safety)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1))
    expect(() => node.step('c', append(2, 1, 1))).toThrow(InvariantError)
    expect(() => new CoreHarness().lead().step('c', append(2, 1, 1))).toThrow(InvariantError)
  })
})

describe('elections', () => {
  it('start when nothing was heard of a leader for the timeout (§5.2)', () => {
    const node = new CoreHarness().tick(9)
    expect(node.core.role).toBe('follower')
    node.step('b', append(1, 1, 1)).tick(9)
    expect(node.core.role).toBe('follower')
    node.tick(1)
    expect(node.core).toMatchObject({ role: 'preCandidate', term: 1 })
    node.stand()
    expect(node.core).toMatchObject({ role: 'candidate', term: 2 })
    expect(node.take('requestVote').map(({ to, message }) => [to, message])).toEqual([
      ['b', vote(2)],
      ['c', vote(2)]
    ])
  })

  it('are won with a majority, and open with an entry of the own term (§8)', () => {
    const node = new CoreHarness().lead()
    expect(node.core).toMatchObject({ role: 'leader', leader: 'a', lastIndex: 2 })
    expect(node.stored[1]).toMatchObject({ term: 2, kind: 'noop' })
  })

  it('are lost when a majority refuses', () => {
    const node = new CoreHarness().stand()
    node
      .step('b', { type: 'voteReply', term: 2, granted: false })
      .step('c', { type: 'voteReply', term: 2, granted: false })
    expect(node.core).toMatchObject({ role: 'follower', term: 2 })
  })

  it('do not count a vote twice, nor that of a node that is no voter', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'], learners: ['x'] }).stand()
    for (const from of ['b', 'b', 'x', 'y']) node.step(from, { type: 'voteReply', term: 2, granted: true })
    expect(node.core.role).toBe('candidate')
    node.step('e', { type: 'voteReply', term: 2, granted: true })
    expect(node.core.role).toBe('leader')
  })

  it('do not count votes of an earlier term', () => {
    const node = new CoreHarness().stand().stand()
    expect(node.core.term).toBe(3)
    node.step('b', { type: 'voteReply', term: 2, granted: true })
    expect(node.core.role).toBe('candidate')
  })

  it('are given up when the leader of the term is heard of (§5.2)', () => {
    const node = new CoreHarness().stand().step('b', append(2, 1, 1))
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: 'b' })
  })

  it('are not started by a learner', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).tick(100)
    expect(node.core).toMatchObject({ role: 'follower', term: 1 })
  })

  it('count the own vote only when it is durable, and not in a later term', () => {
    const node = new CoreHarness({ voters: ['a'] })
    for (let i = 0; i < 10; i++) node.core.tick()
    node.drain(false)
    expect(node.core.role).toBe('candidate')
    for (let i = 0; i < 10; i++) node.core.tick()
    node.drain(false).flush(1)
    expect(node.core).toMatchObject({ role: 'candidate', term: 3 })
    node.flush()
    expect(node.core.role).toBe('leader')
  })
})

describe('the check for a majority', () => {
  const reply = { type: 'heartbeatReply', term: 2, round: 0 } as const

  it('deposes a leader that has not heard from a majority for an election timeout (thesis §6.2)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    expect(node.tick(10).core.role).toBe('leader')
    expect(node.tick(9).core.role).toBe('leader')
    expect(node.tick(1).core).toMatchObject({ role: 'follower', term: 2, leader: undefined })
    expect(node.core.propose([new Uint8Array(1)])).toEqual({ refused: 'notLeader', leader: undefined })
  })

  it('keeps a leader while a majority answers, whoever that is', () => {
    const node = new CoreHarness().lead()
    for (let i = 0; i < 10; i++) node.tick(9).step(i % 2 === 0 ? 'b' : 'c', reply)
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('does not count learners, nor nodes that nobody knows', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead().accept('b', 2).tick(10)
    node.step('x', reply).step('y', reply).tick(10)
    expect(node.core.role).toBe('follower')
  })

  it('keeps a leader that is alone', () => {
    const node = new CoreHarness({ voters: ['a'] }).tick(10)
    expect(node.tick(100).core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('lets a leader that stepped down stand in the next election', () => {
    const node = new CoreHarness().lead().tick(10)
    expect(node.core.role).toBe('follower')
    expect(node.stand().core).toMatchObject({ role: 'candidate', term: 3 })
  })
})

describe('votes', () => {
  it('are given once a term (§5.2)', () => {
    const node = new CoreHarness().step('b', vote(2)).step('c', vote(2)).step('b', vote(2))
    expect(node.take('voteReply').map(({ message }) => message.granted)).toEqual([true, false, true])
  })

  it('are durable before they leave, so that a crash cannot lead to a second (Figure 2)', () => {
    const node = new CoreHarness().step('b', vote(2), false)
    expect(node.sent).toEqual([])
    node.flush()
    expect(node.hardState).toMatchObject({ term: 2, vote: 'b' })
    const restarted = new CoreHarness({ term: 2, vote: 'b' }).step('c', vote(2)).step('b', vote(2))
    expect(restarted.take('voteReply').map(({ message }) => message.granted)).toEqual([false, true])
  })

  it('are asked for only when the own is durable', () => {
    const node = new CoreHarness().stand(false)
    expect(node.take('requestVote')).toEqual([])
    node.flush()
    expect(node.take('requestVote').every(({ late }) => late)).toBe(true)
  })

  it.each([
    [3, 2, false, 'a shorter log of the same term'],
    [4, 2, true, 'an equal log'],
    [9, 1, false, 'a longer log of an earlier term'],
    [1, 3, true, 'a shorter log of a later term']
  ])('for last entry %i of term %i: %s, for it is %s (§5.4.1)', (lastIndex, lastTerm, granted) => {
    const node = new CoreHarness({ terms: [1, 1, 2, 2], term: 3 }).step('b', vote(4, lastIndex, lastTerm))
    expect(node.take('voteReply')[0]!.message.granted).toBe(granted)
  })

  it('are refused to others when the leader of the term is known', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('c', vote(2))
    expect(node.take('voteReply')[0]!.message.granted).toBe(false)
  })
})

describe('a follower', () => {
  it('refuses an append whose previous entry it has not, and hints where to go on (§5.3)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 4, 4], term: 6 })
    node.step('b', append(6, 9, 6)).step('b', append(6, 5, 3))
    expect(node.take('appendReply').map(({ message }) => message)).toMatchObject([
      { rejected: true, index: 9, hintIndex: 5, hintTerm: 4 },
      { rejected: true, index: 5, hintIndex: 3, hintTerm: 1 }
    ])
  })

  it('replaces a conflicting suffix (§5.3)', () => {
    const node = new CoreHarness({ terms: [1, 1, 2, 2, 2] }).step('b', append(3, 2, 1, [3]))
    expect(node.terms).toEqual([1, 1, 3])
    expect(node.take('appendReply')[0]!.message).toMatchObject({ rejected: false, index: 3 })
  })

  it('never truncates a matching suffix for an old or doubled append (Figure 2, step 3)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2, 2] }).step('b', append(2, 1, 1, [2]))
    expect(node.terms).toEqual([1, 2, 2, 2])
    expect(node.take('appendReply')[0]!.message).toMatchObject({ rejected: false, index: 2 })
  })

  it('stops rather than truncate what is committed', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], commit: 3 })
    expect(() => node.step('b', append(3, 1, 1, [3, 3]))).toThrow(/truncation at 2/)
  })

  it('acknowledges only what is durable (Figure 2)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2, 2]), false)
    expect(node.sent).toEqual([])
    expect(node.flush().take('appendReply')[0]!.message).toMatchObject({ rejected: false, index: 3 })
  })

  it('commits up to the last new entry at most (Figure 2, step 5)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1] }).step('b', append(2, 1, 1, [1], 4))
    expect(node.core.commitIndex).toBe(2)
  })

  it('applies only what its own disk has, in order and once', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2, 2], 3), false)
    expect(node.applied.map(({ index }) => index)).toEqual([1])
    node.flush().drain()
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2, 3])
  })

  it('ignores an append with gaps or falling terms', () => {
    const node = new CoreHarness({ terms: [1, 2], term: 5 })
    node.step('b', append(5, 2, 2, [4, 3])).step('b', { ...append(5, 2, 2, [5]), prevIndex: 1, prevTerm: 1 } as never)
    expect(node.core.lastIndex).toBe(2)
  })

  it('writes the term with or before the entries', () => {
    const node = new CoreHarness()
    node.core.step('b', append(7, 1, 1, [7]))
    expect(node.core.ready()!.write).toMatchObject({ hardState: { term: 7 }, entries: [{ index: 2 }] })
  })
})

describe('storage acknowledgements', () => {
  it('of a truncated entry do not count, even when the same entry is back in the log (ABA across terms)', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'] })
    node.step('b', append(2, 1, 1, [2, 2]), false)
    node.step('c', append(3, 1, 1, [3]), false)
    node.step('d', append(4, 1, 1, [2, 2], 3), false)
    expect(node.writes).toHaveLength(3)
    // Entries 2 and 3 of term 2 are on the disk now, but the second write will take them away again.
    node.flush(1).drain(false)
    expect(node.applied.map(({ index }) => index)).toEqual([1])
    node.flush(1).drain(false)
    expect(node.applied.map(({ index }) => index)).toEqual([1])
    node.flush().drain()
    expect(node.applied.map(({ index, term }) => [index, term])).toEqual([
      [1, 1],
      [2, 2],
      [3, 2]
    ])
  })

  it('must come in order', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2]), false).step('b', append(2, 2, 2, [2]), false)
    expect(() => node.core.persisted(node.writes[1]!.write!.ack)).toThrow(InvariantError)
  })
})

describe('a leader', () => {
  it('commits what a majority has and tells the followers (§5.3)', () => {
    const node = new CoreHarness().lead()
    node.accept('b', 2)
    expect(node.core.commitIndex).toBe(2)
    node.take('append')
    node.core.propose([fromString('x')])
    node.drain()
    expect(node.take('append')[0]!.message).toMatchObject({ commit: 2, prevIndex: 2, entries: [{ index: 3, term: 2 }] })
  })

  it('does not commit an entry of an earlier term by counting replicas (§5.4.2, Figure 8)', () => {
    const node = new CoreHarness({ terms: [1, 2], term: 2 }).lead()
    node.accept('b', 2).accept('c', 2)
    expect(node.core.commitIndex).toBe(1)
    node.accept('b', 3)
    expect(node.core.commitIndex).toBe(3)
  })

  it('sends appends beside its own flush and counts itself only after it (thesis §10.2.1)', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'] }).stand()
    for (const from of ['b', 'c']) node.core.step(from, { type: 'voteReply', term: 2, granted: true })
    node.drain(false)
    expect(node.take('append').map(({ to, late }) => [to, late])).toEqual(['b', 'c', 'd', 'e'].map((id) => [id, false]))
    for (const from of ['b', 'c']) {
      node.step(from, { type: 'appendReply', term: 2, rejected: false, index: 2, hintIndex: 0, hintTerm: 0 }, false)
    }
    expect(node.core.commitIndex).toBe(1)
    expect(node.flush().core.commitIndex).toBe(2)
  })

  it('commits what the others have before its own disk has, but applies it only after', () => {
    const node = new CoreHarness().stand()
    node.core.step('b', { type: 'voteReply', term: 2, granted: true })
    node.drain(false)
    for (const from of ['b', 'c']) {
      node.step(from, { type: 'appendReply', term: 2, rejected: false, index: 2, hintIndex: 0, hintTerm: 0 }, false)
    }
    expect(node.core.commitIndex).toBe(2)
    expect(node.applied.map(({ index }) => index)).toEqual([1])
    node.flush().drain()
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2])
  })

  it('does not count a learner', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c'], learners: ['x'] }).lead().accept('x', 2)
    expect(node.core.commitIndex).toBe(1)
  })

  // The first entry, of term 1, is the configuration here.
  it.each([
    ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['b', [1, 1, 1, 4]],
    ['c', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['e', [1, 1, 1, 4, 4, 4, 4]],
    ['f', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]]
  ])('makes follower (%s) of Figure 7 agree, skipping whole terms (§5.3)', (_, terms) => {
    const node = new CoreHarness({ terms: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], term: 7 }).lead()
    const follower = new CoreHarness({ id: 'c', terms, term: 7 })
    let rounds = 0
    while (follower.terms.join() !== node.terms.join()) {
      for (const { to, message } of node.sent.splice(0)) if (to === 'c') follower.step('a', message)
      for (const { message } of follower.sent.splice(0)) node.step('c', message)
      expect(++rounds).toBeLessThanOrEqual(4)
    }
    expect(follower.stored).toEqual(node.stored)
  })

  it('caps the commit of a heartbeat at what matches', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.take('append')
    node.tick(2)
    expect(node.take('heartbeat').map(({ to, message }) => [to, message.commit])).toEqual([
      ['b', 2],
      ['c', 0]
    ])
  })

  it('pipelines appends up to the limit and goes on when they are acknowledged', () => {
    const node = new CoreHarness({ limits: { maxAppendBytes: 1 } }).lead().accept('b', 2)
    node.take('append')
    for (let i = 0; i < 10; i++) node.core.propose([fromString('x')])
    node.drain()
    const indexes = () =>
      node.take('append').flatMap(({ to, message }) => (to === 'b' ? message.entries.map((e) => e.index) : []))
    expect(indexes()).toEqual([3, 4, 5, 6])
    node.accept('b', 4)
    expect(indexes()).toEqual([7, 8])
  })

  it('finds out by an empty append when what it sent was lost', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.propose([fromString('x')])
    node.drain().take('append')
    const alive = { type: 'heartbeatReply', term: 2, round: 0 } as const
    node.step('b', alive).step('b', alive)
    expect(node.take('append').map(({ message }) => [message.prevIndex, message.entries.length])).toEqual([[3, 0]])
    node.step('b', { type: 'appendReply', term: 2, rejected: true, index: 3, hintIndex: 2, hintTerm: 2 })
    expect(node.take('append').map(({ message }) => message.entries.map(({ index }) => index))).toEqual([[3]])
  })

  it('packs entries of a message by bytes, a larger one alone', () => {
    const node = new CoreHarness({ limits: { maxAppendBytes: 100 } }).lead().accept('b', 2)
    node.take('append')
    node.core.propose([
      new Uint8Array(20),
      new Uint8Array(20),
      new Uint8Array(20),
      new Uint8Array(500),
      new Uint8Array(1)
    ])
    node.drain()
    const counts = node.take('append').flatMap(({ to, message }) => (to === 'b' ? [message.entries.length] : []))
    expect(counts).toEqual([2, 1, 1, 1])
  })

  it('refuses proposals while too many bytes are uncommitted, and takes them again after', () => {
    const node = new CoreHarness().lead()
    expect(node.core.propose([new Uint8Array(9000)])).toEqual({ index: 3, term: 2 })
    expect(node.core.propose([new Uint8Array(1000)])).toMatchObject({ refused: 'full' })
    node.drain().accept('b', 3)
    expect(node.core.propose([new Uint8Array(1000)])).toEqual({ index: 4, term: 2 })
  })

  it('takes one proposal of any size when nothing is pending', () => {
    expect(new CoreHarness().lead().core.propose([new Uint8Array(50_000)])).toEqual({ index: 3, term: 2 })
  })

  it('names the leader it knows when it is none itself', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1))
    expect(node.core.propose([fromString('x')])).toEqual({ refused: 'notLeader', leader: 'b' })
  })
})
