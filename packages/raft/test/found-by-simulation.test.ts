/** Faults that `pnpm sim raft` found, each in its smallest form. */
import type { RaftMessage } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { createMemoryDisk, createSegmentedLog } from '../src/index.js'
import { CoreHarness, rejected, voteFor } from './support/core-harness.js'
import { configurationEntry, entry } from './support/hand-storage.js'

describe('cores', () => {
  it('a core stands for election although its log, and no other, holds its own removal (thesis §4.2.2; seed 17)', () => {
    const node = new CoreHarness({
      voters: ['a', 'b'],
      terms: [1, 2, 2],
      changes: new Map([[3, { voters: ['b'] }]]),
      commit: 2
    })
    node.stand()
    expect(node.core.role).toBe('candidate')
    node.step('b', voteFor(3))
    expect(node.core.role).toBe('leader')
    // The leader counts only the others, commits its removal, and steps down.
    node.accept('b', 4)
    expect(node.core).toMatchObject({ role: 'follower', commitIndex: 4 })
  })

  it('a core does not stand for election once its removal is committed', () => {
    const changes = new Map([[3, { voters: ['b'] }]])
    const node = new CoreHarness({ voters: ['a', 'b'], terms: [1, 2, 2], changes, commit: 3 })
    node.tick(20)
    expect(node.core.role).toBe('follower')
    expect(node.take('requestPreVote')).toEqual([])
  })

  it('a core sends a snapshot if all appends in flight are lost and their entries are compacted (seeds 42, 45)', () => {
    const node = new CoreHarness({ limits: { maxInflightMessages: 1 } }).lead().accept('b', 2).accept('c', 2)
    node.core.propose([new Uint8Array(1)])
    node.drain().accept('b', 3)
    node.core.propose([new Uint8Array(1)])
    // Entry 3 is in flight to c, and lost. Entry 4 may not leave before entry 3 is acknowledged.
    node.drain().accept('b', 4)
    node.core.snapshotTaken(node.core.snapshotMeta(4))
    node.storage.compact(4)
    node.hearOf('c').hearOf('c')
    expect(node.wanted).toMatchObject([{ to: 'c', offset: 0, snapshot: { index: 4 } }])
  })

  it('a core does not hold a learner that has joined again to acknowledgments of its former life (seed 2162)', () => {
    const node = new CoreHarness({ learners: ['d'] }).lead().accept('b', 2)
    node.core.changeMembership([{ type: 'removed', id: 'd' }])
    node.drain().accept('b', 3)
    node.core.changeMembership([{ type: 'learner', id: 'd' }])
    node.drain().accept('b', 4)
    // This acknowledgment was sent before the removal, and arrives now.
    node.accept('d', 2)
    node.take('append')
    node.step('d', rejected(2, 4, 0, 0)).step('d', rejected(2, 2, 0, 0))
    expect(node.take('append').map(({ to, message }) => [to, message.prevIndex])).toContainEqual(['d', 0])
  })

  it('a core drops an entry that a later leader has committed without it, and gets the entry back (seed 2026300285)', () => {
    const voters = ['a', 'b', 'c']
    const members = { voters, learners: ['d'] }
    // Only a and d have entry 2 of term 4. c elects b in term 5, and then a in term 6.
    const b = new CoreHarness({ ...members, id: 'b', terms: [1], term: 4 }).lead()
    const a = new CoreHarness({ ...members, id: 'a', terms: [1, 4], term: 5 }).lead()
    const d = new CoreHarness({ ...members, id: 'd', terms: [1, 4], term: 4 })
    const to = (node: CoreHarness, id: string): RaftMessage =>
      node.take('append').findLast((sent) => sent.to === id)!.message
    const answer = (node: CoreHarness): RaftMessage => node.take('appendReply').at(-1)!.message
    const early = to(b, 'd')
    const late = a.take('append')
    const lateTo = (id: string): RaftMessage => late.find((sent) => sent.to === id)!.message
    // b refuses, replaces its entry of term 5 by the one of term 4, and forms with a the majority that commits it.
    a.step('b', answer(b.step('a', lateTo('b'))))
    a.step('b', answer(b.step('a', to(a, 'b'))))
    expect(b.terms).toEqual([1, 4, 6])
    expect(a.core.commitIndex).toBe(3)
    // d wakes up, and follows the leaders in their order.
    expect(answer(d.step('b', early))).toMatchObject({ term: 5, rejected: false, index: 2 })
    expect(d.terms).toEqual([1, 5])
    a.step('d', answer(d.step('a', lateTo('d'))))
    expect(d.core).toMatchObject({ term: 6, commitIndex: 1 })
    expect(a.core.followers.get('d')?.matchIndex).toBe(0)
    a.step('d', answer(d.step('a', to(a, 'd'))))
    expect(d.terms).toEqual([1, 4, 6])
    expect(d.core.commitIndex).toBe(3)
    expect(a.core.followers.get('d')?.matchIndex).toBe(3)
    // The same append once more belongs to an earlier term, and removes nothing.
    expect(answer(d.step('b', early))).toMatchObject({ term: 6, rejected: true })
    expect(d.terms).toEqual([1, 4, 6])
  })
})

describe('nodes that join', () => {
  const joining = () => new CoreHarness({ voters: [], terms: [] })
  const config = (index: number, voters: string[], learners: string[] = []) =>
    configurationEntry(index, 1, { voters, learners })

  it('a node that joins stops if its id has been a voter, because the log of that voter is lost (seed 2026125339)', () => {
    const node = joining()
    const first = config(1, ['a', 'b', 'c'])
    const append: RaftMessage = { type: 'append', term: 5, prevIndex: 0, prevTerm: 0, commit: 9, entries: [first] }
    expect(() => node.step('b', append)).toThrow(/an id is never used again after its log is lost: a joins/)
  })

  it('a node that joins goes on if its id is new', () => {
    const node = joining()
    const entries = [config(1, ['b', 'c']), config(2, ['b', 'c'], ['a']), config(3, ['a', 'b', 'c'])]
    node.step('b', { type: 'append', term: 5, prevIndex: 0, prevTerm: 0, commit: 3, entries })
    expect(node.core.configuration.voters).toEqual(['a', 'b', 'c'])
  })
})

describe('logs without space', () => {
  it('a log without space looks for space again even if something else has failed in between (seed 1497)', async () => {
    const clock = new FakeClock()
    const disk = createMemoryDisk()
    const faults: (string | undefined)[] = []
    const bootstrap = { voters: ['a'], learners: [], context: new Uint8Array(0) }
    const log = await createSegmentedLog({
      disk,
      clock,
      segmentBytes: 2048,
      create: { bootstrap },
      onSpace: (fault) => faults.push(fault?.name)
    })
    disk.setCapacity(disk.usedBytes)
    await log.append({ entries: [entry(2, 1, 'x'.repeat(600))] })
    await clock.advance(100)
    expect(faults).toEqual(['NoSpaceError'])
    disk.fail('create', new Error('not now'))
    await clock.advance(1100)
    disk.setCapacity(Infinity)
    await clock.advance(1100)
    expect(faults).toEqual(['NoSpaceError', undefined])
    await log.close()
  })
})

describe('logs that start again', () => {
  const bootstrap = { voters: ['a'], learners: [], context: new Uint8Array(0) }

  it('a log that starts again makes durable what it reads of a write that failed (seed 1)', async () => {
    const disk = createMemoryDisk()
    const first = await createSegmentedLog({ disk, segmentBytes: 4096, create: { bootstrap } })
    disk.fail('write', new Error('the disk is broken'))
    await expect(first.append({ entries: [entry(2, 1, 'x')] })).rejects.toThrow('the disk is broken')
    // The process ends and its machine does not: the bytes of the write can be read, and are not durable.
    const second = await createSegmentedLog({ disk, segmentBytes: 4096 })
    expect(second.lastIndex).toBe(2)
    const third = await createSegmentedLog({ disk: disk.crash(() => 0), segmentBytes: 4096 })
    expect(third.lastIndex).toBe(2)
    await third.close()
  })

  it('a log that starts again makes durable the names that it reads, because the flush of the directory may have failed (seed 1)', async () => {
    const disk = createMemoryDisk()
    const first = await createSegmentedLog({ disk, segmentBytes: 4096, create: { bootstrap } })
    await first.append({ entries: [entry(2, 1, 'x')] })
    const [name] = await disk.list()
    await disk.rename(name!, 'moved')
    await disk.rename('moved', name!)
    await createSegmentedLog({ disk, segmentBytes: 4096 })
    // Of two changes that are not durable, this power loss keeps the first.
    const third = await createSegmentedLog({ disk: disk.crash(() => 0.5), segmentBytes: 4096 })
    expect(third.lastIndex).toBe(2)
    await third.close()
  })
})
