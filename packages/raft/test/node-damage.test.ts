/** Nodes that come upon damage in old entries of their log: docs/raft.md, "The log on disk". */
import { describe, expect, it } from 'vitest'
import { SECTOR_BYTES } from '../src/index.js'
import { Cluster, type Member } from './support/cluster.js'
import { segmentsOf } from './support/log-on-disk.js'

const SEGMENT_BYTES = 16 * 1024

/** Damages a batch of an old segment. Returns what an error must say of it. */
async function damage(cluster: Cluster, { disk }: Member): Promise<object> {
  const names = await cluster.run(segmentsOf(disk))
  expect(names.length).toBeGreaterThan(5)
  const where = names[3]!
  const file = disk.openForReading(where)
  const magic = file.read(SECTOR_BYTES, 4)
  const isBatch = (at: number): boolean => magic.every((byte, i) => file.read(at, 4)[i] === byte)
  let offset = SEGMENT_BYTES / 2
  while (!isBatch(offset)) offset += SECTOR_BYTES
  file.close()
  disk.damage(where, offset + 600, (byte) => byte ^ 1)
  return { name: 'CorruptionError', where, offset }
}

describe('nodes with a damaged log', () => {
  it('a leader that must send a damaged entry stops, sends none of what follows, and others elect a leader that has it', async () => {
    const cluster = await Cluster.start({ segmentBytes: SEGMENT_BYTES })
    const leader = await cluster.elect()
    const [laggard, other] = cluster.members.filter((member) => member !== leader) as [Member, Member]
    cluster.isolate(laggard)
    const last = await cluster.commit(leader, 60)
    await cluster.clock.until(() => other.status!.appliedIndex === last)
    const damaged = await damage(cluster, leader)
    cluster.cut.add(`${other.id}>${laggard.id}`)
    cluster.cut.delete(`${leader.id}>${laggard.id}`)
    cluster.cut.delete(`${laggard.id}>${leader.id}`)
    expect(await cluster.clock.until(() => leader.fatal !== undefined)).toBe(true)
    expect(leader.fatal).toMatchObject(damaged)
    expect(laggard.status!.lastIndex).toBeLessThan(last)
    expect(() => leader.propose('more')).toThrow(/is not the leader/)
    await cluster.run(leader.node!.close())
    leader.node = undefined
    cluster.heal()
    await cluster.elect()
    expect(await cluster.converge(last)).toBe(true)
    expect(laggard.texts).toEqual(other.texts)
    await cluster.close()
  })

  it('a node that must apply a damaged entry stops, and applies none of what follows', async () => {
    const cluster = await Cluster.start({ segmentBytes: SEGMENT_BYTES })
    const leader = await cluster.elect()
    const follower = cluster.members.find((member) => member !== leader)!
    const last = await cluster.commit(leader, 60)
    await cluster.clock.until(() => follower.status!.appliedIndex === last)
    const before = follower.applied
    follower.crash()
    const damaged = await damage(cluster, follower)
    // The start does not read the entries that are committed.
    await cluster.run(follower.start())
    expect(await cluster.clock.until(() => follower.fatal !== undefined)).toBe(true)
    expect(follower.fatal).toMatchObject(damaged)
    expect(follower.applied.length).toBeLessThan(last)
    expect(follower.applied).toEqual(before.slice(0, follower.applied.length))
    await cluster.run(follower.node!.close())
    follower.node = undefined
    await cluster.close()
  })
})
