import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness, rejected, voteFor } from './support/core-harness.js'
import { configurationEntry } from './support/hand-storage.js'

const heartbeatReply = { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' } as const

/** A leader of a, b and c. Its first entry is committed, and its learners have it. */
function leader(learners: readonly string[] = []): CoreHarness {
  const node = new CoreHarness({ learners }).lead().accept('b', 2).accept('c', 2)
  for (const id of learners) node.accept(id, 2)
  node.sent.length = 0
  return node
}

describe('configurations', () => {
  it('a configuration counts as soon as it is in the log, committed or not (§6)', () => {
    const node = leader(['d'])
    expect(node.core.changeMembership([{ type: 'voter', id: 'd' }])).toEqual({ index: 3, term: 2 })
    expect(node.core.configuration.voters).toEqual(['a', 'b', 'c', 'd'])
    expect(node.core.commitIndex).toBe(2)
    // The new server gets entries at once, and a majority is one of four voters.
    expect(
      new Set(
        node
          .drain()
          .take('append')
          .map(({ to }) => to)
      )
    ).toEqual(new Set(['b', 'c', 'd']))
    expect(node.accept('b', 3).core.commitIndex).toBe(2)
    expect(node.accept('d', 3).core.commitIndex).toBe(3)
  })

  it('a configuration counts for a follower as soon as it is in the log, committed or not (§6)', () => {
    const node = new CoreHarness()
    const change = configurationEntry(2, 2, { voters: ['a', 'b'] })
    node.step('b', { type: 'append', term: 2, prevIndex: 1, prevTerm: 1, commit: 1, entries: [change] })
    expect(node.core).toMatchObject({ commitIndex: 1, configuration: { voters: ['a', 'b'] } })
  })

  it('a configuration that is truncated gives way to the one before (§6)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], changes: new Map([[3, { voters: ['a'] }]]) })
    expect(node.core.configuration.voters).toEqual(['a'])
    node.step('b', append(3, 2, 2, [3]))
    expect(node.core.configuration.voters).toEqual(['a', 'b', 'c'])
  })

  it('the configuration in force after a restart is the newest in the log, committed or not (§6)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], changes: new Map([[2, { voters: ['a', 'b'] }]]) })
    expect(node.core).toMatchObject({ commitIndex: 1, configuration: { voters: ['a', 'b'] } })
  })

  it("a configuration keeps the application's part until a change replaces that part", () => {
    const node = leader()
    node.core.changeMembership([{ type: 'learner', id: 'd' }], Uint8Array.of(7))
    node.drain().accept('b', 3)
    node.core.changeMembership([{ type: 'removed', id: 'd' }])
    node.drain().accept('b', 4)
    const context = (index: number): Uint8Array => node.stored[index - 1]!.data.slice(-1)
    expect([context(3), context(4)]).toEqual([Uint8Array.of(7), Uint8Array.of(7)])
  })
})

describe('changes of the configuration', () => {
  it("a change of the configuration is refused before an entry of the leader's term is committed (thesis §4.1; the bug of 2015)", () => {
    const node = new CoreHarness().lead()
    expect(node.core.changeMembership([{ type: 'removed', id: 'c' }])).toEqual({ refused: 'pending', index: 2 })
    node.accept('b', 2)
    expect(node.core.changeMembership([{ type: 'removed', id: 'c' }])).toEqual({ index: 3, term: 2 })
  })

  it('a change of the configuration is refused while another one is uncommitted (thesis §4.1)', () => {
    const node = leader()
    node.core.changeMembership([{ type: 'learner', id: 'd' }])
    expect(node.core.changeMembership([{ type: 'removed', id: 'c' }])).toEqual({ refused: 'pending', index: 3 })
  })

  it('a change of the configuration is refused while a joint configuration is in force, even in the turn in which that is committed (§6)', () => {
    const node = leader(['x', 'y'])
    node.core.changeMembership([
      { type: 'voter', id: 'x' },
      { type: 'voter', id: 'y' }
    ])
    node.drain()
    for (const from of ['b', 'c', 'x']) node.core.step(from, accepted(2, 3))
    expect(node.core.commitIndex).toBe(3)
    expect(node.core.changeMembership([{ type: 'removed', id: 'c' }])).toEqual({ refused: 'pending', index: 3 })
    node.drain()
    expect(node.core.changeMembership([{ type: 'removed', id: 'c' }])).toEqual({ refused: 'pending', index: 4 })
  })

  it('a change of the configuration is refused if it makes a voter of a node with an empty log (thesis §4.2.1)', () => {
    const node = new CoreHarness({ learners: ['d'] }).lead().accept('b', 2)
    const promote = () => node.core.changeMembership([{ type: 'voter', id: 'd' }])
    expect(node.core.changeMembership([{ type: 'voter', id: 'x' }])).toMatchObject({ refused: 'invalid' })
    expect(promote()).toMatchObject({ refused: 'invalid', reason: expect.stringContaining('learner first') as string })
    node.accept('d', 2)
    expect(promote()).toEqual({ index: 3, term: 2 })
  })

  it('a change of the configuration is refused by a node that does not lead, and if it is invalid', () => {
    expect(new CoreHarness().core.changeMembership([])).toMatchObject({ refused: 'notLeader' })
    expect(leader().core.changeMembership([{ type: 'removed', id: 'z' }])).toMatchObject({ refused: 'invalid' })
  })

  it('a change of several voters takes two entries: one that enters a joint configuration, and one that leaves it (§6)', () => {
    const node = leader(['d', 'e'])
    node.core.changeMembership([
      { type: 'voter', id: 'd' },
      { type: 'removed', id: 'b' }
    ])
    expect(node.drain().core.configuration).toMatchObject({ voters: ['a', 'c', 'd'], outgoing: ['a', 'b', 'c'] })
    // Both majorities count: c is in both, and together with a it forms no majority of the incoming voters.
    expect(node.accept('b', 3).core.commitIndex).toBe(2)
    expect(node.accept('d', 3).core.commitIndex).toBe(3)
    expect(node.core.configuration).toMatchObject({ voters: ['a', 'c', 'd'], outgoing: [], learners: ['e'] })
    expect(node.core.lastIndex).toBe(4)
  })

  it('a change that one leader began is completed by the next (§6)', () => {
    const joint = { voters: ['a', 'b', 'd'], outgoing: ['a', 'b', 'c'] }
    const node = new CoreHarness({ terms: [1, 1], changes: new Map([[2, joint]]) }).stand()
    for (const from of ['b', 'c']) node.step(from, voteFor(2))
    expect(node.core).toMatchObject({ role: 'leader', lastIndex: 3 })
    for (const from of ['b', 'd']) node.accept(from, 3)
    expect(node.core).toMatchObject({
      commitIndex: 3,
      lastIndex: 4,
      configuration: { voters: ['a', 'b', 'd'], outgoing: [] }
    })
  })

  it('a joint configuration needs both majorities for commit and election (§6)', () => {
    const joint = { voters: ['a', 'd', 'e'], outgoing: ['a', 'b', 'c'] }
    const node = new CoreHarness({ terms: [1, 1], changes: new Map([[2, joint]]) }).stand()
    node.step('b', voteFor(2)).step('c', voteFor(2))
    expect(node.core.role).toBe('candidate')
    expect(node.step('d', voteFor(2)).core.role).toBe('leader')
    for (const from of ['d', 'e']) node.accept(from, 3)
    expect(node.core.commitIndex).toBe(1)
    expect(node.accept('c', 3).core.commitIndex).toBe(3)
  })

  it('an outgoing voter becomes a learner only when the joint configuration is left (§6)', () => {
    const node = leader(['d'])
    node.core.changeMembership([
      { type: 'learner', id: 'c' },
      { type: 'voter', id: 'd' }
    ])
    expect(node.drain().core.configuration).toMatchObject({ outgoing: ['a', 'b', 'c'], learners: [] })
    for (const from of ['b', 'd']) node.accept(from, 3)
    expect(node.core.configuration).toMatchObject({ voters: ['a', 'b', 'd'], learners: ['c'], outgoing: [] })
  })
})

describe('leaders outside the new configuration', () => {
  it('a leader that is not in the new configuration replicates it without counting itself, and steps down when it is committed (§6)', () => {
    const node = leader()
    node.core.changeMembership([{ type: 'removed', id: 'a' }])
    node.drain().accept('b', 3)
    expect(node.core).toMatchObject({ role: 'leader', commitIndex: 2 })
    node.sent.length = 0
    node.accept('c', 3)
    expect(node.core).toMatchObject({ role: 'follower', term: 2, commitIndex: 3 })
    // The others learn what is committed, and one of them stands at once.
    expect(node.sent.map(({ to, message }) => [to, message.type])).toEqual([
      ['b', 'heartbeat'],
      ['c', 'heartbeat'],
      ['b', 'timeoutNow']
    ])
    expect(node.tick(100).core.role).toBe('follower')
  })

  it('a leader that is not in the new configuration steps down if the others do not answer (thesis §6.2)', () => {
    const node = leader()
    node.core.changeMembership([{ type: 'removed', id: 'a' }])
    expect(node.drain().tick(20).core.role).not.toBe('leader')
  })

  it('a leader that is not in the new configuration stands in elections until that is committed (thesis §4.2.2)', () => {
    const removal = new Map([[2, { voters: ['b'] }]])
    const node = new CoreHarness({ voters: ['a', 'b'], terms: [1, 2], changes: removal }).stand()
    expect(node.core.role).toBe('candidate')
    // The candidate's own vote does not count.
    expect(node.step('b', voteFor(3)).core.role).toBe('leader')
    expect(node.accept('b', 3).core.role).toBe('follower')
    expect(node.tick(100).core.role).toBe('follower')
  })
})

describe('new servers', () => {
  it('a new server starts as a learner, which gets every entry and counts in no majority (§6, thesis §4.2.1)', () => {
    const node = leader()
    node.core.changeMembership([{ type: 'learner', id: 'd' }])
    node.drain()
    node.sent.length = 0
    node.step('d', rejected(2, 2, 0, 0))
    expect(node.take('append')).toMatchObject([{ to: 'd', message: { prevIndex: 0, entries: [{}, {}, {}] } }])
    node.accept('d', 3)
    expect(node.core.commitIndex).toBe(2)
    node.tick(10).step('d', heartbeatReply).tick(10)
    expect(node.core.role).toBe('follower')
  })

  it('a new server gets time to answer before the leader takes it for lost (§6)', () => {
    const node = leader()
    node.tick(9).step('b', heartbeatReply)
    node.core.changeMembership([
      { type: 'voter', id: 'd' },
      { type: 'voter', id: 'e' },
      { type: 'removed', id: 'b' },
      { type: 'removed', id: 'c' }
    ])
    expect(node.drain().tick(1).core.role).toBe('leader')
  })

  it('a server that is removed gets nothing more (§6)', () => {
    const node = leader()
    node.core.changeMembership([{ type: 'removed', id: 'c' }])
    expect(
      new Set(
        node
          .drain()
          .tick(2)
          .sent.map(({ to }) => to)
      )
    ).toEqual(new Set(['b']))
    // The leader ignores what they send.
    node.step('c', accepted(2, 3)).step('c', heartbeatReply)
    expect(node.core.commitIndex).toBe(2)
  })
})
