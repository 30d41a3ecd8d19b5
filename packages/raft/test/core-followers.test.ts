/** What a leader says of the other nodes, by which an application decides changes of the membership. */
import { describe, expect, it } from 'vitest'
import { CoreHarness, rejected } from './support/core-harness.js'

const heartbeatReply = { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' } as const

/** Ticks in an election timeout of the harness. */
const ELECTION = 10

/** A leader of a, b and c with the learner d. Its first entry, 2, is committed. */
function leader(): CoreHarness {
  return new CoreHarness({ learners: ['d'] }).lead().accept('b', 2).accept('c', 2)
}

/** Lets an election timeout pass, in which these nodes answer heartbeats. */
function pass(node: CoreHarness, ...answering: readonly string[]): CoreHarness {
  node.tick(ELECTION - 1)
  for (const id of answering) node.step(id, heartbeatReply)
  return node.tick()
}

/** The leader proposes an entry, which b and c store. */
function commitOne(node: CoreHarness): number {
  const proposed = node.core.propose([Uint8Array.of(1)])
  if ('refused' in proposed) throw new Error(proposed.refused)
  node.drain().accept('b', proposed.index).accept('c', proposed.index)
  expect(node.core.commitIndex).toBe(proposed.index)
  return proposed.index
}

const of = (node: CoreHarness, id: string) => node.core.followers.get(id)

describe('the followers that a leader tells of', () => {
  it('a leader tells of all other nodes, and a follower of none', () => {
    const node = leader()
    expect([...node.core.followers.keys()]).toEqual(['b', 'c', 'd'])
    expect([...node.core.followers.values()].map(({ matchIndex }) => matchIndex)).toEqual([2, 2, 0])
    node.step('b', { type: 'append', term: 3, prevIndex: 2, prevTerm: 2, commit: 2, entries: [] })
    expect(node.core.followers.size).toBe(0)
  })

  it('a node answers a new leader only once it has answered that leader', () => {
    const node = new CoreHarness().lead()
    expect([of(node, 'b')!.answers, of(node, 'c')!.answers]).toEqual([false, false])
    node.step('b', heartbeatReply)
    expect([of(node, 'b')!.answers, of(node, 'c')!.answers]).toEqual([true, false])
    node.step('c', rejected(2, 1, 0, 0))
    expect(of(node, 'c')!.answers).toBe(true)
  })

  it('a node that joins answers only once it has answered the leader', () => {
    const node = leader()
    node.core.changeMembership([{ type: 'learner', id: 'e' }])
    node.drain()
    expect(of(node, 'e')).toEqual({ matchIndex: 0, answers: false, hasCaughtUp: false })
    expect(of(node.step('e', rejected(2, 2, 0, 0)), 'e')!.answers).toBe(true)
  })

  it('a node answers no longer if it was silent for one to two election timeouts', () => {
    const node = leader()
    pass(node, 'b', 'c')
    expect(of(node, 'c')!.answers).toBe(true)
    pass(node, 'b')
    expect(of(node, 'c')!.answers).toBe(false)
    expect(of(node.step('c', heartbeatReply), 'c')!.answers).toBe(true)
  })
})

describe('a node that has caught up (thesis §4.2.1)', () => {
  it('a node has not caught up in the first election timeouts of a term, even with the whole log', () => {
    const node = leader()
    for (let timeouts = 0; timeouts < 2; timeouts++) {
      expect(of(node, 'b')).toMatchObject({ matchIndex: node.core.lastIndex, hasCaughtUp: false })
      pass(node, 'b', 'c')
    }
    expect(of(node, 'b')!.hasCaughtUp).toBe(true)
  })

  it('a node has caught up with what was committed an election timeout ago, even if it lacks newer entries', () => {
    const node = pass(leader(), 'b', 'c')
    const last = commitOne(node)
    pass(node, 'b', 'c')
    // At the check before, entry 2 was committed.
    expect(of(node.accept('d', 2), 'd')!.hasCaughtUp).toBe(true)
    pass(node, 'b', 'c')
    expect(of(node, 'd')).toEqual({ matchIndex: 2, answers: true, hasCaughtUp: false })
    expect(of(node.accept('d', last), 'd')!.hasCaughtUp).toBe(true)
  })

  it('a node that falls behind has caught up no longer', () => {
    const node = pass(pass(leader(), 'b', 'c'), 'b', 'c').accept('d', 2)
    expect(of(node, 'd')!.hasCaughtUp).toBe(true)
    commitOne(node)
    // The entry counts from the second check on.
    expect(of(pass(node, 'b', 'c'), 'd')!.hasCaughtUp).toBe(true)
    expect(of(pass(node, 'b', 'c'), 'd')!.hasCaughtUp).toBe(false)
  })

  it('a node that had caught up has to do so again under the next leader', () => {
    const node = pass(pass(leader(), 'b', 'c'), 'b', 'c')
    expect(of(node, 'b')!.hasCaughtUp).toBe(true)
    node.step('b', { type: 'append', term: 3, prevIndex: 2, prevTerm: 2, commit: 2, entries: [] })
    node.lead()
    const { lastIndex } = node.core
    node.accept('b', lastIndex).accept('c', lastIndex)
    expect(of(node, 'b')).toEqual({ matchIndex: lastIndex, answers: true, hasCaughtUp: false })
  })
})
