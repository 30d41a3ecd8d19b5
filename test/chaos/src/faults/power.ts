/** Machines that lose their power: what was not flushed is lost, or torn, or has a former name (`power/`). */
import { createRandomSource } from '@quire/testing'
import { dirname, join } from 'node:path'
import type { OwnPeer } from '../cluster/own-peer.js'
import { losePower } from '../power/restore.js'
import { buildPowerShim, whyNoPowerShim, type PowerFolders, type PowerShim } from '../power/shim.js'
import { oftenTheLeader, type OwnFault } from './fault.js'

/** By the folder of a run: one for all its peers. */
const shims = new Map<string, Promise<PowerShim | undefined>>()

function foldersOf(peer: OwnPeer): PowerFolders {
  return { root: peer.dataDir, journal: join(peer.folder, 'journal'), limbo: join(peer.disk, 'limbo') }
}

export const loseThePower: OwnFault = {
  kind: 'power',
  name: 'power lost',
  lane: 'processes',
  perMinute: 0.3,
  needs: 'the disk of a peer',
  whyNot: whyNoPowerShim,
  async prepare(peer) {
    const place = dirname(peer.folder)
    const building = shims.get(place) ?? buildPowerShim(place)
    shims.set(place, building)
    const shim = (await building)!
    const folders = foldersOf(peer)
    peer.interposed.set('power', shim.environment(folders))
    peer.notes.push(folders.journal, folders.limbo)
    // The machine of a peer that was only killed goes on, and its kernel writes everything.
    const random = createRandomSource(0)
    peer.beforeStart.push(() => void losePower({ ...folders, random, lose: 'nothing' }))
  },
  async make(world, begins) {
    const { cluster, random, pause } = world
    const some = random.is(0.4) ? [...cluster.members] : [await oftenTheLeader(world, cluster.members)]
    await Promise.all(some.map((peer) => peer.kill()))
    const lose = random.is(0.3) ? 'everything' : 'random'
    const losses = some.map((peer) => losePower({ ...foldersOf(peer), random, lose }))
    const sum = (count: (loss: (typeof losses)[number]) => number): number =>
      losses.reduce((total, loss) => total + count(loss), 0)
    const writes = `${sum((loss) => loss.writes.dropped)} writes lost and ${sum((loss) => loss.writes.torn)} torn`
    begins(`${some.map(({ name }) => name).join(', ')}: ${writes}, ${sum((loss) => loss.names.undone)} names undone`)
    await pause(random.between(0, 4_000))
    await Promise.all(some.map((peer) => peer.start()))
  }
}
