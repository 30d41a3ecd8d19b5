/** A run on a cluster of its own, on machines of its own where this process may make them. */
import { join } from 'node:path'
import { OwnCluster } from './cluster/own-cluster.js'
import type { OwnPeer } from './cluster/own-peer.js'
import type { OwnFault } from './faults/fault.js'
import { makeLoopback } from './machines/loopback.js'
import { isInHub, makeNamespaces } from './machines/namespaces.js'
import { run, type Outcome, type RunSettings } from './run.js'

const VOTERS = 3

export async function runOnOwnCluster(faults: readonly OwnFault[], settings: RunSettings): Promise<Outcome> {
  const { folder, log } = settings
  await using machines = isInHub() ? await makeNamespaces(folder) : makeLoopback()
  log('starting the cluster')
  const prepare = async (peer: OwnPeer): Promise<void> => {
    for (const fault of faults) await fault.prepare?.(peer)
  }
  const release = async (peer: OwnPeer): Promise<void> => {
    for (const fault of faults) await fault.release?.(peer)
  }
  await using cluster = await OwnCluster.start({
    machines,
    folder: join(folder, 'peers'),
    voters: VOTERS,
    prepare,
    release
  })
  return await run({ ...settings, cluster, faults, machines, place: '' })
}
