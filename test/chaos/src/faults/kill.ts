import { KILLS } from '../cluster/given-file.js'
import type { Fault, World } from './fault.js'

/** How long a killed peer is away. */
const MAX_AWAY_MS = 4_000

async function away({ random, pause }: World): Promise<void> {
  await pause(random.between(0, MAX_AWAY_MS))
}

export const killLeader: Fault = {
  kind: 'kill',
  name: 'leader killed',
  lane: 'processes',
  perMinute: 1.25,
  needs: KILLS,
  async make(world, begins) {
    const { killable, operator } = world.cluster
    const { name } = (await operator.leader()) ?? {}
    const leader = killable.find((peer) => peer.name === name)
    if (leader === undefined) return
    begins(leader.name)
    await leader.kill()
    await away(world)
    await leader.start()
  }
}

export const killPeers: Fault = {
  kind: 'kill',
  name: 'peers killed',
  lane: 'processes',
  perMinute: 0.4,
  needs: KILLS,
  async make(world, begins) {
    const { random } = world
    const { killable } = world.cluster
    const count = random.int(1, killable.length)
    const from = random.int(0, killable.length - 1)
    const peers = Array.from({ length: count }, (_, i) => killable[(from + i) % killable.length]!)
    begins(peers.map(({ name }) => name).join(', '))
    await Promise.all(peers.map((peer) => peer.kill()))
    await away(world)
    await Promise.all(peers.map((peer) => peer.start()))
  }
}

/** What the client has not flushed is lost when its lease ends. */
export const killClient: Fault = {
  kind: 'kill',
  name: 'client killed',
  lane: 'processes',
  perMinute: 0.3,
  needs: undefined,
  async make(world, begins) {
    const client = world.random.pick(world.clients)
    begins(client.name)
    await client.kill()
    await away(world)
    await world.replace(client)
  }
}
