import { ADMIN } from '../cluster/given-file.js'
import type { OwnCluster } from '../cluster/own-cluster.js'
import type { OwnPeer } from '../cluster/own-peer.js'
import type { Fault, OwnFault, World } from './fault.js'

/** Does something to a follower. Without a leader, nothing is certain to be one, and nothing happens. */
async function withFollower(
  { cluster }: World<OwnCluster>,
  begins: (what: string) => void,
  what: (name: string) => string,
  make: (follower: OwnPeer) => Promise<unknown>
): Promise<void> {
  const leader = await cluster.operator.leader()
  const follower = leader && cluster.members.find((peer) => peer !== leader)
  if (follower === undefined) return
  begins(what(follower.name))
  await make(follower)
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
      await withFollower(
        world,
        begins,
        (name) => `${name} is removed`,
        (leaving) => cluster.shrink(leaving)
      )
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
    return withFollower(
      world,
      begins,
      (name) => `${name} is lost with its key`,
      (lost) => world.cluster.replace(lost)
    )
  }
}

export const loseDisk: OwnFault = {
  kind: 'members',
  name: 'disk lost',
  lane: 'processes',
  needs: 'the folder of a peer',
  perMinute: 0.1,
  make(world, begins) {
    const what = (name: string): string => `${name} comes back with an empty folder`
    return withFollower(world, begins, what, (lost) => world.cluster.wipe(lost))
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
    const what = (name: string): string => `${name} is away until the log has dropped what it lacks`
    return withFollower(world, begins, what, async (away) => {
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
