import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness, voteFor } from './support/core-harness.js'

const vote = (term: number, transfer = false) =>
  ({ type: 'requestVote', term, lastIndex: 9, lastTerm: 9, transfer }) as const
const preVote = (term: number, lastIndex = 9, lastTerm = 9) =>
  ({ type: 'requestPreVote', term, lastIndex, lastTerm }) as const
const preVoteReply = (term: number, granted: boolean) => ({ type: 'preVoteReply', term, granted }) as const

describe('pre-votes', () => {
  it('a pre-vote asks for the next term and changes nothing at its sender (thesis §9.6)', () => {
    const node = new CoreHarness({ terms: [1, 2], term: 3 }).tick(10)
    expect(node.take('requestPreVote').map(({ to, message }) => [to, message])).toEqual([
      ['b', preVote(4, 2, 2)],
      ['c', preVote(4, 2, 2)]
    ])
    expect(node.core).toMatchObject({ role: 'preCandidate', term: 3 })
    expect(node.hardState).toMatchObject({ term: 3, vote: undefined })
  })

  it('a pre-vote changes nothing at its receiver, not even the timeout, so that a node may grant many (thesis §9.6)', () => {
    const node = new CoreHarness().tick(9).step('b', preVote(2)).step('c', preVote(2))
    expect(node.take('preVoteReply').map(({ message }) => message)).toEqual([
      preVoteReply(2, true),
      preVoteReply(2, true)
    ])
    expect(node.hardState).toMatchObject({ term: 1, vote: undefined })
    expect(node.tick(1).core.role).toBe('preCandidate')
  })

  it('a node grants a pre-vote only for a term above its own, and a refusal names its own term (thesis §9.6)', () => {
    const node = new CoreHarness({ term: 4 }).step('b', preVote(4)).step('b', preVote(5))
    expect(node.take('preVoteReply').map(({ message }) => message)).toEqual([
      preVoteReply(4, false),
      preVoteReply(5, true)
    ])
  })

  it('a node refuses a pre-vote to a candidate whose log is behind (§5.4.1)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], term: 2 })
    for (const request of [preVote(3, 2, 2), preVote(3, 9, 1), preVote(3, 3, 2)]) node.step('b', request)
    expect(node.take('preVoteReply').map(({ message }) => message.granted)).toEqual([false, false, true])
  })

  it('a majority that grants pre-votes starts an election, and a majority that refuses them starts none (thesis §9.6)', () => {
    const node = new CoreHarness().tick(10).step('b', preVoteReply(2, true))
    expect(node.core).toMatchObject({ role: 'candidate', term: 2 })
    const other = new CoreHarness().tick(10).step('b', preVoteReply(1, false)).step('c', preVoteReply(1, false))
    expect(other.core).toMatchObject({ role: 'follower', term: 1 })
  })

  it('a pre-candidate does not count pre-votes for another term (thesis §9.6)', () => {
    const node = new CoreHarness().stand().tick(10)
    expect(node.core).toMatchObject({ role: 'preCandidate', term: 2 })
    expect(node.step('b', preVoteReply(2, true)).core.role).toBe('preCandidate')
    expect(node.step('b', preVoteReply(3, true)).core.role).toBe('candidate')
  })

  it('a pre-vote teaches its sender the term of a node that refuses (thesis §9.6)', () => {
    const node = new CoreHarness().tick(10).step('b', preVoteReply(7, false))
    expect(node.core).toMatchObject({ role: 'follower', term: 7 })
  })
})

describe('nodes that have heard from a leader (thesis §4.2.3)', () => {
  it('a node that has heard from a leader within the shortest timeout ignores elections of a higher term, and keeps its own term (thesis §4.2.3)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).tick(9)
    node.sent.length = 0
    node.step('c', vote(3)).step('c', preVote(3))
    expect(node.sent).toEqual([])
    expect(node.core).toMatchObject({ term: 2, leader: 'b' })
  })

  it('a node answers candidates once the shortest timeout is over, even if its own timeout is longer (thesis §4.2.3)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).tick(9)
    node.core.tick()
    node.core.step('c', vote(3))
    node.drain()
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(3))
  })

  it('a leader ignores elections of a higher term at any time (thesis §4.2.3)', () => {
    const node = new CoreHarness().lead()
    for (let i = 0; i < 30; i++) node.tick(1).step('b', accepted(2, 2)).step('c', vote(9)).step('c', preVote(9))
    expect(node.take('voteReply')).toEqual([])
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('a node that hears from its leader takes part in an election that the leader asked for (thesis §3.10)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('c', vote(3, true))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(3))
  })

  it('a node that is not a voter gives up its leader after the timeout', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).step('b', append(2, 1, 1))
    expect(node.tick(9).core.leader).toBe('b')
    expect(node.tick(1).core.leader).toBeUndefined()
  })
})

describe('check-quorum', () => {
  const reply = { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' } as const

  it('check-quorum deposes a leader that has not heard from a majority for an election timeout (thesis §6.2)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    expect(node.tick(10).core.role).toBe('leader')
    expect(node.tick(9).core.role).toBe('leader')
    expect(node.tick(1).core).toMatchObject({ role: 'follower', term: 2, leader: undefined })
    expect(node.core.propose([new Uint8Array(1)])).toEqual({ refused: 'notLeader', leader: undefined })
  })

  it('check-quorum keeps a leader while any majority answers (thesis §6.2)', () => {
    const node = new CoreHarness().lead()
    for (let i = 0; i < 10; i++) node.tick(9).step(i % 2 === 0 ? 'b' : 'c', reply)
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('check-quorum counts neither learners nor unknown nodes (thesis §4.2.1)', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead().accept('b', 2).tick(10)
    node.step('x', reply).step('y', reply).tick(10)
    expect(node.core.role).toBe('follower')
  })

  it('check-quorum keeps a leader that is the only voter (thesis §6.2)', () => {
    const node = new CoreHarness({ voters: ['a'] }).tick(10)
    expect(node.tick(100).core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('check-quorum lets a leader that has stepped down stand in the next election', () => {
    const node = new CoreHarness().lead().tick(10)
    expect(node.core.role).toBe('follower')
    expect(node.stand().core).toMatchObject({ role: 'candidate', term: 3 })
  })

  it('check-quorum does not lock out a node of a higher term, which answers the leader with that term (etcd-io/raft)', () => {
    const node = new CoreHarness({ term: 5 })
    node.step('b', { type: 'heartbeat', term: 4, commit: 1, round: 3 }).step('b', append(4, 1, 1))
    expect(node.sent.map(({ message }) => message.term)).toEqual([5, 5])
    const leader = new CoreHarness({ term: 3 })
      .lead()
      .step('c', { type: 'heartbeatReply', term: 5, round: 3, room: 'enough' })
    expect(leader.core).toMatchObject({ role: 'follower', term: 5 })
  })
})

describe('transfers of leadership', () => {
  it('a transfer of leadership tells a target that has every entry to stand at once (thesis §3.10)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    expect(node.core.transferLeadership('b')).toBeUndefined()
    expect(node.drain().take('timeoutNow')).toMatchObject([{ to: 'b', message: { term: 2 } }])
    expect(node.core.transferTarget).toBe('b')
  })

  it('a transfer of leadership waits until the target has every entry (thesis §3.10)', () => {
    const node = new CoreHarness().lead().accept('c', 2)
    node.core.transferLeadership('b')
    expect(node.drain().take('timeoutNow')).toEqual([])
    expect(node.accept('b', 2).take('timeoutNow')).toHaveLength(1)
  })

  it('a transfer of leadership repeats its message whenever the target answers, because messages get lost (thesis §3.10)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.transferLeadership('b')
    node.drain().take('timeoutNow')
    node.step('b', { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
    expect(node.take('timeoutNow')).toHaveLength(1)
  })

  it('a transfer of leadership makes the leader refuse proposals and changes until it ends, after an election timeout at the latest (thesis §3.10)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.transferLeadership('c')
    expect(node.core.propose([new Uint8Array(1)])).toEqual({ refused: 'transferring', to: 'c' })
    expect(node.core.changeMembership([{ type: 'removed', id: 'b' }])).toMatchObject({ refused: 'transferring' })
    node.tick(5)
    // A repeated request does not prolong the transfer.
    node.core.transferLeadership('c')
    node.step('b', accepted(2, 2)).tick(5)
    expect(node.core).toMatchObject({ role: 'leader', transferTarget: undefined })
    expect(node.core.propose([new Uint8Array(1)])).toMatchObject({ index: 3 })
  })

  it('a transfer of leadership is refused to the leader itself, to a node that is not a voter, and by a node that does not lead (thesis §3.10)', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead()
    expect(['a', 'x', 'y'].map((to) => node.core.transferLeadership(to))).toEqual(['self', 'notVoter', 'notVoter'])
    expect(new CoreHarness().core.transferLeadership('b')).toBe('notLeader')
  })

  it('a transfer of leadership may change its target (thesis §3.10)', () => {
    const node = new CoreHarness().lead().accept('b', 2).accept('c', 2)
    node.core.transferLeadership('b')
    node.core.transferLeadership('c')
    expect(node.core.transferTarget).toBe('c')
  })

  it('a transfer of leadership makes the target start an election without a pre-vote, whose messages say that the leader asked for it (thesis §3.10)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('b', { type: 'timeoutNow', term: 2 })
    expect(node.core).toMatchObject({ role: 'candidate', term: 3 })
    expect(node.take('requestVote').map(({ message }) => message.transfer)).toEqual([true, true])
  })

  it('a transfer of leadership does nothing at a node that has a later term, nor at a learner (thesis §3.10)', () => {
    const node = new CoreHarness().step('b', append(3, 1, 1)).step('c', { type: 'timeoutNow', term: 2 })
    expect(node.core).toMatchObject({ role: 'follower', term: 3, leader: 'b' })
    const learner = new CoreHarness({ id: 'x', learners: ['x'] }).step('b', { type: 'timeoutNow', term: 2 })
    expect(learner.core.role).toBe('follower')
  })

  it('a transfer of leadership goes to the most advanced of the other voters by default (thesis §3.10)', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead().accept('x', 2).accept('c', 2)
    expect(node.core.mostAdvancedVoter).toBe('c')
    expect(new CoreHarness().core.mostAdvancedVoter).toBeUndefined()
  })

  it('a transfer of leadership prefers a voter that answers to a silent one with more entries (thesis §3.10)', () => {
    const node = new CoreHarness().lead().accept('b', 3).accept('c', 2)
    const answer = (): CoreHarness => node.step('c', { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
    node.core.propose([new Uint8Array(1)])
    node.drain().accept('b', 3)
    node.tick(10)
    answer().tick(5)
    // c has been silent for less than an election timeout.
    expect(node.core.mostAdvancedVoter).toBe('b')
    answer().tick(5)
    expect(node.core.mostAdvancedVoter).toBe('c')
    answer().tick(9)
    expect(node.core.mostAdvancedVoter).toBe('c')
  })
})

describe('leaders whose disk hangs', () => {
  const answered = (node: CoreHarness): void => {
    for (const from of ['b', 'c']) node.core.step(from, { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
  }
  /** Passes `timeouts` election timeouts in which nothing is flushed and every other node answers. */
  const wait = (node: CoreHarness, timeouts: number): CoreHarness => {
    for (let tick = 0; tick < timeouts * 10; tick++) {
      node.core.tick()
      answered(node)
      node.drain(false)
    }
    return node
  }
  const proposed = (voters?: readonly string[]): CoreHarness => {
    const node = new CoreHarness(voters === undefined ? {} : { voters }).lead()
    for (const id of node.core.configuration.voters) if (id !== 'a') node.accept(id, 2)
    node.core.propose([new Uint8Array(1)])
    node.drain(false)
    node.core.propose([new Uint8Array(1)])
    return node.drain(false)
  }

  it('a leader whose disk hangs steps down after four election timeouts, and asks the most advanced of the others to stand', () => {
    const node = proposed()
    node.accept('b', 3, false).accept('c', 4, false)
    wait(node, 4)
    expect(node.core).toMatchObject({ role: 'leader', commitIndex: 3, appliedIndex: 2 })
    expect(node.take('timeoutNow')).toEqual([])
    wait(node, 1)
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: undefined })
    expect(node.take('timeoutNow').map(({ to }) => to)).toEqual(['c'])
  })

  it('a leader whose disk hangs stays leader if its disk completes any write in that time, however small', () => {
    const node = proposed()
    for (let i = 0; i < 10; i++) {
      wait(node, 3).flush(node.writes.findIndex(({ write }) => write !== undefined) + 1)
      node.core.propose([new Uint8Array(1)])
      node.drain(false)
    }
    expect(node.core.role).toBe('leader')
  })

  it('a leader whose disk hangs stays leader if no other voter exists', () => {
    const node = proposed(['a'])
    expect(wait(node, 20).core.role).toBe('leader')
  })

  it('a candidate whose disk hangs cannot win an election before its own vote is durable', () => {
    const node = wait(proposed(), 5)
    node.take('requestVote')
    for (let i = 0; i < 40; i++) {
      node.core.tick()
      for (const from of ['b', 'c']) node.core.step(from, { type: 'preVoteReply', term: 3, granted: true })
      for (const from of ['b', 'c']) node.core.step(from, { type: 'voteReply', term: 3, granted: true })
      node.drain(false)
    }
    expect(node.take('requestVote')).toEqual([])
  })
})
