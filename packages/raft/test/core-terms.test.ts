import { InvariantError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness, voteFor } from './support/core-harness.js'

const vote = (term: number) => ({ type: 'requestVote', term, lastIndex: 1, lastTerm: 1, transfer: false }) as const

/** Figure 2: "State", "Rules for Servers, All Servers". */
describe('terms', () => {
  it.each(['leader', 'candidate', 'follower'])(
    'a %s that sees a higher term becomes a follower in it (§5.1; Figure 2, All Servers 2)',
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

  it('a node answers a request of an earlier term with its own term, and accepts nothing from it (§5.1)', () => {
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

  it('a node accepts nothing from a reply of an earlier term (§5.1)', () => {
    const node = new CoreHarness({ term: 4 }).lead()
    node
      .step('b', accepted(4, 2))
      .step('c', { type: 'heartbeatReply', term: 4, round: 9, room: 'enough' })
      .step('c', { type: 'snapshotReply', term: 4, index: 1, offset: 5, refused: true })
    expect(node.core).toMatchObject({ role: 'leader', term: 5, commitIndex: 1 })
    const candidate = new CoreHarness({ term: 4 }).stand().step('b', voteFor(4))
    expect(candidate.core.role).toBe('candidate')
  })

  it('a leader that gets a reply of a higher term becomes a follower (§5.1)', () => {
    const node = new CoreHarness().lead().step('b', accepted(7, 2))
    expect(node.core).toMatchObject({ role: 'follower', term: 7, leader: undefined, commitIndex: 1 })
  })

  it('a node stops when a second leader appears in a term (§5.2, Election Safety)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1))
    expect(() => node.step('c', append(2, 1, 1))).toThrow(InvariantError)
    expect(() => new CoreHarness().lead().step('c', append(2, 1, 1))).toThrow(InvariantError)
  })
})

describe('the state of a node', () => {
  it('a node starts again as a follower, with its log, term and vote (Figure 2, State)', () => {
    const node = new CoreHarness({ terms: [1, 1, 3], term: 5, vote: 'b', commit: 2 })
    expect(node.core).toMatchObject({ role: 'follower', term: 5, leader: undefined, lastIndex: 3, commitIndex: 2 })
    expect(node.drain().sent).toEqual([])
    node.step('c', vote(5))
    expect(node.take('voteReply')[0]!.message.granted).toBe(false)
  })

  it('after a restart, a log is committed as far as the state machine has applied, even if the hard state is older (Figure 2, State)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1], commit: 1, compacted: 3 })
    expect(node.core).toMatchObject({ commitIndex: 3, appliedIndex: 3, firstIndex: 4 })
  })

  it('a node refuses to start from a state that contradicts itself', () => {
    expect(() => new CoreHarness({ terms: [1], commit: 2 })).toThrow(/commit 2 is beyond the log's end 1/)
    expect(() => new CoreHarness({ terms: [1, 3], term: 2 })).toThrow(/last term 3 is above 2/)
  })

  it('a term becomes durable in one write with the entries, or before them (Figure 2, State)', () => {
    const node = new CoreHarness()
    node.core.step('b', append(7, 1, 1, [7]))
    expect(node.core.ready()!.write).toMatchObject({ hardState: { term: 7 }, entries: [{ index: 2 }] })
  })

  it("an entry is applied when it is committed and on this node's disk, in order and once (Figure 2, All Servers 1)", () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2, 2], 3), false)
    expect(node.applied.map(({ index }) => index)).toEqual([1])
    node.flush().drain()
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2, 3])
  })

  it('entries are applied a limited number of bytes at a time, but at least one entry (Figure 2, All Servers 1)', () => {
    const node = new CoreHarness({ limits: { maxApplyBytes: 60 } })
    node.core.step('b', append(2, 1, 1, [2, 2, 2], 4))
    const counts: number[] = []
    for (let ready = node.core.ready(); ready !== undefined; ready = node.core.ready()) {
      if (ready.write !== undefined) {
        node.storage.write(ready.write)
        node.core.persisted(ready.write.ack)
      }
      if (ready.committed.length === 0) continue
      counts.push(ready.committed.length)
      // The core hands out nothing more before these entries are applied.
      expect(node.core.ready()?.committed ?? []).toEqual([])
      node.core.applied(ready.committed.at(-1)!.index)
    }
    expect(counts).toEqual([1, 2, 1])
  })
})
