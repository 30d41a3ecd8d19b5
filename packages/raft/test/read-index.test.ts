import { describe, expect, it } from 'vitest'
import { append, CoreHarness, voteFor } from './support/core-harness.js'

describe('ReadIndex', () => {
  const reply = (round: number, term = 2) => ({ type: 'heartbeatReply', term, round, room: 'enough' }) as const

  it("ReadIndex waits for a commit in the leader's own term, and then for a majority (§8)", () => {
    const node = new CoreHarness().lead()
    expect(node.core.readIndex(7)).toBe(true)
    node.drain()
    expect(node.take('heartbeat')).toEqual([])
    node.accept('b', 2)
    expect(node.take('heartbeat').map(({ to, message }) => [to, message.round])).toEqual([
      ['b', 1],
      ['c', 1]
    ])
    expect(node.confirmed).toEqual([])
    node.step('c', reply(1))
    expect(node.confirmed).toEqual([{ context: 7, index: 2 }])
  })

  it('ReadIndex shares a round between the reads of one turn, and a later round confirms earlier ones', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    for (const context of [1, 2, 2]) node.core.readIndex(context)
    node.drain()
    node.core.readIndex(3)
    node.drain().step('b', reply(2))
    expect(node.confirmed.map(({ context }) => context)).toEqual([1, 2, 2, 3])
    node.step('b', reply(2))
    expect(node.confirmed).toHaveLength(4)
  })

  it('ReadIndex is not confirmed by replies to earlier heartbeats, nor by one node twice', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'] }).lead()
    node.accept('b', 2).accept('c', 2)
    node.core.readIndex(1)
    node.drain().step('b', reply(0)).step('c', reply(0)).step('b', reply(1)).step('b', reply(1)).step('x', reply(1))
    expect(node.confirmed).toEqual([])
    node.step('d', reply(1))
    expect(node.confirmed).toEqual([{ context: 1, index: 2 }])
  })

  it('ReadIndex is repeated with the next heartbeat if its round was lost', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.readIndex(1)
    node.drain().take('heartbeat')
    node.tick(2)
    expect(node.take('heartbeat').map(({ message }) => message.round)).toEqual([1, 1])
  })

  it('ReadIndex is forgotten by a deposed leader', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.readIndex(1)
    node
      .drain()
      .step('c', append(3, 1, 1))
      .step('b', reply(1))
    expect(node.confirmed).toEqual([])
    expect(node.core.readIndex(2)).toBe(false)
  })

  it('ReadIndex is answered at once by a leader that is alone', () => {
    const node = new CoreHarness({ voters: ['a'] }).tick(10)
    node.core.readIndex(1)
    node.drain()
    expect(node.confirmed).toEqual([{ context: 1, index: 2 }])
  })
})

describe('ReadIndex and the membership', () => {
  const reply = { type: 'heartbeatReply', term: 2, round: 1, room: 'enough' } as const

  it('ReadIndex needs both majorities of a joint configuration (§6, §8)', () => {
    const joint = { voters: ['a', 'd', 'e'], outgoing: ['a', 'b', 'c'] }
    const node = new CoreHarness({ terms: [1, 1], changes: new Map([[2, joint]]) }).stand()
    for (const from of ['b', 'd']) node.step(from, voteFor(2))
    // The joint configuration stays, because only the first entry is committed.
    node.accept('b', 3)
    node.core.readIndex(1)
    node.drain().accept('d', 3)
    expect(node.core.commitIndex).toBe(3)
    node.step('b', reply).step('c', reply)
    expect(node.confirmed).toEqual([])
    node.step('d', reply)
    expect(node.confirmed).toEqual([{ context: 1, index: 3 }])
  })

  it('ReadIndex is not confirmed by learners (thesis §4.2.1)', () => {
    const node = new CoreHarness({ learners: ['x', 'y'] }).lead().accept('b', 2)
    node.core.readIndex(1)
    node.drain().step('x', reply).step('y', reply)
    expect(node.confirmed).toEqual([])
  })

  it('ReadIndex is forgotten when a leader hears from no majority (thesis §6.2)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.readIndex(1)
    node.drain().tick(20).lead().accept('b', 3)
    node.step('b', { ...reply, term: 3, round: 9 })
    expect(node.core.role).toBe('leader')
    expect(node.confirmed).toEqual([])
  })
})
