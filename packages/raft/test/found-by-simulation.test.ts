/** What `pnpm sim raft` found, each at its smallest. */
import type { RaftMessage } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { createMemoryDisk, createSegmentedLog } from '../src/index.js'
import { CoreHarness, rejected, voteFor } from './support/core-harness.js'
import { configurationEntry, entry } from './support/hand-storage.js'
import { VirtualClock } from './support/virtual-time.js'

describe('a core', () => {
  it('stands although its own removal is in its log, which only it has (thesis §4.2.2; seed 17)', () => {
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
    // It counts only others, commits its removal, and leaves office.
    node.accept('b', 4)
    expect(node.core).toMatchObject({ role: 'follower', commitIndex: 4 })
  })

  it('does not stand when its removal is committed', () => {
    const changes = new Map([[3, { voters: ['b'] }]])
    const node = new CoreHarness({ voters: ['a', 'b'], terms: [1, 2, 2], changes, commit: 3 })
    node.tick(20)
    expect(node.core.role).toBe('follower')
    expect(node.take('requestPreVote')).toEqual([])
  })

  it('sends a snapshot when all appends that may be under way are lost, and what they held is dropped (seeds 42, 45)', () => {
    const node = new CoreHarness({ limits: { maxInflightMessages: 1 } }).lead().accept('b', 2).accept('c', 2)
    node.core.propose([new Uint8Array(1)])
    node.drain().accept('b', 3)
    node.core.propose([new Uint8Array(1)])
    // Entry 3 is on its way to c, and lost; entry 4 may not leave before it is acknowledged.
    node.drain().accept('b', 4)
    node.core.snapshotTaken(node.core.snapshotMeta(4))
    node.storage.compact(4)
    node.hearOf('c').hearOf('c')
    expect(node.wanted).toMatchObject([{ to: 'c', offset: 0, snapshot: { index: 4 } }])
  })

  it('does not hold a learner that joined anew to what its former life acknowledged (seed 2162)', () => {
    const node = new CoreHarness({ learners: ['d'] }).lead().accept('b', 2)
    node.core.changeMembership([{ type: 'removed', id: 'd' }])
    node.drain().accept('b', 3)
    node.core.changeMembership([{ type: 'learner', id: 'd' }])
    node.drain().accept('b', 4)
    // Sent before the removal, it arrives now.
    node.accept('d', 2)
    node.take('append')
    node.step('d', rejected(2, 4, 0, 0)).step('d', rejected(2, 2, 0, 0))
    expect(node.take('append').map(({ to, message }) => [to, message.prevIndex])).toContainEqual(['d', 0])
  })
})

describe('a node that joins', () => {
  const joining = () => new CoreHarness({ voters: [], terms: [] })
  const config = (index: number, voters: string[], learners: string[] = []) =>
    configurationEntry(index, 1, { voters, learners })

  it('stops when its id has been a voter: its log was lost, and ids are not used again (seed 2026125339)', () => {
    const node = joining()
    const first = config(1, ['a', 'b', 'c'])
    const append: RaftMessage = { type: 'append', term: 5, prevIndex: 0, prevTerm: 0, commit: 9, entries: [first] }
    expect(() => node.step('b', append)).toThrow(/an id is never used again after its log is lost: a joins/)
  })

  it('goes on when its id is new', () => {
    const node = joining()
    const entries = [config(1, ['b', 'c']), config(2, ['b', 'c'], ['a']), config(3, ['a', 'b', 'c'])]
    node.step('b', { type: 'append', term: 5, prevIndex: 0, prevTerm: 0, commit: 3, entries })
    expect(node.core.configuration.voters).toEqual(['a', 'b', 'c'])
  })
})

describe('a log without space', () => {
  it('looks for it again though something else has failed in between (seed 1497)', async () => {
    const clock = new VirtualClock()
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
    await clock.run(100)
    expect(faults).toEqual(['NoSpaceError'])
    disk.fail('create', new Error('not now'))
    await clock.run(1100)
    disk.setCapacity(Infinity)
    await clock.run(1100)
    expect(faults).toEqual(['NoSpaceError', undefined])
    await log.close()
  })
})
