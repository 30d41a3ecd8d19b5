import { expect, it } from 'vitest'
import { quire } from '../../packages/cli/test/support/quire.js'
import { startCluster, until } from './support/cluster.js'
import { keepWriting, readCounter } from './support/counter.js'

it('a rolling restart of all peers rejects no call of clients that write and flush, and loses nothing (SIGTERM)', async () => {
  await using cluster = await startCluster()
  const writer = await keepWriting(cluster)
  const leaders = new Set<string>()
  for (const peer of cluster.peers) {
    leaders.add((await cluster.leader()).peerId)
    await cluster.stop(peer)
    const before = writer.count
    await until(() => writer.count > before, 'the writer to go on without the peer')
    await cluster.restart(peer)
    await until(async () => {
      const { status } = await quire(['health', '--peers', cluster.addresses.join(',')])
      return status === 0
    }, 'all voters to follow a leader')
  }
  leaders.add((await cluster.leader()).peerId)
  expect(leaders.size).toBeGreaterThan(1)
  const last = await writer.stop()
  expect(await readCounter(cluster, cluster.addresses)).toBe(last)
})
