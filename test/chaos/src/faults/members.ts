import type { Peer } from '../cluster/peer.js'
import type { Fault, World } from './fault.js'

/** Does something to a follower. Without a leader, nothing is certain to be one, and nothing happens. */
async function withFollower(
  { cluster }: World,
  begins: (what: string) => void,
  what: (name: string) => string,
  make: (follower: Peer) => Promise<unknown>
): Promise<void> {
  const leader = await cluster.leader()
  const follower = leader && cluster.members.find((peer) => peer !== leader)
  if (follower === undefined) return
  begins(what(follower.name))
  await make(follower)
}

const VOTERS = 3

/** A peer joins, or leaves: the cluster has three voters, or four. */
export const growOrShrink: Fault = {
  kind: 'members',
  name: 'members changed',
  lane: 'processes',
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

export const replaceVoter: Fault = {
  kind: 'members',
  name: 'voter replaced',
  lane: 'processes',
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

export const loseDisk: Fault = {
  kind: 'members',
  name: 'disk lost',
  lane: 'processes',
  perMinute: 0.1,
  make(world, begins) {
    const what = (name: string): string => `${name} comes back with an empty folder`
    return withFollower(world, begins, what, (lost) => world.cluster.wipe(lost))
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
export const lagBehind: Fault = {
  kind: 'members',
  name: 'snapshot forced',
  lane: 'processes',
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
