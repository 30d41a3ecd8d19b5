/**
 * `pnpm failover`: kills leaders with SIGKILL, and measures the time until the next write is durable, in turn with etcd
 * (three members, default settings) on the same machine. Prints one JSON object per line.
 */
import { createDsmClient } from '@quire/dsm-client'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { EtcdCluster, hasEtcd } from './etcd.js'
import { endAll, startCluster } from './processes.js'
import { percentile } from './rows.js'

const USAGE = `usage: pnpm failover [--tries N]

  --tries N   leaders to kill in each cluster, default 20`

/** Time for a cluster to settle before its leader is killed. */
const SETTLE_MS = 2_000

async function run(tries: number, folder: string): Promise<void> {
  const cluster = await startCluster(join(folder, 'peers'), true)
  const etcd = hasEtcd() ? await EtcdCluster.start(join(folder, 'etcd')) : undefined
  try {
    const client = await createDsmClient({ peers: cluster.addresses })
    const file = await client.open('/failover', { create: true, size: 4096 })
    const quire: number[] = []
    const rival: number[] = []
    for (let i = 1; i <= tries; i++) {
      await pause(SETTLE_MS)
      const revive = await cluster.stopLeader()
      const begin = performance.now()
      await file.write(0, new TextEncoder().encode(`${i}`.padStart(8)))
      await file.sync()
      quire.push(performance.now() - begin)
      await revive()
      if (etcd === undefined) continue
      await pause(SETTLE_MS)
      const reviveRival = await etcd.stopLeader()
      const beginRival = performance.now()
      await etcd.put(String(i))
      rival.push(performance.now() - beginRival)
      await reviveRival()
    }
    await client.close()
    for (const percent of [50, 90, 100]) {
      const value = Math.round(percentile(quire, percent))
      const other = etcd === undefined ? null : Math.round(percentile(rival, percent))
      const ratio = other === null ? null : Math.round((value / other) * 100) / 100
      console.log(
        JSON.stringify({ row: 'failover', metric: `p${percent}`, unit: 'ms', value, etcd: other, ratio, tries })
      )
    }
    if (etcd === undefined)
      console.error('etcd is not installed: nothing to compare with (apt-get install etcd-server)')
  } finally {
    await etcd?.close()
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: process.argv.slice(2).filter((argument) => argument !== '--'),
    options: { tries: { type: 'string', default: '20' }, help: { type: 'boolean', default: false } }
  })
  const tries = Number(values.tries)
  if (values.help || !Number.isInteger(tries) || tries < 1) {
    console.log(USAGE)
    return values.help ? 0 : 2
  }
  const folder = mkdtempSync(join(tmpdir(), 'quire-failover-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop(signal))
  try {
    await run(tries, folder)
    return 0
  } catch (error) {
    console.error((error as Error).message)
    return 1
  } finally {
    await endAll()
  }
}

async function stop(signal: string): Promise<void> {
  console.error(`stopped by ${signal}`)
  await endAll()
  process.exit(1)
}

process.exitCode = await main()
process.exit()
