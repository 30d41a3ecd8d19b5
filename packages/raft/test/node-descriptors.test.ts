/** Nodes, logs and disks without a free file descriptor: docs/raft.md, "The log on disk". */
import { FakeClock } from '@quire/testing'
import { fromString } from 'uint8arrays/from-string'
import { describe, expect, it } from 'vitest'
import { createMemoryDisk, createSegmentedLog, type RaftLog } from '../src/index.js'
import { Cluster, LARGE } from './support/cluster.js'
import { contentOf, entries, entry } from './support/log-model.js'

const SEGMENT_BYTES = 4096

describe('clusters whose leader has no file descriptor left', () => {
  it('a cluster whose leader has no file descriptor left commits while a follower far behind waits, and brings it up to date afterwards', async () => {
    const cluster = await Cluster.start({ segmentBytes: SEGMENT_BYTES })
    const leader = await cluster.elect()
    const laggard = cluster.members.find((member) => member !== leader)!
    cluster.isolate(laggard)
    const behind = await cluster.commit(leader, 40)
    // The descriptors suffice for the next file and the directory's flush, but not for an old segment beside them.
    const { disk } = leader
    await cluster.clock.advance(100)
    disk.setDescriptors(0)
    cluster.heal()
    await cluster.clock.advance(3000)
    leader.node!.propose(fromString('small'))
    await cluster.clock.advance(1000)
    expect(leader.fatal).toBeUndefined()
    expect(leader.status).toMatchObject({ role: 'leader', commitIndex: behind + 1 })
    expect(laggard.status!.lastIndex).toBeLessThan(behind)
    disk.setDescriptors(Infinity)
    expect(await cluster.converge(behind + 1)).toBe(true)
    await cluster.close()
  })

  it('a cluster whose leader has no file descriptor left gets another leader, and keeps the vote of the node without', async () => {
    const cluster = await Cluster.start({ segmentBytes: SEGMENT_BYTES })
    const short = await cluster.elect()
    short.disk.setDescriptors(0)
    for (let i = 0; i < 8; i++) short.node!.propose(LARGE.slice())
    expect(await cluster.clock.until(() => cluster.leader !== short && cluster.leader?.status?.ready === true)).toBe(
      true
    )
    expect(short.fatal).toBeUndefined()
    expect(short.status).toMatchObject({ room: 'none' })
    const second = cluster.leader!
    await cluster.commit(second, 3)
    // Without the vote of the first node, which its log keeps in the reserve, there is no majority.
    const third = cluster.members.find((member) => member !== short && member !== second)!
    await cluster.clock.until(() => third.status!.lastIndex === second.status!.lastIndex)
    cluster.isolate(second)
    expect(await cluster.clock.until(() => third.status!.role === 'leader')).toBe(true)
    expect(short.status).toMatchObject({ term: third.status!.term, room: 'none' })
    cluster.heal()
    short.disk.setDescriptors(Infinity)
    expect(await cluster.converge(third.status!.lastIndex)).toBe(true)
    expect(await cluster.clock.until(() => short.status!.room === 'enough')).toBe(true)
    await cluster.close()
  })

  it('a cluster elects another leader if the leader cannot make the name of its next file durable', async () => {
    const cluster = await Cluster.start({ segmentBytes: SEGMENT_BYTES })
    const leader = await cluster.elect()
    // The log makes its next file while the current one has room left.
    await cluster.commit(leader, 1)
    await cluster.clock.advance(100)
    leader.disk.setDescriptors(0)
    for (let i = 0; i < 8; i++) leader.node!.propose(LARGE.slice())
    expect(await cluster.clock.until(() => cluster.leader !== leader && cluster.leader?.status?.ready === true)).toBe(
      true
    )
    expect(leader.fatal).toBeUndefined()
    const { index } = cluster.leader!.node!.propose(fromString('elsewhere'))
    leader.disk.setDescriptors(Infinity)
    expect(await cluster.converge(index)).toBe(true)
    await cluster.close()
  })
})

describe('logs without a file descriptor for the next file', () => {
  it('a log without a file descriptor for its next file reports that, gives entries back, retries once a second, and goes on', async () => {
    const clock = new FakeClock()
    const disk = createMemoryDisk({ schedule: clock.schedule.bind(clock) })
    const reports: (string | undefined)[] = []
    const create = { bootstrap: { voters: ['a'], learners: [], context: new Uint8Array(0) } }
    const onSpace = (fault: Error | undefined): unknown => reports.push(fault?.name)
    const opening = createSegmentedLog({ disk, segmentBytes: SEGMENT_BYTES, cacheBytes: 0, create, clock, onSpace })
    await clock.advance(10)
    const log = await opening
    disk.setDescriptors(disk.openFiles)
    const list = entries(2, 30, 1).map((each) => ({ ...each, data: new Uint8Array(1000).fill(each.index) }))
    const appended = Promise.allSettled(list.map((each) => log.append({ entries: [each] })))
    await clock.advance(5000)
    expect(reports).toEqual(['NoDescriptorsError'])
    const [first, ...refused] = await appended
    expect(first!.status).toBe('fulfilled')
    expect(refused).toHaveLength(28)
    for (const result of refused) {
      expect(result).toMatchObject({ reason: { name: 'LogFullError', stored: 2, cause: { reason: 'EMFILE' } } })
    }
    expect(log.lastIndex).toBe(2)
    disk.setDescriptors(Infinity)
    await clock.advance(1100)
    expect(reports).toEqual(['NoDescriptorsError', undefined])
    const again = log.append({ entries: list.slice(1) })
    await clock.advance(100)
    await again
    expect(log.lastIndex).toBe(30)
    const closing = log.close()
    await clock.advance(100)
    await closing
    expect(disk.openFiles).toBe(0)
  })

  it('a log cannot be opened, and says why at once, if it cannot open its files at all', async () => {
    const create = { bootstrap: { voters: ['a'], learners: [], context: new Uint8Array(0) } }
    const reports: unknown[] = []
    const clock = new FakeClock()
    const disk = createMemoryDisk()
    const open = (): Promise<RaftLog> =>
      createSegmentedLog({ disk, segmentBytes: SEGMENT_BYTES, create, clock, onSpace: (fault) => reports.push(fault) })
    // First no log exists, and then one does.
    for (let round = 0; round < 2; round++) {
      for (const descriptors of [0, 1]) {
        disk.setDescriptors(descriptors)
        await expect(open()).rejects.toMatchObject({ name: 'NoDescriptorsError' })
        expect([disk.openFiles, reports]).toEqual([0, []])
      }
      disk.setDescriptors(Infinity)
      await (await open()).close()
    }
  })

  it('a log waits for the flush of the directory, because the file already has its name', async () => {
    const clock = new FakeClock()
    const disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
    const create = { bootstrap: { voters: ['a'], learners: [], context: new Uint8Array(0) } }
    const opening = createSegmentedLog({ disk, segmentBytes: SEGMENT_BYTES, create, clock })
    await clock.advance(50)
    const log = await opening
    const writes = [2, 3, 4].map((index) => ({ entries: [{ ...entry(index, 1), data: LARGE.slice() }] }))
    const appended = Promise.all(writes.map((write) => log.append(write)))
    const isRenamed = async (): Promise<boolean> => {
      const listing = disk.list()
      await clock.advance(1)
      return (await listing).filter((name) => name.endsWith('.log')).length > 1
    }
    while (!(await isRenamed())) disk.setDescriptors(Infinity)
    disk.setDescriptors(0)
    await clock.advance(3000)
    disk.setDescriptors(Infinity)
    await clock.advance(3000)
    await appended
    const before = contentOf(log)
    // The acknowledged entries survive a power loss that keeps nothing else.
    const after = disk.crash(() => 0)
    const reopening = createSegmentedLog({ disk: after, segmentBytes: SEGMENT_BYTES, create, clock })
    await clock.advance(100)
    expect(contentOf(await reopening)).toEqual(before)
  })
})
