import { describe, expect, it } from 'vitest'
import { append, CoreHarness, voteFor } from './support/core-harness.js'

const vote = (term: number, lastIndex = 1, lastTerm = 1) =>
  ({ type: 'requestVote', term, lastIndex, lastTerm, transfer: false }) as const

/** Figure 2: "Rules for Servers, Followers 2, Candidates". */
describe('elections', () => {
  it('start when a node hears from no leader within the timeout (§5.2; Figure 2, Followers 2)', () => {
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

  it('are delayed by a vote that the node gives (Figure 2, Followers 2)', () => {
    const node = new CoreHarness().tick(9).step('b', vote(2)).tick(9)
    expect(node.core).toMatchObject({ role: 'follower', term: 2 })
    expect(node.tick(1).core.role).toBe('preCandidate')
  })

  it('are not delayed by a vote that the node refuses in its own term', () => {
    const node = new CoreHarness({ term: 2, vote: 'c' }).tick(9).step('b', vote(2)).tick(1)
    expect(node.core.role).toBe('preCandidate')
  })

  it('raise the term, vote for the candidate itself and ask all others (Figure 2, Candidates 1)', () => {
    const node = new CoreHarness().stand()
    expect(node.core).toMatchObject({ role: 'candidate', term: 2, leader: undefined })
    expect(node.hardState).toMatchObject({ term: 2, vote: 'a' })
    expect(node.take('requestVote').map(({ to }) => to)).toEqual(['b', 'c'])
  })

  it('are won with a majority, and the leader appends an entry of its term (Figure 2, Candidates 2; §8)', () => {
    const node = new CoreHarness().lead()
    expect(node.core).toMatchObject({ role: 'leader', leader: 'a', lastIndex: 2 })
    expect(node.stored[1]).toMatchObject({ term: 2, kind: 'noop' })
  })

  it('are lost when a majority refuses', () => {
    const node = new CoreHarness().stand()
    node.step('b', voteFor(2, false)).step('c', voteFor(2, false))
    expect(node.core).toMatchObject({ role: 'follower', term: 2 })
  })

  it('count neither a second vote of a node nor the vote of a node that is not a voter', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'], learners: ['x'] }).stand()
    for (const from of ['b', 'b', 'x', 'y']) node.step(from, voteFor(2))
    expect(node.core.role).toBe('candidate')
    node.step('e', voteFor(2))
    expect(node.core.role).toBe('leader')
  })

  it('ignore votes of an earlier term', () => {
    const node = new CoreHarness().stand().stand()
    expect(node.core.term).toBe(3)
    node.step('b', voteFor(2))
    expect(node.core.role).toBe('candidate')
  })

  it('end when the candidate hears from the leader of its term (§5.2; Figure 2, Candidates 3)', () => {
    const node = new CoreHarness().stand().step('b', append(2, 1, 1))
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: 'b' })
  })

  it('start again in a new term when the timeout elapses (§5.2; Figure 2, Candidates 4)', () => {
    const node = new CoreHarness().stand()
    node.take('requestVote')
    expect(node.tick(9).core).toMatchObject({ role: 'candidate', term: 2 })
    expect(node.stand().core).toMatchObject({ role: 'candidate', term: 3 })
    expect(node.take('requestVote').map(({ message }) => message.term)).toEqual([3, 3])
  })

  it('are not started by a learner (thesis §4.2.1)', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).tick(100)
    expect(node.core).toMatchObject({ role: 'follower', term: 1 })
  })

  it('are not started by a node that joins and knows no configuration (thesis §4.2.1)', () => {
    const node = new CoreHarness({ id: 'd', terms: [] }).tick(100)
    expect(node.core).toMatchObject({ role: 'follower', term: 0 })
    expect(node.sent).toEqual([])
  })

  it('are won by a sole voter as soon as its own vote is durable (§5.2)', () => {
    const node = new CoreHarness({ voters: ['a'] }).tick(10)
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it("count the candidate's own vote only when it is durable, and not in a later term (Figure 2, State)", () => {
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
  it('are refused to a candidate of an earlier term (RequestVote 1)', () => {
    const node = new CoreHarness({ term: 3 }).step('b', vote(2, 9, 2))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(3, false))
    expect(node.hardState.vote).toBeUndefined()
  })

  it('are given once per term (§5.2; RequestVote 2)', () => {
    const node = new CoreHarness().step('b', vote(2)).step('c', vote(2)).step('b', vote(2))
    expect(node.take('voteReply').map(({ message }) => message.granted)).toEqual([true, false, true])
  })

  it('may go to another candidate in a later term (§5.2)', () => {
    const node = new CoreHarness().step('b', vote(2)).step('c', vote(3))
    expect(node.take('voteReply').map(({ message }) => message.granted)).toEqual([true, true])
    expect(node.hardState).toMatchObject({ term: 3, vote: 'c' })
  })

  it('are durable before they leave, so that a crash cannot lead to a second one (Figure 2, State)', () => {
    const node = new CoreHarness().step('b', vote(2), false)
    expect(node.sent).toEqual([])
    node.flush()
    expect(node.hardState).toMatchObject({ term: 2, vote: 'b' })
    const restarted = new CoreHarness({ term: 2, vote: 'b' }).step('c', vote(2)).step('b', vote(2))
    expect(restarted.take('voteReply').map(({ message }) => message.granted)).toEqual([false, true])
  })

  it("are requested only when the candidate's own vote is durable (Figure 2, State)", () => {
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
    'are granted for last entry %i of term %i: %s, because the candidate has %s (§5.4.1; RequestVote 2)',
    (lastIndex, lastTerm, granted) => {
      const node = new CoreHarness({ terms: [1, 1, 2, 2], term: 3 }).step('b', vote(4, lastIndex, lastTerm))
      expect(node.take('voteReply')[0]!.message.granted).toBe(granted)
    }
  )

  it('are refused to other candidates once the leader of the term is known (§5.2)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('c', vote(2))
    expect(node.take('voteReply')[0]!.message.granted).toBe(false)
  })

  it('are refused by a node that joins and has no configuration (thesis §4.2.1)', () => {
    const node = new CoreHarness({ id: 'd', terms: [] }).step('b', vote(2))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(2, false))
  })

  it('are given by a learner, because the candidate may know of its promotion (thesis §4.2.2)', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).step('b', vote(2))
    expect(node.take('voteReply')[0]!.message.granted).toBe(true)
  })

  it('are given by a deposed leader once it no longer takes itself for the leader', () => {
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
