import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness, voteFor } from './support/core-harness.js'

const vote = (term: number, transfer = false) =>
  ({ type: 'requestVote', term, lastIndex: 9, lastTerm: 9, transfer }) as const
const preVote = (term: number, lastIndex = 9, lastTerm = 9) =>
  ({ type: 'requestPreVote', term, lastIndex, lastTerm }) as const
const preVoteReply = (term: number, granted: boolean) => ({ type: 'preVoteReply', term, granted }) as const

describe('a pre-vote (thesis §9.6)', () => {
  it('asks for the next term and changes nothing at who asks', () => {
    const node = new CoreHarness({ terms: [1, 2], term: 3 }).tick(10)
    expect(node.take('requestPreVote').map(({ to, message }) => [to, message])).toEqual([
      ['b', preVote(4, 2, 2)],
      ['c', preVote(4, 2, 2)]
    ])
    expect(node.core).toMatchObject({ role: 'preCandidate', term: 3 })
    expect(node.hardState).toMatchObject({ term: 3, vote: undefined })
  })

  it('changes nothing at who is asked, not even the time-out: it may be granted to many', () => {
    const node = new CoreHarness().tick(9).step('b', preVote(2)).step('c', preVote(2))
    expect(node.take('preVoteReply').map(({ message }) => message)).toEqual([
      preVoteReply(2, true),
      preVoteReply(2, true)
    ])
    expect(node.hardState).toMatchObject({ term: 1, vote: undefined })
    expect(node.tick(1).core.role).toBe('preCandidate')
  })

  it('is granted for a later term than the own only, and a refusal names the own', () => {
    const node = new CoreHarness({ term: 4 }).step('b', preVote(4)).step('b', preVote(5))
    expect(node.take('preVoteReply').map(({ message }) => message)).toEqual([
      preVoteReply(4, false),
      preVoteReply(5, true)
    ])
  })

  it('is refused to a log that is behind (§5.4.1)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], term: 2 })
    for (const request of [preVote(3, 2, 2), preVote(3, 9, 1), preVote(3, 3, 2)]) node.step('b', request)
    expect(node.take('preVoteReply').map(({ message }) => message.granted)).toEqual([false, false, true])
  })

  it('leads to an election when a majority grants it, and to none when it refuses', () => {
    const node = new CoreHarness().tick(10).step('b', preVoteReply(2, true))
    expect(node.core).toMatchObject({ role: 'candidate', term: 2 })
    const other = new CoreHarness().tick(10).step('b', preVoteReply(1, false)).step('c', preVoteReply(1, false))
    expect(other.core).toMatchObject({ role: 'follower', term: 1 })
  })

  it('does not count what was granted for another term', () => {
    const node = new CoreHarness().stand().tick(10)
    expect(node.core).toMatchObject({ role: 'preCandidate', term: 2 })
    expect(node.step('b', preVoteReply(2, true)).core.role).toBe('preCandidate')
    expect(node.step('b', preVoteReply(3, true)).core.role).toBe('candidate')
  })

  it('teaches who asks the term of who refuses', () => {
    const node = new CoreHarness().tick(10).step('b', preVoteReply(7, false))
    expect(node.core).toMatchObject({ role: 'follower', term: 7 })
  })
})

describe('who has heard from a leader within the shortest time-out (thesis §4.2.3)', () => {
  it('answers no election of a higher term, and keeps its own', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).tick(9)
    node.sent.length = 0
    node.step('c', vote(3)).step('c', preVote(3))
    expect(node.sent).toEqual([])
    expect(node.core).toMatchObject({ term: 2, leader: 'b' })
  })

  it('answers when the time-out is over, though its own was longer', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).tick(9)
    node.core.tick()
    node.core.step('c', vote(3))
    node.drain()
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(3))
  })

  it('is the leader itself, always', () => {
    const node = new CoreHarness().lead()
    for (let i = 0; i < 30; i++) node.tick(1).step('b', accepted(2, 2)).step('c', vote(9)).step('c', preVote(9))
    expect(node.take('voteReply')).toEqual([])
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('takes part in an election that the leader asked for (thesis §3.10)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('c', vote(3, true))
    expect(node.take('voteReply')[0]!.message).toEqual(voteFor(3))
  })

  it('takes its leader for lost when it is no voter and hears nothing', () => {
    const node = new CoreHarness({ id: 'x', learners: ['x'] }).step('b', append(2, 1, 1))
    expect(node.tick(9).core.leader).toBe('b')
    expect(node.tick(1).core.leader).toBeUndefined()
  })
})

describe('the check for a majority', () => {
  const reply = { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' } as const

  it('deposes a leader that has not heard from a majority for an election timeout (thesis §6.2)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    expect(node.tick(10).core.role).toBe('leader')
    expect(node.tick(9).core.role).toBe('leader')
    expect(node.tick(1).core).toMatchObject({ role: 'follower', term: 2, leader: undefined })
    expect(node.core.propose([new Uint8Array(1)])).toEqual({ refused: 'notLeader', leader: undefined })
  })

  it('keeps a leader while a majority answers, whoever that is (thesis §6.2)', () => {
    const node = new CoreHarness().lead()
    for (let i = 0; i < 10; i++) node.tick(9).step(i % 2 === 0 ? 'b' : 'c', reply)
    expect(node.core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('does not count learners, nor nodes that nobody knows (thesis §4.2.1)', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead().accept('b', 2).tick(10)
    node.step('x', reply).step('y', reply).tick(10)
    expect(node.core.role).toBe('follower')
  })

  it('keeps a leader that is alone (thesis §6.2)', () => {
    const node = new CoreHarness({ voters: ['a'] }).tick(10)
    expect(node.tick(100).core).toMatchObject({ role: 'leader', term: 2 })
  })

  it('lets a leader that stepped down stand in the next election', () => {
    const node = new CoreHarness().lead().tick(10)
    expect(node.core.role).toBe('follower')
    expect(node.stand().core).toMatchObject({ role: 'candidate', term: 3 })
  })

  it('does not keep out a node of a higher term: what the leader sends it is answered with that (etcd-io/raft)', () => {
    const node = new CoreHarness({ term: 5 })
    node.step('b', { type: 'heartbeat', term: 4, commit: 1, round: 3 }).step('b', append(4, 1, 1))
    expect(node.sent.map(({ message }) => message.term)).toEqual([5, 5])
    const leader = new CoreHarness({ term: 3 })
      .lead()
      .step('c', { type: 'heartbeatReply', term: 5, round: 3, room: 'enough' })
    expect(leader.core).toMatchObject({ role: 'follower', term: 5 })
  })
})

describe('a transfer of leadership (thesis §3.10)', () => {
  it('tells a target that has everything to stand at once', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    expect(node.core.transferLeadership('b')).toBeUndefined()
    expect(node.drain().take('timeoutNow')).toMatchObject([{ to: 'b', message: { term: 2 } }])
    expect(node.core.transferTarget).toBe('b')
  })

  it('waits until a target has everything', () => {
    const node = new CoreHarness().lead().accept('c', 2)
    node.core.transferLeadership('b')
    expect(node.drain().take('timeoutNow')).toEqual([])
    expect(node.accept('b', 2).take('timeoutNow')).toHaveLength(1)
  })

  it('is repeated when the target is heard of, because messages get lost', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.transferLeadership('b')
    node.drain().take('timeoutNow')
    node.step('b', { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
    expect(node.take('timeoutNow')).toHaveLength(1)
  })

  it('refuses proposals and changes until it is over, after an election time-out at the latest', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.transferLeadership('c')
    expect(node.core.propose([new Uint8Array(1)])).toEqual({ refused: 'transferring', to: 'c' })
    expect(node.core.changeMembership([{ type: 'removed', id: 'b' }])).toMatchObject({ refused: 'transferring' })
    node.tick(5)
    // Asked for again, it takes no longer.
    node.core.transferLeadership('c')
    node.step('b', accepted(2, 2)).tick(5)
    expect(node.core).toMatchObject({ role: 'leader', transferTarget: undefined })
    expect(node.core.propose([new Uint8Array(1)])).toMatchObject({ index: 3 })
  })

  it('is refused to oneself, to who is no voter, and by who does not lead', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead()
    expect(['a', 'x', 'y'].map((to) => node.core.transferLeadership(to))).toEqual(['self', 'notVoter', 'notVoter'])
    expect(new CoreHarness().core.transferLeadership('b')).toBe('notLeader')
  })

  it('may change its target', () => {
    const node = new CoreHarness().lead().accept('b', 2).accept('c', 2)
    node.core.transferLeadership('b')
    node.core.transferLeadership('c')
    expect(node.core.transferTarget).toBe('c')
  })

  it('is an election without a pre-vote for the target, which says who asked for it', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1)).step('b', { type: 'timeoutNow', term: 2 })
    expect(node.core).toMatchObject({ role: 'candidate', term: 3 })
    expect(node.take('requestVote').map(({ message }) => message.transfer)).toEqual([true, true])
  })

  it('comes too late for who has gone on, and to nothing for a learner', () => {
    const node = new CoreHarness().step('b', append(3, 1, 1)).step('c', { type: 'timeoutNow', term: 2 })
    expect(node.core).toMatchObject({ role: 'follower', term: 3, leader: 'b' })
    const learner = new CoreHarness({ id: 'x', learners: ['x'] }).step('b', { type: 'timeoutNow', term: 2 })
    expect(learner.core.role).toBe('follower')
  })

  it('finds the most advanced of the other voters', () => {
    const node = new CoreHarness({ learners: ['x'] }).lead().accept('x', 2).accept('c', 2)
    expect(node.core.mostAdvancedVoter).toBe('c')
    expect(new CoreHarness().core.mostAdvancedVoter).toBeUndefined()
  })

  it('prefers one that answers, even if another has more', () => {
    const node = new CoreHarness().lead().accept('b', 3).accept('c', 2)
    const answer = (): CoreHarness => node.step('c', { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
    node.core.propose([new Uint8Array(1)])
    node.drain().accept('b', 3)
    node.tick(10)
    answer().tick(5)
    // Silent for less than an election timeout.
    expect(node.core.mostAdvancedVoter).toBe('b')
    answer().tick(5)
    expect(node.core.mostAdvancedVoter).toBe('c')
    answer().tick(9)
    expect(node.core.mostAdvancedVoter).toBe('c')
  })
})

describe("a leader's disk that hangs", () => {
  const answered = (node: CoreHarness): void => {
    for (const from of ['b', 'c']) node.core.step(from, { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
  }
  /** `timeouts` election timeouts, in which nothing is flushed and all others answer. */
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

  it('for four election timeouts ends its time in office: the most advanced of the others is asked to stand', () => {
    const node = proposed()
    node.accept('b', 3, false).accept('c', 4, false)
    wait(node, 4)
    expect(node.core).toMatchObject({ role: 'leader', commitIndex: 3, appliedIndex: 2 })
    expect(node.take('timeoutNow')).toEqual([])
    wait(node, 1)
    expect(node.core).toMatchObject({ role: 'follower', term: 2, leader: undefined })
    expect(node.take('timeoutNow').map(({ to }) => to)).toEqual(['c'])
  })

  it('is forgiven as soon as it writes, however little', () => {
    const node = proposed()
    for (let i = 0; i < 10; i++) {
      wait(node, 3).flush(node.writes.findIndex(({ write }) => write !== undefined) + 1)
      node.core.propose([new Uint8Array(1)])
      node.drain(false)
    }
    expect(node.core.role).toBe('leader')
  })

  it('does not depose a leader whom nobody could follow', () => {
    const node = proposed(['a'])
    expect(wait(node, 20).core.role).toBe('leader')
  })

  it('makes no leader of who could not make its vote durable', () => {
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
