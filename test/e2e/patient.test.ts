import { describe, expect, it } from 'vitest'
import { startCluster, until, type TestCluster } from './support/cluster.js'

/** Time within which a dead leader is noticed, and the next one is elected and reached: docs/coherence.md, "Leases". */
const NOTICED_MS = 10_000

/**
 * Returns how long a writer waits for a page of a file that a client with this TTL has mapped, when the leader stops.
 */
async function writeAfterStop(cluster: TestCluster, path: string, sessionTtlMs: number): Promise<number> {
  const reader = await cluster.client({ sessionTtlMs })
  const writer = await cluster.client()
  const mapping = await (await reader.open(path, { create: true, size: 4096 })).mmap()
  const written = await (await writer.open(path)).mmap()
  await written.write(0, new Uint8Array([1]))
  expect(await mapping.read(0, 1)).toEqual(new Uint8Array([1]))
  const stopped = await cluster.leader()
  const began = performance.now()
  process.kill(stopped.pid, 'SIGSTOP')
  try {
    await written.write(0, new Uint8Array([2]))
    return performance.now() - began
  } finally {
    process.kill(stopped.pid, 'SIGCONT')
    // The patient client has lost nothing: it was asked, and answered.
    expect(await mapping.read(0, 1)).toEqual(new Uint8Array([2]))
    await reader.close()
    await writer.close()
    await until(async () => (await cluster.leader()) !== undefined, 'a leader again')
  }
}

describe('a client with a TTL of ten minutes that has a file mapped', () => {
  it('a client with a TTL of ten minutes makes writers wait no longer than one with a short TTL, if the leader stops (SIGSTOP)', async () => {
    await using cluster = await startCluster()
    const short = await writeAfterStop(cluster, '/short', 10_000)
    const patient = await writeAfterStop(cluster, '/patient', 600_000)
    expect(short).toBeLessThan(NOTICED_MS)
    expect(patient).toBeLessThan(NOTICED_MS)
  })
})
