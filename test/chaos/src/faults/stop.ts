import { STOPS } from '../cluster/given-file.js'
import { oftenTheLeader, type Fault } from './fault.js'

/** Long enough for elections, and for leases to run out. */
const MAX_STOP_MS = 15_000

export const stopPeer: Fault = {
  kind: 'stop',
  name: 'peer stopped',
  lane: 'processes',
  perMinute: 0.4,
  needs: STOPS,
  async make(world, begins) {
    const { cluster, random, pause } = world
    const peer = await oftenTheLeader(world, cluster.stoppable)
    begins(peer.name)
    await peer.pause()
    await pause(random.exponential(MAX_STOP_MS / 3))
    await peer.resume()
  }
}

export const stopClient: Fault = {
  kind: 'stop',
  name: 'client stopped',
  needs: undefined,
  lane: 'processes',
  perMinute: 0.3,
  async make({ clients, random, pause }, begins) {
    const client = random.pick(clients)
    begins(client.name)
    client.pause()
    await pause(random.between(1_000, MAX_STOP_MS))
    client.resume()
  }
}
