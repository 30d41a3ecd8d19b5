import { describe, expect, it } from 'vitest'
import { append, CoreHarness, voteFor } from './support/core-harness.js'

const vote = (term: number, lastIndex = 1, lastTerm = 1) =>
  ({ type: 'requestVote', term, lastIndex, lastTerm, transfer: false }) as const

/** Figure 2: "Rules for Servers, Followers 2, Candidates". */
describe('elections', () => {
  it('an election starts when a node hears from no leader within the timeout (§5.2; Figure 2, Followers 2)', () => {
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

  it('a vote that a node gives delays its own election (Figure 2, Followers 2)', () => {
    const node = new CoreHarness().tick(9).step('b', vote(2)).tick(9)
    expect(node.core).toMatchObject({ role: 'follower', term: 2 })
    expect(node.tick(1).core.role).toBe('preCandidate')
  })

  it('a vote that a node refuses in its own term does not delay its own election', () => {
    const node = new CoreHarness({ term: 2, vote: 'c' }).tick(9).step('b', vote(2)).tick(1)
    expect(node.core.role).toBe('preCandidate')
  })

  it('a candidate raises its term, votes for itself and asks all others for their votes (Figure 2, Candidates 1)', () => {
    const node = new CoreHarness().stand()
    expect(node.core).toMatchObject({ role: 'candidate', term: 2, leader: undefined })
    expect(node.hardState).toMatchObject({ term: 2, vote: 'a' })
    expect(node.take('requestVote').map(({ to }) => to)).toEqual(['b', 'c'])
  })

  it('a candidate wins with a majority, and then appends an entry of its term (Figure 2, Candidates 2; §8)', () => {
    const node = new CoreHarness().lead()
    expect(node.core).toMatchObject({ role: 'leader', leader: 'a', lastIndex: 2 })
    expect(node.stored[1]).toMatchObject({ term: 2, kind: 'noop' })
  })

  it('a candidate loses the election when a majority refuses', () => {
    const node = new CoreHarness().stand()
    node.step('b', voteFor(2, false)).step('c', voteFor(2, false))
    expect(node.core).toMatchObject({ role: 'follower', term: 2 })
  })

  it('a candidate counts neither a second vote of a node nor the vote of a node that is not a voter', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'], learners: ['x'] }).stand()
    for (const from of ['b', 'b', 'x', 'y']) node.step(from, voteFor(2))
    expect(node.core.role).toBe('candidate')
    node.step('e', voteFor(2))
    expect(node.core.role).toBe('leader')
  })

  it('a candidate ignores votes of an earlier term', () => {
    const node = new CoreHarness().stand().stand()
    expect(node.core.term).toBe(3)
    node.step('b', voteFor(2))
    expect(node.core.role).toBe('candidate')
  })

  it('a candidate becomes a follower when it hears from the leader of its term (§5.2; Figure 2, Candidates 3)', () => {
    const node = new CoreHarness().stand().step('b', append(2, 1, 1))
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: 'b' })
  })

  it('a candidate starts an election in a new term when its timeout elapses (§5.2; Figure 2, Candidates 4)', () => {
    const node = new CoreHarness().stand()
    node.take('requestVote')
    expect(node.tick(9).core).toMatchObject({ role: 'candidate', term: 2 })
    expect(node.stand().core).toMatchObject({ role: 'candidate', term: 3 })
    expect(node.take('requestVote').map(({ message }) => message.term)).toEqual([3, 3])
  })

  it('a learner starts no election (thesis §4.2.1)', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).tick(100)
    expect(node.core).toMatchObject({ role: 'follower', term: 1 })
  })

  it('a node that joins and knows no configuration starts no election (thesis §4.2.1)', () => {
    const node = new CoreHarness({ id: 'd', terms: [] }).tick(100)
    expect(node.core).toMatchObject({ role: 'follower', term: 0 })
    expect(node.sent).toEqual([])
  })

  it('a sole voter wins its election as soon as its own vote is durable (§5.2)', () => {
    const node = new CoreHarness({ voters: ['a'] }).tick(10)
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('a candidate counts its own vote only when that is durable, and not in a later term (Figure 2, State)', () => {
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

/** Figure 2: "RequestVote RPC, Receiver implementation". */
describe('votes', () => {
  it('a voter refuses its vote to a candidate of an earlier term (RequestVote 1)', () => {
    const node = new CoreHarness({ term: 3 }).step('b', vote(2, 9, 2))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(3, false))
    expect(node.hardState.vote).toBeUndefined()
  })

  it('a voter gives its vote once per term (§5.2; RequestVote 2)', () => {
    const node = new CoreHarness().step('b', vote(2)).step('c', vote(2)).step('b', vote(2))
    expect(node.take('voteReply').map(({ message }) => message.granted)).toEqual([true, false, true])
  })

  it('a voter may vote for another candidate in a later term (§5.2)', () => {
    const node = new CoreHarness().step('b', vote(2)).step('c', vote(3))
    expect(node.take('voteReply').map(({ message }) => message.granted)).toEqual([true, true])
    expect(node.hardState).toMatchObject({ term: 3, vote: 'c' })
  })

  it('a vote is durable before it leaves, so that a crash cannot lead to a second one (Figure 2, State)', () => {
    const node = new CoreHarness().step('b', vote(2), false)
    expect(node.sent).toEqual([])
    node.flush()
    expect(node.hardState).toMatchObject({ term: 2, vote: 'b' })
    const restarted = new CoreHarness({ term: 2, vote: 'b' }).step('c', vote(2)).step('b', vote(2))
    expect(restarted.take('voteReply').map(({ message }) => message.granted)).toEqual([false, true])
  })

  it('a candidate requests votes only when its own vote is durable (Figure 2, State)', () => {
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
  ])(
    'a vote is granted for last entry %i of term %i: %s, because the candidate has %s (§5.4.1; RequestVote 2)',
    (lastIndex, lastTerm, granted) => {
      const node = new CoreHarness({ terms: [1, 1, 2, 2], term: 3 }).step('b', vote(4, lastIndex, lastTerm))
      expect(node.take('voteReply')[0]!.message.granted).toBe(granted)
    }
  )

  it('a node refuses its vote to other candidates once it knows the leader of the term (§5.2)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('c', vote(2))
    expect(node.take('voteReply')[0]!.message.granted).toBe(false)
  })

  it('a node that joins and has no configuration refuses its vote (thesis §4.2.1)', () => {
    const node = new CoreHarness({ id: 'd', terms: [] }).step('b', vote(2))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(2, false))
  })

  it('a learner gives its vote, because the candidate may know of its promotion (thesis §4.2.2)', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).step('b', vote(2))
    expect(node.take('voteReply')[0]!.message.granted).toBe(true)
  })

  it('a deposed leader gives its vote once it no longer takes itself for the leader', () => {
    const node = new CoreHarness()
      .lead()
      .step('c', append(3, 1, 1))
      .tick(10)
    node.step('b', vote(4, 1, 1))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(4, false))
    node.step('b', vote(4, 9, 2))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(4))
  })
})
