import { InvalidArgumentError } from '@quire/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { Cluster, type ClusterOptions, type Member } from './support/cluster.js'

let cluster: Cluster
let leader: Member

async function start(options: ClusterOptions = {}): Promise<void> {
  const limits = { retainedBytes: 600, maxPieceBytes: 300, maxAppendBytes: 2000, ...options.limits }
  cluster = await Cluster.start({ segmentBytes: 4096, snapshotEvery: 20, ...options, limits })
  leader = await cluster.elect()
}

async function propose(count: number): Promise<number> {
  let last = 0
  for (let i = 0; i < count; i++) {
    last = leader.propose(`entry ${i} ${'.'.repeat(100)}`)
    if (i % 10 === 9) await cluster.clock.advance(20)
  }
  expect(await cluster.clock.until(() => leader.status!.appliedIndex >= last)).toBe(true)
  return last
}

const other = (): Member => cluster.members.find(({ id, founders }) => id !== leader.id && founders !== undefined)!

afterEach(async () => {
  const fatal = cluster.members.map((member) => member.fatal).filter((error) => error !== undefined)
  await cluster.close()
  expect(fatal).toEqual([])
})

describe('nodes with snapshots', () => {
  it('a node keeps its log bounded by the retained bytes, and starts from its snapshot (§7)', async () => {
    await start()
    const last = await propose(200)
    await cluster.clock.advance(200)
    expect(leader.status!.firstIndex).toBeGreaterThan(last - 100)
    leader.crash()
    await cluster.run(leader.start())
    expect(leader.status!.appliedIndex).toBeGreaterThan(100)
    await cluster.elect()
    expect(await cluster.converge(last)).toBe(true)
  })

  it('a node brings a follower that needs compacted entries up to date in pieces (Figure 13)', async () => {
    await start()
    const late = other()
    cluster.isolate(late)
    await propose(200)
    cluster.heal()
    expect(await cluster.converge(await propose(1))).toBe(true)
    expect(late.snapshots.received).toBeGreaterThan(3)
    expect(late.texts).toEqual(leader.texts)
  })

  it('a node repeats pieces of a snapshot that get lost on the way', async () => {
    await start({ loss: 0.2 })
    const late = other()
    late.crash()
    await propose(100)
    await cluster.run(late.start())
    leader = await cluster.elect()
    await cluster.clock.until(() => late.status!.appliedIndex >= 100, 60_000)
    expect(late.snapshots.received).toBeGreaterThan(0)
  })

  it('a piece of a snapshot that was damaged on the way is dropped and sent again', async () => {
    await start()
    const late = other()
    cluster.isolate(late)
    await propose(100)
    let torn = 0
    cluster.tamper = (message) => {
      if (message.type !== 'snapshot' || ++torn % 2 === 0) return message
      const data = message.data.slice()
      data[0]! ^= 1
      return { ...message, data }
    }
    cluster.heal()
    expect(await cluster.converge(await propose(1), 60_000)).toBe(true)
    expect(torn).toBeGreaterThan(4)
    expect(late.texts).toEqual(leader.texts)
  })

  it('a node identifies no snapshot before the newest one, nor of entries that are not applied', async () => {
    await start()
    await propose(100)
    await cluster.clock.advance(200)
    const { firstIndex, appliedIndex } = leader.status!
    for (const index of [firstIndex, appliedIndex + 1, 1.5]) {
      expect(() => leader.node!.snapshotMeta(index)).toThrow(InvalidArgumentError)
    }
    expect(leader.node!.snapshotMeta(appliedIndex)).toMatchObject({ index: appliedIndex })
  })

  it('a node starts over with the newest snapshot if the one that it was sending is gone', async () => {
    await start()
    const late = other()
    cluster.isolate(late)
    await propose(100)
    let hidden = 0
    for (const member of cluster.members) {
      member.snapshots.onRead = (_, offset) => offset === 0 || ++hidden > 3
    }
    cluster.heal()
    expect(await cluster.converge(await propose(1), 60_000)).toBe(true)
    expect(hidden).toBeGreaterThan(3)
  })

  it('a node sends a snapshot again if the follower could not install it', async () => {
    await start()
    const late = other()
    late.snapshots.refusals = 2
    cluster.isolate(late)
    await propose(100)
    cluster.heal()
    expect(await cluster.converge(await propose(1), 60_000)).toBe(true)
    expect(late.snapshots.refusals).toBe(0)
  })

  it('a node repairs a log that a crash has left behind its installed snapshot', async () => {
    await start()
    const late = other()
    late.crash()
    const last = await propose(100)
    // The state machine was replaced. The power failed before the log knew.
    const source = cluster.members.find((member) => member.snapshots.newest !== undefined && member !== late)!
    late.snapshots.take(source.snapshots.newest!, source.applied)
    await cluster.run(late.start())
    expect(late.status!.firstIndex).toBe(late.snapshots.newest!.index + 1)
    leader = await cluster.elect()
    expect(await cluster.converge(last)).toBe(true)
    late.crash()
    await cluster.run(late.start())
    expect(late.status!.lastIndex).toBeGreaterThanOrEqual(last)
  })
})
