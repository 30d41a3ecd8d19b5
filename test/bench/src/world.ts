/** Everything that a benchmark runs beside: a cluster of three peers, the rivals and the workers. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { startCluster, startWorker, type Cluster, type Worker } from './processes.js'
import { EtcdCluster, hasEtcd } from './rivals/etcd.js'
import { hasRedis, startRedis } from './rivals/redis.js'
import type { Addresses } from './tasks/parties.js'

export interface World {
  readonly cluster: Cluster
  readonly folder: string
  readonly hasRedis: boolean
  readonly hasEtcd: boolean
  /** Few and short rounds, to see that the benchmark works. */
  readonly isSmoke: boolean
  readonly rounds: number
  /** Connected, and with no page yet. */
  newWorker(): Promise<Worker>
  /** As many connected workers, which stay from one row to the next. */
  workers(count: number): Promise<readonly Worker[]>
}

export async function startWorld(folder: string, rounds: number, isSmoke: boolean): Promise<World> {
  const cluster = await startCluster(join(folder, 'peers'))
  const bare = await startWorker().run('serve', undefined)
  const etcd = hasEtcd() ? await EtcdCluster.start(join(folder, 'etcd')) : undefined
  mkdirSync(join(folder, 'redis'))
  const redis = hasRedis() ? await startRedis(join(folder, 'redis')) : undefined
  const addresses: Addresses = { peers: cluster.addresses, bare, redis, etcd: await etcd?.leaderUrl() }
  const kept: Worker[] = []
  const newWorker = async (): Promise<Worker> => {
    const worker = startWorker()
    await worker.run('connect', addresses)
    return worker
  }
  return {
    cluster,
    folder,
    hasRedis: redis !== undefined,
    hasEtcd: etcd !== undefined,
    isSmoke,
    rounds,
    newWorker,
    async workers(count) {
      while (kept.length < count) kept.push(await newWorker())
      return kept.slice(0, count)
    }
  }
}
