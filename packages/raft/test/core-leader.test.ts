import { fromString } from 'uint8arrays/from-string'
import { describe, expect, it } from 'vitest'
import { accepted, append, CoreHarness, rejected, voteFor } from './support/core-harness.js'

/** Figure 2: "Rules for Servers, Leaders". */
describe('leaders', () => {
  it('a leader sends every follower its first entry at once, and heartbeats from then on (Figure 2, Leaders 1)', () => {
    const node = new CoreHarness().lead()
    expect(node.take('append').map(({ to, message }) => [to, message.entries.map(({ kind }) => kind)])).toEqual([
      ['b', ['noop']],
      ['c', ['noop']]
    ])
    expect(node.tick(1).take('heartbeat')).toEqual([])
    expect(
      node
        .tick(1)
        .take('heartbeat')
        .map(({ to }) => to)
    ).toEqual(['b', 'c'])
    expect(node.tick(2).take('heartbeat')).toHaveLength(2)
  })

  it('a leader appends proposals to its own log first (Figure 2, Leaders 2)', () => {
    const node = new CoreHarness().lead()
    expect(node.core.propose([fromString('x'), fromString('y')])).toEqual({ index: 3, term: 2 })
    expect(node.core.lastIndex).toBe(4)
    expect(node.drain().terms).toEqual([1, 2, 2, 2])
  })

  it('a leader commits what a majority has stored, and tells the followers (§5.3; Figure 2, Leaders 5)', () => {
    const node = new CoreHarness().lead()
    node.accept('b', 2)
    expect(node.core.commitIndex).toBe(2)
    node.take('append')
    node.core.propose([fromString('x')])
    node.drain()
    expect(node.take('append')[0]!.message).toMatchObject({ commit: 2, prevIndex: 2, entries: [{ index: 3, term: 2 }] })
  })

  it('a leader steps back with a follower that refuses, and sends the entries that it lacks (§5.3; Figure 2, Leaders 4)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1] }).lead()
    node.take('append')
    node.step('b', rejected(2, 3, 1, 1))
    expect(node.take('append')).toMatchObject([{ to: 'b', message: { prevIndex: 1, entries: [{}, {}, {}] } }])
  })

  it('a leader does not commit an entry of an earlier term by counting replicas (§5.4.2, Figure 8; Figure 2, Leaders 5)', () => {
    const node = new CoreHarness({ terms: [1, 2], term: 2 }).lead()
    node.accept('b', 2).accept('c', 2)
    expect(node.core.commitIndex).toBe(1)
    node.accept('b', 3)
    expect(node.core.commitIndex).toBe(3)
  })

  it('a leader only appends to its log (§5.3, Leader Append-Only)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.propose([fromString('x')])
    node.drain()
    const before = [...node.stored]
    expect(() => node.step('b', append(2, 1, 1, [2]))).toThrow(/two leaders/)
    expect(node.stored).toEqual(before)
  })

  it('a leader sends appends beside its own flush, and counts itself only after that flush (thesis §10.2.1)', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c', 'd', 'e'] }).stand()
    for (const from of ['b', 'c']) node.core.step(from, voteFor(2))
    node.drain(false)
    expect(node.take('append').map(({ to, late }) => [to, late])).toEqual(['b', 'c', 'd', 'e'].map((id) => [id, false]))
    for (const from of ['b', 'c']) {
      node.step(from, accepted(2, 2), false)
    }
    expect(node.core.commitIndex).toBe(1)
    expect(node.flush().core.commitIndex).toBe(2)
  })

  it('a leader may commit an entry before its own disk has it, but applies it only afterwards (thesis §10.2.1)', () => {
    const node = new CoreHarness().stand()
    node.core.step('b', voteFor(2))
    node.drain(false)
    for (const from of ['b', 'c']) {
      node.step(from, accepted(2, 2), false)
    }
    expect(node.core.commitIndex).toBe(2)
    expect(node.applied.map(({ index }) => index)).toEqual([1])
    node.flush().drain()
    expect(node.applied.map(({ index }) => index)).toEqual([1, 2])
  })

  it('a leader does not count a learner (thesis §4.2.1)', () => {
    const node = new CoreHarness({ voters: ['a', 'b', 'c'], learners: ['x'] }).lead().accept('x', 2)
    expect(node.core.commitIndex).toBe(1)
  })

  // In these logs the first entry, of term 1, is the configuration.
  it.each([
    ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['b', [1, 1, 1, 4]],
    ['c', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['e', [1, 1, 1, 4, 4, 4, 4]],
    ['f', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]]
  ])('a leader makes follower (%s) of Figure 7 agree, skipping whole terms (§5.3)', (_, terms) => {
    const node = new CoreHarness({ terms: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], term: 7 }).lead()
    const follower = new CoreHarness({ id: 'c', terms, term: 7 })
    let rounds = 0
    while (follower.terms.join() !== node.terms.join()) {
      for (const { to, message } of node.sent.splice(0)) if (to === 'c') follower.step('a', message)
      for (const { message } of follower.sent.splice(0)) node.step('c', message)
      expect(++rounds).toBeLessThanOrEqual(4)
    }
    expect(follower.stored).toEqual(node.stored)
  })

  it('a leader names no commit index in a heartbeat beyond the entries that match', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.take('append')
    node.tick(2)
    expect(node.take('heartbeat').map(({ to, message }) => [to, message.commit])).toEqual([
      ['b', 2],
      ['c', 0]
    ])
  })

  it('a leader ignores an acknowledgment of entries that it does not have', () => {
    const node = new CoreHarness().lead().accept('b', 9)
    expect(node.core.commitIndex).toBe(1)
  })

  it('a leader is ready, and named as the leader, once its first entry is applied (§8)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1], commit: 1 }).lead()
    expect(node.core).toMatchObject({ leader: 'a', leaderReady: false, commitIndex: 1 })
    // Once that entry is committed, all entries before it are known to be committed (Leader Completeness).
    node.accept('b', 4)
    expect(node.core).toMatchObject({ leaderReady: true, commitIndex: 4, appliedIndex: 4 })
  })
})

describe('replication', () => {
  it('a leader pipelines appends up to the limit, and goes on when they are acknowledged', () => {
    const node = new CoreHarness({ limits: { maxAppendBytes: 1 } }).lead().accept('b', 2)
    node.take('append')
    for (let i = 0; i < 10; i++) node.core.propose([fromString('x')])
    node.drain()
    const indexes = () =>
      node.take('append').flatMap(({ to, message }) => (to === 'b' ? message.entries.map((e) => e.index) : []))
    expect(indexes()).toEqual([3, 4, 5, 6])
    node.accept('b', 4)
    expect(indexes()).toEqual([7, 8])
  })

  it('a leader pauses when the unacknowledged bytes reach their limit', () => {
    const node = new CoreHarness({ limits: { maxInflightBytes: 100, maxAppendBytes: 1 } }).lead().accept('b', 2)
    node.take('append')
    node.core.propose([new Uint8Array(40), new Uint8Array(40), new Uint8Array(40)])
    const sent = (): number =>
      node
        .drain()
        .take('append')
        .filter(({ to }) => to === 'b').length
    expect(sent()).toBe(2)
    node.core.step('b', accepted(2, 3))
    expect(sent()).toBe(1)
  })

  it('a leader finds lost appends by an empty append', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.propose([fromString('x')])
    node.drain().take('append')
    node.hearOf('b')
    expect(node.take('append').map(({ message }) => [message.prevIndex, message.entries.length])).toEqual([[3, 0]])
    node.step('b', rejected(2, 3, 2, 2))
    expect(node.take('append').map(({ message }) => message.entries.map(({ index }) => index))).toEqual([[3]])
  })

  it('a leader repeats no append because of read rounds, however many there are (thesis §6.4)', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.propose([fromString('x')])
    node.drain().take('append')
    for (let round = 1; round <= 10; round++) {
      node.core.readIndex(round)
      node.drain().step('b', { type: 'heartbeatReply', term: 2, round, room: 'enough' })
    }
    expect(node.take('append')).toEqual([])
    expect(node.hearOf('b').take('append')).not.toEqual([])
  })

  it('a leader sends heartbeats by the clock, however many read rounds there are', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.take('append')
    const rounds = Array.from({ length: 4 }, (_, i) => {
      node.core.readIndex(i)
      return node
        .tick(1)
        .take('heartbeat')
        .filter(({ to }) => to === 'b').length
    })
    expect(rounds).toEqual([1, 2, 1, 2])
  })

  it('a leader gives a follower the snapshot if the entries that it lacks are compacted while all its appends are lost', () => {
    const node = new CoreHarness({ limits: { maxInflightMessages: 1 } }).lead().accept('b', 2)
    node.core.propose([fromString('x')])
    node.drain()
    node.core.propose([fromString('y'), fromString('z')])
    node.drain().accept('c', 5)
    node.storage.compact(5)
    node.core.snapshotTaken(node.core.snapshotMeta(5))
    expect(node.hearOf('b').wanted).toMatchObject([{ to: 'b', offset: 0, snapshot: { index: 5 } }])
  })

  it('a leader probes a follower that refuses what it has acknowledged with heartbeats only, because its log is lost', () => {
    const node = new CoreHarness().lead().accept('b', 2)
    node.core.propose([fromString('x')])
    node
      .drain()
      .step('b', rejected(2, 3, 0, 0))
      .take('append')
    node.step('b', rejected(2, 2, 0, 0))
    expect(node.take('append')).toEqual([])
    node.tick(2).step('b', { type: 'heartbeatReply', term: 2, round: 0, room: 'enough' })
    expect(node.take('append')).toMatchObject([{ message: { prevIndex: 2 } }])
  })

  it('a leader fills a message with entries up to its bytes, and sends a larger entry alone', () => {
    const node = new CoreHarness({ limits: { maxAppendBytes: 100 } }).lead().accept('b', 2)
    node.take('append')
    node.core.propose([
      new Uint8Array(20),
      new Uint8Array(20),
      new Uint8Array(20),
      new Uint8Array(500),
      new Uint8Array(1)
    ])
    node.drain()
    const counts = node.take('append').flatMap(({ to, message }) => (to === 'b' ? [message.entries.length] : []))
    expect(counts).toEqual([2, 1, 1, 1])
  })
})

describe('proposals', () => {
  it('a leader refuses proposals while too many bytes are uncommitted, and accepts them again afterwards', () => {
    const node = new CoreHarness().lead()
    expect(node.core.propose([new Uint8Array(9000)])).toEqual({ index: 3, term: 2 })
    expect(node.core.propose([new Uint8Array(1000)])).toMatchObject({ refused: 'full' })
    node.drain().accept('b', 3)
    expect(node.core.propose([new Uint8Array(1000)])).toEqual({ index: 4, term: 2 })
  })

  it('a leader accepts proposals one at a time, of any size, when none is pending', () => {
    expect(new CoreHarness().lead().core.propose([new Uint8Array(50_000)])).toEqual({ index: 3, term: 2 })
  })

  it('the overhead of a proposal counts as well, so that empty proposals are limited, too', () => {
    const node = new CoreHarness({ limits: { maxUncommittedBytes: 100 } }).lead()
    const taken = Array.from({ length: 10 }, () => 'index' in node.core.propose([new Uint8Array(0)]))
    expect(taken.filter(Boolean)).toHaveLength(4)
  })

  it('proposals are accepted all together or not at all', () => {
    const node = new CoreHarness({ limits: { maxUncommittedBytes: 100 } }).lead()
    node.core.propose([new Uint8Array(20)])
    expect(node.core.propose([new Uint8Array(20), new Uint8Array(20)])).toMatchObject({ refused: 'full' })
    expect(node.core.lastIndex).toBe(3)
  })

  it('a node that does not lead refuses proposals, with the name of the leader that it knows', () => {
    const node = new CoreHarness().step('b', append(2, 1, 1))
    expect(node.core.propose([fromString('x')])).toEqual({ refused: 'notLeader', leader: 'b' })
  })
})
