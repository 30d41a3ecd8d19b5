/** A run on the cluster of a user. Its clients live on this machine. */
import { createDsmClient } from '@quire/dsm-client'
import { join } from 'node:path'
import { GivenCluster } from './cluster/given-cluster.js'
import { offersOf, type GivenFile } from './cluster/given-file.js'
import type { Fault } from './faults/fault.js'
import { makeLoopback } from './machines/loopback.js'
import { run, type Outcome, type RunSettings } from './run.js'

/** Why a fault cannot be made on this cluster; undefined if it can. */
export function whyNotGiven(file: GivenFile): ({ needs }: Pick<Fault, 'needs'>) => string | undefined {
  const offers = offersOf(file)
  return ({ needs }) => (needs === undefined || offers.has(needs) ? undefined : `it needs ${needs}`)
}

export async function runOnGivenCluster(
  file: GivenFile,
  faults: readonly Fault[],
  settings: RunSettings
): Promise<Outcome> {
  settings.log('connecting to the cluster')
  await using cluster = await GivenCluster.open(file, join(settings.folder, 'commands.log'))
  endOnSignal(cluster)
  // The cluster may have files of another run.
  const place = `/chaos-${Date.now()}`
  const outcome = await run({ ...settings, cluster, faults, machines: makeLoopback(), place })
  await removeFiles(cluster, place)
  return outcome
}

/** A user who interrupts a run gets back a cluster whose peers all run. */
function endOnSignal(cluster: GivenCluster): void {
  const end = async (): Promise<void> => {
    console.log('interrupted: healing the cluster')
    await cluster.end().catch((error: unknown) => console.log((error as Error).message))
    process.exit(1)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void end())
}

async function removeFiles({ addresses }: GivenCluster, place: string): Promise<void> {
  await using client = await createDsmClient({ peers: addresses })
  for await (const { path } of client.list(`${place}/`)) await client.unlink(path)
}
