import { createDsmClient } from '@quire/dsm-client'
import { createLibp2pNetwork, generatePrivateKey } from '@quire/net'
import { describe, expect, it } from 'vitest'
import { startDelayProxy } from '../support/delay-proxy.js'
import { moveAway } from '../support/distance.js'
import { startCluster, until } from './support/cluster.js'
import { portOf } from './support/far-peers.js'

const FAR_MS = 600

describe('a client that is 600 ms away from a cluster in one place', () => {
  it('a client that is 600 ms away connects, reads, writes, flushes, and keeps its session for several times to live', async () => {
    await using cluster = await startCluster()
    await using distance = await moveAway(FAR_MS)
    const startedAt = performance.now()
    const client = await createDsmClient({ peers: cluster.addresses, sessionTtlMs: 4000 })
    try {
      // Eight round trips: no peer was near.
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

  it('a client that is 600 ms away gets a time to live that it can renew, even if it asks for less', async () => {
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

describe('round trips', () => {
  it('a handshake takes as many round trips as `timingOf` assumes', async () => {
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
    // TCP takes 1, the upgrade 2, and the protocol 1; then the protocol alone.
    expect(await count([`/ip4/127.0.0.1/tcp/${proxy.port}`])).toBe(4)
    expect(await count([])).toBe(1)
    await Promise.all([client!.close(), server!.close()])
  })
})
