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
  // The cluster may have files of another run.
  const place = `/chaos-${Date.now()}`
  endOnSignal(cluster, place)
  const outcome = await run({ ...settings, cluster, faults, machines: makeLoopback(), place })
  await removeFiles(cluster, place)
  return outcome
}

/** The status of a program that SIGINT has ended, as shells have it. */
const INTERRUPTED = 130

/** A user who interrupts a run gets back a cluster whose peers all run. Its files stay: clients still work on them. */
function endOnSignal(cluster: GivenCluster, place: string): void {
  const end = async (): Promise<void> => {
    console.log(`interrupted: healing the cluster; the run's files stay in ${place}`)
    await cluster.end().catch((error: unknown) => console.log((error as Error).message))
    process.exit(INTERRUPTED)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void end())
}

async function removeFiles({ addresses }: GivenCluster, place: string): Promise<void> {
  await using client = await createDsmClient({ peers: addresses })
  for await (const { path } of client.list(`${place}/`)) await client.unlink(path)
}
