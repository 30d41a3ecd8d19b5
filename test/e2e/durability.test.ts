import { describe, expect, it } from 'vitest'
import { startCluster } from './support/cluster.js'

const PAGE = 4096
const PAGES = 8

describe('an acknowledged write', () => {
  it('an acknowledged write survives if all three peers are killed at once in the middle of writes', async () => {
    await using cluster = await startCluster()
    const client = await cluster.client({ faultTimeoutMs: 60_000 })
    const file = await client.open('/durable', { create: true, size: PAGES * PAGE })
    const mapping = await file.mmap()

    // Each page counts up. A count that msync has acknowledged must never be missing again.
    const acknowledged = Array.from({ length: PAGES }, () => 0)
    let stop = false
    const writers = acknowledged.map(async (_, page) => {
      for (let value = 1; !stop; value++) {
        await mapping.write(page * PAGE, word(value))
        if (value % 2 === 0) await mapping.msync(page * PAGE, PAGE)
        else await file.sync()
        acknowledged[page] = value
      }
    })
    // The writers end whenever the test ends.
    const finished = Promise.all(writers)
    finished.catch(() => {})
    for (let round = 0; round < 3; round++) {
      const before = Math.min(...acknowledged)
      await expect.poll(() => Math.min(...acknowledged), { timeout: 30_000 }).toBeGreaterThan(before + 5)
      await cluster.kill(...cluster.peers)
      const promised = [...acknowledged]
      await cluster.restart(...cluster.peers)
      // A reader without copies sees what the cluster has, which is never less than any acknowledged count.
      const reader = await cluster.client({ faultTimeoutMs: 60_000 })
      const view = await (await reader.open('/durable')).mmap({ prot: 'read' })
      for (const [page, value] of promised.entries()) {
        expect(toNumber(await view.read(page * PAGE, 4))).toBeGreaterThanOrEqual(value)
      }
      await reader.close()
    }
    stop = true
    await finished
  }, 120_000)
})

describe('a cluster without a majority', () => {
  it('calls fail with UnavailableError at their timeout while a cluster lacks a majority, and succeed once the majority is back', async () => {
    await using cluster = await startCluster()
    const client = await cluster.client({ faultTimeoutMs: 1500 })
    const file = await client.open('/majority', { create: true, size: 4 * PAGE })
    const mapping = await file.mmap()
    await mapping.write(0, word(7))
    await mapping.msync()
    const others = cluster.peers.filter((_, at) => at > 0)
    await cluster.kill(...others)

    await expect(client.open('/other', { create: true })).rejects.toMatchObject({
      name: 'UnavailableError',
      code: 'ERR_UNAVAILABLE'
    })
    await expect(mapping.write(PAGE, word(1))).rejects.toMatchObject({ name: 'UnavailableError' })
    await expect(client.stat('/majority')).rejects.toMatchObject({ name: 'UnavailableError' })

    await cluster.restart(...others)
    await expect
      .poll(
        () =>
          mapping.write(PAGE, word(2)).then(
            () => 'written',
            () => 'not yet'
          ),
        { timeout: 30_000 }
      )
      .toBe('written')
    await mapping.msync()
    expect(toNumber(await mapping.read(0, 4))).toBe(7)
  }, 60_000)
})

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

function toNumber(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
}
