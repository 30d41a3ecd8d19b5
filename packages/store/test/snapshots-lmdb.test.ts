import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeClock } from '@quire/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createLmdbStorage } from '../src/pages/index.js'
import { snapshotAt, SnapshotPeer } from './support/snapshot-peer.js'

const clock = new FakeClock()
let folder: string
const peers: SnapshotPeer[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-snapshots-'))
})

afterEach(async () => {
  for (const peer of peers.splice(0)) {
    await peer.close()
    expect(peer.openViews).toBe(0)
  }
  await rm(folder, { recursive: true, force: true })
})

/** Starts a peer on the files of a folder of that name. */
async function start(name: string): Promise<SnapshotPeer> {
  await mkdir(join(folder, name), { recursive: true })
  const storage = createLmdbStorage({ folder: join(folder, name), probe: false })
  // Virtual time stands still, so nothing may wait for its turn.
  const peer = new SnapshotPeer(clock, { storage, isReal: true, limits: { bytesPerSecond: Infinity } })
  peers.push(peer)
  return peer
}

async function stop(peer: SnapshotPeer): Promise<void> {
  peers.splice(peers.indexOf(peer), 1)
  await peer.close()
}

describe('snapshots on LMDB', () => {
  it('a snapshot on LMDB stays the same while checkpoints follow, and becomes the file of the pages of the follower', async () => {
    const [leader, follower] = [await start('leader'), await start('follower')]
    await follower.hold(3)
    let pages = 40
    const index = await leader.hold(pages)
    const { digest } = leader
    const { state } = follower.applier
    await leader.send('follower', index, async (offset, data) => {
      await follower.write(index, offset, data)
      await leader.hold(++pages)
    })
    expect(pages).toBeGreaterThan(60)
    expect(await readdir(join(folder, 'follower'))).toContain('incoming.lmdb')
    await follower.install(index)
    expect(follower.applier.state).toBe(state)
    expect(follower.digest).toBe(digest)
    expect((await readdir(join(folder, 'follower'))).filter((name) => name.startsWith('incoming'))).toEqual([])

    await stop(follower)
    const again = await start('follower')
    expect(again.digest).toBe(digest)
    expect(again.applier.installed).toEqual(snapshotAt(index))
    await again.hold(pages)
    expect(again.digest).toBe(leader.digest)
    expect(again.applier.installed).toBeUndefined()
  })

  it('a snapshot on LMDB that was not installed leaves the former state, and no file after the next start', async () => {
    const [leader, follower] = [await start('leader'), await start('follower')]
    await follower.hold(3)
    const { digest } = follower
    await follower.receive(leader, await leader.hold(20))
    await stop(follower)
    const again = await start('follower')
    expect(again.digest).toBe(digest)
    expect((await readdir(join(folder, 'follower'))).filter((name) => name.startsWith('incoming'))).toEqual([])
  })
})
