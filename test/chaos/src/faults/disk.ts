/** Disks that are full. Each peer has a file system of its own in memory, because a run can set its size. */
import { mkdirSync, statfsSync } from 'node:fs'
import { command } from '../machines/command.js'
import { whyNoHub } from '../machines/namespaces.js'
import { oftenTheLeader, type OwnFault } from './fault.js'

const MIB = 1024 * 1024
const SIZE = 1024 * MIB
const FILL_TRIES = 20

async function resize(disk: string, bytes: number): Promise<void> {
  await command(['mount', '-o', `remount,size=${bytes}`, disk])
}

/** Leaves no room on the disk. */
async function fill(disk: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { bsize, blocks, bfree } = statfsSync(disk)
    try {
      return await resize(disk, (blocks - bfree) * bsize)
    } catch (error) {
      // The peer has stored more since the look, and no file system may be smaller than its content.
      if (tries === FILL_TRIES) throw error
    }
  }
}

export const diskFull: OwnFault = {
  kind: 'disk',
  name: 'disk full',
  lane: 'processes',
  perMinute: 0.3,
  needs: 'the disk of a peer',
  // Mounts of the hub end with it.
  whyNot: whyNoHub,
  async prepare({ disk }) {
    mkdirSync(disk, { recursive: true })
    await command(['mount', '-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', disk])
  },
  async release({ disk }) {
    await command(['umount', '--lazy', disk])
  },
  async make(world, begins) {
    const { cluster, random, pause } = world
    const some = random.is(0.2) ? [...cluster.members] : [await oftenTheLeader(world, cluster.members)]
    begins(some.map(({ name }) => name).join(', '))
    try {
      for (const { disk } of some) await fill(disk)
      await pause(random.between(2_000, 12_000))
    } finally {
      for (const { disk } of some) await resize(disk, SIZE)
    }
  }
}
