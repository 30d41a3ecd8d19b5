/** A counter in a file, which a client of its own raises for as long as a test likes. */
import type { TestCluster } from './cluster.js'

export interface CounterWriter {
  /** Durable increments so far. */
  readonly count: number
  /** Ends after the increment that is under way. Resolves with the last value, or rejects like a call that failed. */
  stop(): Promise<number>
}

const PATH = '/counter'

export async function keepWriting(cluster: TestCluster): Promise<CounterWriter> {
  const client = await cluster.client()
  const file = await client.open(PATH, { create: true, size: 4096 })
  let count = 0
  let isStopped = false
  const writing = (async (): Promise<void> => {
    while (!isStopped) {
      await file.write(0, new TextEncoder().encode(String(count + 1).padStart(12)))
      await file.sync()
      count++
    }
  })()
  // `stop` reports it.
  writing.catch(() => {})
  return {
    get count() {
      return count
    },
    stop: async () => {
      isStopped = true
      await writing
      return count
    }
  }
}

/** Reads the counter as a new client that knows these addresses. */
export async function readCounter(cluster: TestCluster, peers: readonly string[]): Promise<number> {
  const client = await cluster.client({ peers: [...peers] })
  const file = await client.open(PATH)
  return Number(new TextDecoder().decode(await file.read(0, 12)))
}
