import { afterEach, describe, expect, it } from 'vitest'
import { Cluster, type ClusterOptions } from './support/cluster.js'

let cluster: Cluster
async function start(options: ClusterOptions = {}): Promise<Cluster> {
  cluster = await Cluster.start(options)
  return cluster
}

afterEach(async () => {
  const fatal = cluster.members.map((member) => member.fatal).filter((error) => error !== undefined)
  await cluster.close()
  expect(fatal).toEqual([])
})

describe('clusters', () => {
  it('a cluster elects one leader, which every node learns (§5.2)', async () => {
    await start()
    const leader = await cluster.elect()
    await cluster.clock.advance(500)
    expect(cluster.members.map(({ status }) => status!.leader)).toEqual([leader.id, leader.id, leader.id])
    expect(leader.changes.at(-1)).toMatchObject({ role: 'leader', ready: true })
  })

  it('a cluster applies proposals on every node, in order (§5.3)', async () => {
    await start()
    const leader = await cluster.elect()
    const texts = Array.from({ length: 100 }, (_, i) => `entry ${i}`)
    const indexes = texts.map((text) => leader.propose(text))
    expect(await cluster.converge(indexes.at(-1)!)).toBe(true)
    for (const member of cluster.members) expect(member.texts).toEqual(texts)
  })

  it('a cluster goes on after the leader has lost power, and takes it back with every committed entry (§5.4)', async () => {
    await start()
    const first = await cluster.elect()
    const index = first.propose('before')
    await cluster.clock.until(() => first.status!.appliedIndex >= index)
    first.crash()
    const second = await cluster.elect()
    expect(second.id).not.toBe(first.id)
    const last = second.propose('after')
    const restarted = first.start()
    expect(await cluster.clock.until(() => first.node !== undefined)).toBe(true)
    await restarted
    expect(await cluster.converge(last)).toBe(true)
    for (const member of cluster.members) expect(member.texts).toEqual(['before', 'after'])
  })
})
