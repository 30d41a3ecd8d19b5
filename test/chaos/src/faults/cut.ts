/** A file that loses its end. The peer must refuse to start with what is left, and comes back as one that lost all. */
import type { RandomSource } from '@quire/testing'
import { readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { OwnPeer } from '../cluster/own-peer.js'
import type { OwnFault } from './fault.js'
import { withFollower } from './members.js'

/** The newest segment of the log, its hard state, or the pages. */
function pick({ dataDir }: OwnPeer, random: RandomSource): string {
  const newest = readdirSync(join(dataDir, 'log'))
    .filter((name) => name.endsWith('.log'))
    .sort()
    .at(-1)!
  return random.pick([`log/${newest}`, 'log/hard-state', 'pages/pages.lmdb'])
}

/** Takes the second half or more off a file. Returns the bytes that are left. */
function cut(path: string, random: RandomSource): number {
  const left = random.int(0, Math.floor(statSync(path).size / 2))
  truncateSync(path, left)
  return left
}

async function refusal(peer: OwnPeer, file: string): Promise<string> {
  try {
    await peer.start()
  } catch (error) {
    return (error as Error).message
  }
  throw new Error(`${peer.name} serves although ${file} was cut`)
}

export const fileCut: OwnFault = {
  kind: 'rot',
  name: 'file cut',
  lane: 'processes',
  perMinute: 0.1,
  needs: 'the files of a peer',
  async make(world, begins) {
    const { cluster, random } = world
    await withFollower(world, async (peer) => {
      await peer.kill()
      peer.isRotten = true
      const file = pick(peer, random)
      begins(`${peer.name}: ${file} has ${cut(join(peer.dataDir, file), random)} bytes left`)
      const message = await refusal(peer, file)
      if (!message.includes('ERR_CORRUPT')) throw new Error(message)
      await cluster.wipe(peer)
    })
  }
}
