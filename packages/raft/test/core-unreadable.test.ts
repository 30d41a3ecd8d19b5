/** A log that cannot be read now, for example for lack of a file descriptor: docs/raft.md, "The log on disk". */
import { fromString } from 'uint8arrays/from-string'
import { describe, expect, it } from 'vitest'
import { CoreHarness, rejected } from './support/core-harness.js'

const HEARTBEAT_TICKS = 2

/** A leader whose follower `b` needs entry 2, while `c` has every entry. */
function leaderWithLaggard(): CoreHarness {
  const node = new CoreHarness({ terms: [1, 1, 1, 1] }).lead()
  node.accept('c', 5)
  node.storage.unreadableUpTo = 4
  node.take('append')
  return node
}

describe('leaders that cannot read old entries', () => {
  it('a leader that cannot read old entries delays only the follower that needs them', () => {
    const node = leaderWithLaggard().step('b', rejected(2, 4, 1, 1))
    expect(node.take('append')).toEqual([])
    node.core.propose([fromString('x')])
    node.drain()
    expect(node.take('append').map(({ to, message }) => [to, message.prevIndex])).toEqual([['c', 5]])
    node.accept('c', 6)
    expect([node.core.role, node.core.commitIndex]).toEqual(['leader', 6])
  })

  it('a leader that cannot read old entries reads the log again with the next heartbeat, and not before', () => {
    const node = leaderWithLaggard().step('b', rejected(2, 4, 1, 1))
    const { reads } = node.storage
    node.drain().drain()
    node.core.propose([fromString('x')])
    node.drain()
    expect(node.storage.reads.filter(({ lo }) => lo === 2)).toHaveLength(reads.filter(({ lo }) => lo === 2).length)
    node.storage.unreadableUpTo = 0
    node.take('append')
    node.tick(HEARTBEAT_TICKS)
    const [first] = node.take('append')
    expect(first).toMatchObject({ to: 'b', message: { prevIndex: 1 } })
    expect(first!.message.entries[0]!.index).toBe(2)
  })

  it('a leader that cannot read old entries still sends heartbeats to the follower, which therefore starts no election', () => {
    const node = leaderWithLaggard()
      .step('b', rejected(2, 4, 1, 1))
      .tick(HEARTBEAT_TICKS)
    expect(node.take('heartbeat').map(({ to }) => to)).toEqual(['b', 'c'])
  })

  it('a leader that could not read old entries goes on at the same place of its pipeline', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1], limits: { maxAppendBytes: 1 } }).lead()
    node.step('b', rejected(2, 4, 1, 1)).take('append')
    node.storage.unreadableUpTo = 3
    node.accept('b', 2)
    expect(node.take('append')).toEqual([])
    node.storage.unreadableUpTo = 0
    node.tick(HEARTBEAT_TICKS)
    const sent = node.take('append').filter(({ to }) => to === 'b')
    expect(sent.map(({ message }) => message.entries.map(({ index }) => index))).toEqual([[3], [4], [5]])
  })
})

describe('nodes that cannot read the entries that they must apply', () => {
  it('a node that cannot read the entries that it must apply reads the log again at the next tick, and applies each once and in order', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1], commit: 4 })
    node.storage.unreadableUpTo = 4
    node.drain().drain()
    expect([node.applied, node.storage.reads.length]).toEqual([[], 1])
    node.tick()
    expect([node.applied, node.storage.reads.length]).toEqual([[], 2])
    node.storage.unreadableUpTo = 0
    node.tick()
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2, 3, 4])
  })
})
