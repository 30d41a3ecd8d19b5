import { ADMIN } from '../cluster/given-file.js'
import type { OwnCluster } from '../cluster/own-cluster.js'
import type { OwnPeer } from '../cluster/own-peer.js'
import type { Fault, OwnFault, World } from './fault.js'

/** Does something to a follower. Without a leader, nothing is certain to be one, and nothing happens. */
export async function withFollower(
  { cluster }: World<OwnCluster>,
  make: (follower: OwnPeer) => Promise<unknown>
): Promise<void> {
  const leader = await cluster.operator.leader()
  const follower = leader && cluster.members.find((peer) => peer !== leader)
  if (follower !== undefined) await make(follower)
}

const VOTERS = 3
const HAND_OVER_MS = 60_000

/** A peer joins, or leaves: the cluster has three voters, or four. */
export const growOrShrink: OwnFault = {
  kind: 'members',
  name: 'members changed',
  lane: 'processes',
  needs: 'a machine for another peer',
  perMinute: 0.2,
  async make(world, begins) {
    const { cluster } = world
    if (cluster.members.length > VOTERS) {
      await withFollower(world, async (leaving) => {
        begins(`${leaving.name} is removed`)
        await cluster.shrink(leaving)
      })
      return
    }
    begins('a peer joins')
    await cluster.grow()
  }
}

export const replaceVoter: OwnFault = {
  kind: 'members',
  name: 'voter replaced',
  lane: 'processes',
  needs: 'a machine for another peer',
  perMinute: 0.1,
  make(world, begins) {
    return withFollower(world, async (lost) => {
      begins(`${lost.name} is lost with its key`)
      await world.cluster.replace(lost)
    })
  }
}

export const loseDisk: OwnFault = {
  kind: 'members',
  name: 'disk lost',
  lane: 'processes',
  needs: 'the folder of a peer',
  perMinute: 0.1,
  make(world, begins) {
    return withFollower(world, async (lost) => {
      begins(`${lost.name} comes back with an empty folder`)
      await world.cluster.wipe(lost)
    })
  }
}

export const roll: OwnFault = {
  kind: 'members',
  name: 'rolling restart',
  lane: 'processes',
  needs: 'the options of its peers',
  perMinute: 0.125,
  async make({ cluster }, begins) {
    begins(`${cluster.members.length} peers`)
    await cluster.roll()
  }
}

/** A follower is away until the log has dropped what it lacks. */
export const lagBehind: OwnFault = {
  kind: 'members',
  name: 'snapshot forced',
  lane: 'processes',
  needs: 'the options of its peers',
  perMinute: 0.2,
  make(world, begins) {
    return withFollower(world, async (away) => {
      begins(`${away.name} is away until the log has dropped what it lacks`)
      await away.kill()
      await world.cluster.outgrowLog()
      await away.start()
    })
  }
}

export const handOver: Fault = {
  kind: 'members',
  name: 'leadership handed over',
  lane: 'processes',
  perMinute: 0.25,
  needs: ADMIN,
  async make({ cluster }, begins) {
    const leader = await cluster.operator.leader()
    if (leader === undefined) return
    begins(`${leader.name} leads no longer`)
    await cluster.operator.insist({ type: 'transferLeadership', id: '' }, HAND_OVER_MS)
  }
}
