import type { ChaosCluster } from '../cluster/cluster.js'
import type { Peer } from '../cluster/peer.js'
import type { Fault } from './fault.js'

async function follower(cluster: ChaosCluster): Promise<Peer | undefined> {
  const leader = await cluster.leader()
  return leader && cluster.members.find((peer) => peer !== leader)
}

const VOTERS = 3

/** A peer joins, or leaves: the cluster has three voters, or four. */
export const growOrShrink: Fault = {
  kind: 'members',
  name: 'members changed',
  lane: 'processes',
  perMinute: 0.2,
  async make({ cluster }, begins) {
    if (cluster.members.length <= VOTERS) {
      begins('a peer joins')
      await cluster.grow()
      return
    }
    const leaving = await follower(cluster)
    if (leaving === undefined) return
    begins(`${leaving.name} is removed`)
    await cluster.shrink(leaving)
  }
}

export const replaceVoter: Fault = {
  kind: 'members',
  name: 'voter replaced',
  lane: 'processes',
  perMinute: 0.1,
  async make({ cluster }, begins) {
    const lost = await follower(cluster)
    if (lost === undefined) return
    begins(`${lost.name} is lost with its key`)
    await cluster.replace(lost)
  }
}

export const loseDisk: Fault = {
  kind: 'members',
  name: 'disk lost',
  lane: 'processes',
  perMinute: 0.1,
  async make({ cluster }, begins) {
    const lost = await follower(cluster)
    if (lost === undefined) return
    begins(`${lost.name} comes back with an empty folder`)
    await cluster.wipe(lost)
  }
}

export const roll: Fault = {
  kind: 'members',
  name: 'rolling restart',
  lane: 'processes',
  perMinute: 0.125,
  async make({ cluster }, begins) {
    begins(`${cluster.members.length} peers`)
    await cluster.roll()
  }
}

/** A follower is away until the log has dropped what it lacks. */
const AWAY_MS = 12_000

export const lagBehind: Fault = {
  kind: 'members',
  name: 'snapshot forced',
  lane: 'processes',
  perMinute: 0.2,
  async make({ cluster, pause }, begins) {
    const away = await follower(cluster)
    if (away === undefined) return
    begins(`${away.name} is away for ${AWAY_MS / 1_000} s`)
    await away.kill()
    await pause(AWAY_MS)
    await away.start()
  }
}
