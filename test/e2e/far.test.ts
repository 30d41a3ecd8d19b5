import { createDsmClient } from '@quire/dsm-client'
import { createLibp2pNetwork, generatePrivateKey } from '@quire/net'
import { DEFAULT_ROUND_TRIP_MS, timingOf } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { startDelayProxy } from '../support/delay-proxy.js'
import { moveAway } from '../support/distance.js'
import { startCluster, until } from './support/cluster.js'
import { portOf, startFarPeers } from './support/far-peers.js'

const FAR_MS = 600
const { electionMs } = timingOf(FAR_MS)
/**
 * Links come up, then an election: the longest time-out, and once more after a split vote; two round trips of votes
 * each.
 */
const ELECTION_BOUND_MS = 4 * FAR_MS + 2 * (2 * electionMs + 2 * FAR_MS)

describe('a client that is 600 ms away from a cluster in one place', () => {
  it('connects, reads, writes, makes durable, and keeps its session for several times to live', async () => {
    await using cluster = await startCluster()
    await using distance = await moveAway(FAR_MS)
    const startedAt = performance.now()
    const client = await createDsmClient({ peers: cluster.addresses, sessionTtlMs: 4000 })
    try {
      // Eight round trips: nobody was near.
      expect(performance.now() - startedAt).toBeGreaterThan(8 * FAR_MS)
      const { id, ttlMs } = client.session
      expect(ttlMs).toBe(4000)
      const file = await client.open('/far', { create: true, size: 8192 })
      const mapping = await file.mmap()
      await mapping.write(4000, new TextEncoder().encode('from far away'))
      await mapping.msync()
      distance.end()
      const near = await cluster.client()
      const seen = await (await near.open('/far')).mmap()
      expect(new TextDecoder().decode(await seen.read(4000, 13))).toBe('from far away')
      await seen.write(0, new Uint8Array([42]))
      expect(await mapping.read(0, 1)).toEqual(new Uint8Array([42]))
      const keepUntil = performance.now() + 3 * ttlMs
      let wasSuspect = false
      await until(() => {
        wasSuspect ||= client.session.state !== 'active'
        return performance.now() > keepUntil
      }, 'three times to live')
      expect(wasSuspect).toBe(false)
      expect(client.session).toEqual({ id, state: 'active', ttlMs })
    } finally {
      await client.close()
    }
  })

  it('gets a time to live that it can renew when it asks for less', async () => {
    await using cluster = await startCluster()
    await using _distance = await moveAway(FAR_MS)
    const client = await createDsmClient({ peers: cluster.addresses, sessionTtlMs: 500 })
    try {
      const { id, ttlMs } = client.session
      expect(ttlMs).toBeGreaterThanOrEqual(16 * FAR_MS)
      const file = await client.open('/short', { create: true, size: 4096 })
      expect((await file.stat()).size).toBe(4096)
      expect(client.session).toEqual({ id, state: 'active', ttlMs })
    } finally {
      await client.close()
    }
  })
})

describe('peers that are 600 ms apart', () => {
  it('elect a leader within the bound that their timing gives, keep it, and commit', async () => {
    await using far = await startFarPeers({ roundTripMs: FAR_MS, configuredMs: FAR_MS })
    await until(() => far.leader() !== undefined, 'a leader', ELECTION_BOUND_MS)
    const { term } = far.leader()!.status()
    const client = await createDsmClient({ peers: far.addresses })
    try {
      const file = await client.open('/apart', { create: true, size: 4096 })
      const mapping = await file.mmap()
      await mapping.write(0, new Uint8Array([7]))
      const startedAt = performance.now()
      await mapping.msync()
      // To the leader and back, and from the leader to another peer and back.
      expect(performance.now() - startedAt).toBeGreaterThan(2 * FAR_MS)
      expect(far.leader()!.status().term).toBe(term)
    } finally {
      await client.close()
    }
  })

  it('keep their leader when the cluster was told before that they move apart', async () => {
    await using far = await startFarPeers({ roundTripMs: 0 })
    await until(() => far.leader() !== undefined, 'a leader')
    const leader = far.leader()!
    const { term, commitIndex } = leader.status()
    await until(() => {
      try {
        leader.proposeRoundTrip(FAR_MS)
        return true
      } catch (error) {
        expect(error).toMatchObject({ name: 'ChangePendingError' })
        return false
      }
    }, 'the change to be taken')
    await until(() => far.peers.every((peer) => peer.status().roundTripMs === FAR_MS), 'all to follow')
    // Everybody ticks slowly a heartbeat later.
    const settled = performance.now() + 6 * timingOf(DEFAULT_ROUND_TRIP_MS).tickMs
    await until(() => performance.now() > settled, 'a heartbeat')
    far.distance.roundTripMs = FAR_MS
    const watchedUntil = performance.now() + 2 * electionMs
    await until(() => performance.now() > watchedUntil, 'two election time-outs')
    expect(far.leader()!.status()).toMatchObject({ id: leader.status().id, term })
    expect(far.leader()!.status().commitIndex).toBeGreaterThan(commitIndex)
  })
})

describe('round trips', () => {
  it('of a handshake are those that `timingOf` counts with', async () => {
    const roundTripMs = 150
    const [server, client] = await Promise.all(
      [['/ip4/127.0.0.1/tcp/0'], []].map(async (listen) =>
        createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen })
      )
    )
    server!.handle('/far/1', 100, (stream) => (stream.onFrame = () => {}))
    const port = portOf(server!.multiaddrs[0]!)
    await using proxy = await startDelayProxy({ roundTripMs, target: () => ({ host: '127.0.0.1', port }) })
    const count = async (addresses: string[]): Promise<number> => {
      const startedAt = performance.now()
      await client!.dial(server!.peerId, addresses, { protocol: '/far/1', maxFrameBytes: 100 })
      return Math.floor((performance.now() - startedAt) / roundTripMs)
    }
    // TCP 1, upgrade 2, protocol 1; then the protocol alone.
    expect(await count([`/ip4/127.0.0.1/tcp/${proxy.port}`])).toBe(4)
    expect(await count([])).toBe(1)
    await Promise.all([client!.close(), server!.close()])
  })
})
