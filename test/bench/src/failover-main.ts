/**
 * `pnpm failover`: kills leaders with SIGKILL, and measures the time until the next write is durable, in turn with etcd
 * (three members, default settings) on the same machine. Prints one JSON object per line.
 */
import { createDsmClient } from '@quire/dsm-client'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { runCommand, UsageError } from './command.js'
import { EtcdCluster, hasEtcd } from './rivals/etcd.js'
import { startCluster } from './processes.js'
import { percentile } from './rows.js'

const USAGE = `usage: pnpm failover [--tries N]

  --tries N   leaders to kill in each cluster, default 20`

/** The median must be below this part of etcd's. */
const MAX_RATIO = 0.7
/** Time for a cluster to settle before its leader is killed. */
const SETTLE_MS = 2_000

async function run({ tries }: { tries: number }, folder: string): Promise<number> {
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
    if (etcd === undefined) {
      console.error('etcd is not installed: nothing to compare with (apt-get install etcd-server)')
    }
    return report(quire, rival)
  } finally {
    await etcd?.close()
  }
}

/** Prints the percentiles. Returns the exit status. */
function report(quire: readonly number[], rival: readonly number[]): number {
  const tries = quire.length
  let status = 0
  for (const percent of [50, 90, 100]) {
    const value = Math.round(percentile(quire, percent))
    const etcd = rival.length === 0 ? null : Math.round(percentile(rival, percent))
    const ratio = etcd === null ? null : Math.round((value / etcd) * 100) / 100
    const target = percent === 50 ? MAX_RATIO : null
    console.log(
      JSON.stringify({ row: 'failover', metric: `p${percent}`, unit: 'ms', value, etcd, ratio, target, tries })
    )
    if (target !== null && (ratio === null || ratio >= target)) status = 1
  }
  return status
}

function read(args: string[]): { tries: number } {
  const { values } = parseArgs({ args, options: { tries: { type: 'string', default: '20' } } })
  const tries = Number(values.tries)
  if (!Number.isInteger(tries) || tries < 1) throw new UsageError(USAGE)
  return { tries }
}

await runCommand({ name: 'failover', usage: USAGE, read, run })
