import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { startCluster } from './support/cluster.js'

const OWNER = fileURLToPath(new URL('./children/owner.mjs', import.meta.url))
const TTL_MS = 1500

describe('a client that is killed while it owns a page', () => {
  it('a client that is killed while it owns a page loses it after its TTL to the next waiter, which gets the flushed bytes', async () => {
    await using cluster = await startCluster()
    const client = await cluster.client()
    const file = await client.open('/owned', { create: true, size: 4096 })
    const mapping = await file.mmap()
    const owner = spawn(process.execPath, [OWNER, '/owned', String(TTL_MS), ...cluster.addresses], {
      stdio: ['pipe', 'pipe', 'inherit']
    })
    try {
      const [line] = (await once(owner.stdout, 'data')) as [Buffer]
      expect(String(line)).toBe('owned\n')
      owner.kill('SIGKILL')
      await once(owner, 'exit')
      const killedAt = performance.now()
      expect(await mapping.read(0, 1)).toEqual(new Uint8Array([1]))
      // Not earlier: until then the cluster could not know that the owner is not just slow.
      expect(performance.now() - killedAt).toBeGreaterThan(TTL_MS / 2)
      await mapping.write(0, new Uint8Array([3]))
      await mapping.msync()
      expect(await mapping.read(0, 1)).toEqual(new Uint8Array([3]))
    } finally {
      owner.kill('SIGKILL')
    }
  })
})

describe('hazard: false sharing between two writers', () => {
  it('no count is lost if two clients count in words of their own on one page', async () => {
    await using cluster = await startCluster()
    const clients = await Promise.all([cluster.client(), cluster.client()])
    const [rounds, counts] = [5, 60]
    const mappings = await Promise.all(
      clients.map(async (client) => (await client.open('/shared', { create: true, size: 4096 })).mmap())
    )
    const count = async (mapping: (typeof mappings)[number], word: number): Promise<void> => {
      for (let i = 0; i < counts; i++) {
        using pinned = await mapping.pin(4 * word, 4, 'write')
        const view = new DataView(pinned.bytes.buffer, pinned.bytes.byteOffset, 4)
        view.setUint32(0, view.getUint32(0, true) + 1, true)
      }
    }
    // A client may finish a round before the other begins it. The page changes hands in each round all the same.
    for (let round = 0; round < rounds; round++) {
      await Promise.all(mappings.map((mapping, word) => count(mapping, word)))
    }
    await Promise.all(mappings.map((mapping) => mapping.msync()))
    const mapping = await (await clients[0].open('/shared')).mmap()
    const bytes = await mapping.read(0, 8)
    const view = new DataView(bytes.buffer)
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([rounds * counts, rounds * counts])
    // The page changed hands; otherwise the test would show nothing.
    expect(clients.reduce((sum, client) => sum + client.stats().handovers, 0)).toBeGreaterThanOrEqual(rounds)
    const contended = clients.flatMap((client) => client.stats().contended)
    expect(contended).toContainEqual({ path: '/shared', offset: 0, taken: expect.any(Number) as number })
  })
})
