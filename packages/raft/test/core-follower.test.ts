import { InvariantError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness } from './support/core-harness.js'

/** Figure 2: "AppendEntries RPC, Receiver implementation", and "Rules for Servers, Followers 1". */
describe('followers', () => {
  it('a follower refuses an append of an earlier term (AppendEntries 1)', () => {
    const node = new CoreHarness({ terms: [1, 3], term: 3 }).step('b', append(2, 1, 1, [2]))
    expect(node.terms).toEqual([1, 3])
    expect(node.take('appendReply')[0]!.message).toMatchObject({ term: 3, rejected: true, index: 1 })
  })

  it('a follower refuses an append whose previous entry it lacks, with a hint (§5.3; AppendEntries 2)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 4, 4], term: 6 })
    node.step('b', append(6, 9, 6)).step('b', append(6, 5, 3))
    expect(node.take('appendReply').map(({ message }) => message)).toMatchObject([
      { rejected: true, index: 9, hintIndex: 5, hintTerm: 4 },
      { rejected: true, index: 5, hintIndex: 3, hintTerm: 1 }
    ])
  })

  it('a follower hints at its commit index or later, because the logs match there for certain (§5.3)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2, 3, 3], commit: 3, term: 4 }).step('b', append(4, 5, 1))
    expect(node.take('appendReply')[0]!.message).toMatchObject({ rejected: true, hintIndex: 3, hintTerm: 2 })
  })

  it('a follower replaces a conflicting suffix (§5.3; AppendEntries 3)', () => {
    const node = new CoreHarness({ terms: [1, 1, 2, 2, 2] }).step('b', append(3, 2, 1, [3]))
    expect(node.terms).toEqual([1, 1, 3])
    expect(node.take('appendReply')[0]!.message).toMatchObject({ rejected: false, index: 3 })
  })

  it('a follower never truncates a matching suffix for an old or duplicate append (AppendEntries 3)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2, 2] }).step('b', append(2, 1, 1, [2]))
    expect(node.terms).toEqual([1, 2, 2, 2])
    expect(node.take('appendReply')[0]!.message).toMatchObject({ rejected: false, index: 2 })
  })

  it('a follower stops rather than truncate a committed entry (§5.4, State Machine Safety)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], commit: 3 })
    expect(() => node.step('b', append(3, 1, 1, [3, 3]))).toThrow(/truncation at 2/)
  })

  it('a follower appends the entries that it lacks, and only those (AppendEntries 4)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2] }).step('b', append(2, 1, 1, [2, 2, 2, 2]), false)
    expect(node.writes[0]!.write!.entries.map(({ index }) => index)).toEqual([4, 5])
  })

  it('a follower commits up to the last new entry at most (AppendEntries 5)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1] }).step('b', append(2, 1, 1, [1], 4))
    expect(node.core.commitIndex).toBe(2)
  })

  it('a follower never lowers its commit index for an old append (AppendEntries 5)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2], commit: 3 }).step('b', append(2, 1, 1, [2], 2))
    expect(node.core.commitIndex).toBe(3)
    // Committed entries match, so the answer acknowledges all of them.
    expect(node.take('appendReply')[0]!.message).toEqual(accepted(2, 3))
  })

  it('a follower takes a previous entry that is committed and compacted as a match (§7)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2, 2, 2, 2], commit: 6, compacted: 4 })
    node.step('b', append(2, 2, 2, [2, 2, 2, 2, 2]))
    expect(node.stored.map(({ index }) => index)).toEqual([5, 6, 7])
    expect(node.take('appendReply')[0]!.message).toEqual(accepted(2, 7))
  })

  it('a follower acknowledges only durable entries (Figure 2, State)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2, 2]), false)
    expect(node.sent).toEqual([])
    expect(node.flush().take('appendReply')[0]!.message).toMatchObject({ rejected: false, index: 3 })
  })

  it('a follower answers all appends of one turn with one acknowledgment', () => {
    const node = new CoreHarness()
    node.core.step('b', append(2, 1, 1, [2]))
    node.core.step('b', append(2, 2, 2, [2]))
    expect(
      node
        .drain()
        .take('appendReply')
        .map(({ message }) => message)
    ).toEqual([accepted(2, 3)])
  })

  it('a follower ignores an append with gaps or falling terms', () => {
    const node = new CoreHarness({ terms: [1, 2], term: 5 })
    node.step('b', append(5, 2, 2, [4, 3])).step('b', { ...append(5, 2, 2, [5]), prevIndex: 1, prevTerm: 1 } as never)
    expect(node.core.lastIndex).toBe(2)
  })

  it('a follower only answers candidates and leaders, and sends nothing by itself (Figure 2, Followers 1)', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2], 2))
    node.sent.length = 0
    expect(node.tick(9).sent).toEqual([])
  })

  it('a follower takes the commit index of a heartbeat, but never beyond the end of its log', () => {
    const node = new CoreHarness({ terms: [1, 1, 1] })
    node.step('b', { type: 'heartbeat', term: 2, commit: 2, round: 0 })
    expect(node.core.commitIndex).toBe(2)
    node.step('b', { type: 'heartbeat', term: 2, commit: 9, round: 0 })
    expect(node.core.commitIndex).toBe(2)
  })
})

describe('storage acknowledgments', () => {
  it('an acknowledgment of a truncated entry does not count, even if the same entry is back in the log (ABA across terms)', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'] })
    node.step('b', append(2, 1, 1, [2, 2]), false)
    node.step('c', append(3, 1, 1, [3]), false)
    node.step('d', append(4, 1, 1, [2, 2], 3), false)
    expect(node.writes).toHaveLength(3)
    // Entries 2 and 3 of term 2 are on the disk now, but the second write will remove them again.
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

  it('a core stops when storage acknowledges writes out of order', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2]), false).step('b', append(2, 2, 2, [2]), false)
    expect(() => node.core.persisted(node.writes[1]!.write!.ack)).toThrow(InvariantError)
  })

  it('an acknowledgment covers what the write contained when it was handed out, and nothing that came later', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1, [2]), false).step('b', append(2, 2, 2, [2], 3), false)
    node.flush(1).drain(false)
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2])
    node.flush().drain()
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2, 3])
  })
})
