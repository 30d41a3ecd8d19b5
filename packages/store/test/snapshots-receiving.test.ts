import { CorruptionError, NoSpaceError } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryStorage, type BackendStorage } from '../src/pages/index.js'
import { filled, writebackLog } from './state-helpers.js'
import { snapshotAt, SnapshotPeer, type SnapshotPeerInit } from './support/snapshot-peer.js'
import { INDEX, piecesOf, rowsOf, storageWith } from './support/snapshot-rows.js'

let clock: FakeClock
let leader: SnapshotPeer
let follower: SnapshotPeer
/** The snapshot of the leader. */
let index: number
const peers: SnapshotPeer[] = []

beforeEach(async () => {
  clock = new FakeClock()
  leader = start()
  follower = start()
  index = await leader.hold(10)
})

afterEach(async () => {
  for (const peer of peers.splice(0)) await peer.close()
  expect(clock.pending).toBe(0)
})

function start(init: SnapshotPeerInit = {}): SnapshotPeer {
  const peer = new SnapshotPeer(clock, init)
  peers.push(peer)
  return peer
}

describe('a follower that installs a snapshot', () => {
  it('a follower that installs a snapshot shows the new state in the same object, and goes on from there', async () => {
    await follower.hold(2)
    const { state } = follower.applier
    await follower.receive(leader, index)
    expect(follower.digest).not.toBe(leader.digest)
    await follower.install(index)
    expect(follower.applier.state).toBe(state)
    expect([follower.applier.appliedIndex, follower.applier.durableIndex]).toEqual([index, index])
    expect(follower.applier.installed).toEqual(snapshotAt(index))
    expect(state.digest()).toBe(leader.digest)
    expect(state.page(2, 9).bytes).toEqual(filled(10))
    await follower.hold(20)
    await leader.hold(20)
    expect(follower.digest).toBe(leader.digest)
    expect(follower.events.filter((event) => !event.startsWith('checkpoint'))).toEqual([`installed ${index}`])
  })

  it('a follower that installs a snapshot tells how much of it has arrived', async () => {
    expect(follower.snapshots.receiving).toBeUndefined()
    let receivedBytes = 0
    await leader.send('follower', index, async (offset, data) => {
      await follower.write(index, offset, data)
      receivedBytes = offset + data.length
      expect(follower.snapshots.receiving).toEqual({ index, receivedBytes })
    })
    expect(receivedBytes).toBeGreaterThan(0)
    await follower.install(index)
    expect(follower.snapshots.receiving).toBeUndefined()
  })

  it('a follower that installs a snapshot drops the pieces of an earlier attempt', async () => {
    const first = await leader.read('follower', index, 0)
    await follower.write(index, 0, first!.data)
    await follower.receive(leader, index)
    await follower.install(index)
    expect(follower.digest).toBe(leader.digest)
  })

  it('a follower that installs a snapshot ends the transfers that it began as a leader', async () => {
    const own = await follower.hold(2)
    const first = await follower.read('other', own, 0)
    expect(follower.snapshots.heldIndex).toBe(own)
    await follower.receive(leader, index)
    await follower.install(index)
    expect(follower.snapshots.heldIndex).toBeUndefined()
    expect(follower.openViews).toBe(0)
    expect(await follower.read('other', own, first!.data.length)).toBeUndefined()
    expect(await follower.read('other', index, 0)).toBeDefined()
  })

  it('a follower that installs a snapshot lets a checkpoint that runs end first', async () => {
    await follower.receive(leader, index)
    await follower.applier.apply(writebackLog(2))
    follower.diskMs = 1_000
    const checkpoint = follower.applier.checkpoint()
    follower.diskMs = 1
    const installing = follower.snapshots.install(snapshotAt(index))
    await clock.advance(900)
    expect(follower.events).toEqual([])
    expect(follower.applier.usage()).toBeUndefined()
    await follower.run(installing)
    await checkpoint
    expect(follower.events).toEqual(['checkpoint 6', `installed ${index}`])
    expect(follower.applier.usage()).toEqual(follower.memory.open().usage())
    expect(follower.digest).toBe(leader.digest)
  })

  it('a follower that installs a snapshot ends a checkpoint that waits for space', async () => {
    follower = start({ checkpointIntervalMs: 10, retryMs: 1_000_000 })
    await follower.receive(leader, index)
    await follower.applier.apply(writebackLog(2))
    follower.memory.failWith(new NoSpaceError('disk'))
    await clock.advance(100)
    expect(follower.events).toEqual(['pages: NoSpaceError'])
    follower.memory.failWith(undefined)
    await follower.install(index)
    expect(clock.now()).toBeLessThan(1_000)
    expect(follower.events).toEqual(['pages: NoSpaceError', 'pages: room', `installed ${index}`])
    expect(follower.digest).toBe(leader.digest)
  })
})

describe('a crash during an installation', () => {
  /** Where the crash comes: after this many writes of the disk, during the next one, which it loses or keeps. */
  const crashes = [
    { writes: 0, keepPending: false, shows: 'former' },
    { writes: 0, keepPending: true, shows: 'former' },
    { writes: 1, keepPending: false, shows: 'former' },
    { writes: 1, keepPending: true, shows: 'new' },
    { writes: 2, keepPending: false, shows: 'new' }
  ] as const

  it.each(crashes)(
    'a crash during an installation after $writes writes leaves the $shows state (the write under way is kept: $keepPending)',
    async ({ writes, keepPending, shows }) => {
      const former = await follower.hold(2)
      const digests = { former: follower.digest, new: leader.digest }
      await follower.receive(leader, index)
      const begun = clock.now()
      follower.diskMs = 100
      void follower.snapshots.install(snapshotAt(index))
      // The first write is that of the last rows, the second one adopts them.
      await clock.advance(100 * writes + 50)
      expect(clock.now()).toBe(begun + 100 * writes + 50)
      expect(follower.events.includes(`installed ${index}`)).toBe(writes === 2)
      follower.memory.crash({ keepPending })
      peers.splice(peers.indexOf(follower), 1)
      const next = start({ memory: follower.memory })
      expect(next.digest).toBe(digests[shows])
      expect(next.applier.durableIndex).toBe(shows === 'new' ? index : former)
      expect(next.applier.installed).toEqual(shows === 'new' ? snapshotAt(index) : undefined)
      // Nothing comes of a write that the crash has ended.
      await clock.advance(100)
      expect(next.memory.open().usage()).toEqual(next.applier.usage())
      expect(next.digest).toBe(digests[shows])
    }
  )
})

const DAMAGED_PAGE = expect.stringMatching(/^page \d of file 2: the checksum of the page does not match$/)

describe('a snapshot that is no snapshot', () => {
  let former: string
  let pieces: Uint8Array[]

  beforeEach(async () => {
    await follower.hold(2)
    former = follower.digest
    pieces = []
    await leader.send('test', index, (_offset, data) => Promise.resolve(void pieces.push(data)))
    expect(pieces.length).toBeGreaterThan(3)
  })

  async function write(given: readonly Uint8Array[]): Promise<void> {
    let offset = 0
    for (const data of given) {
      await follower.write(index, offset, data)
      offset += data.length
    }
  }

  /** The former state is there, in memory and on disk, and another transfer succeeds. */
  async function expectNothingChanged(): Promise<void> {
    expect(follower.digest).toBe(former)
    const again = start({ memory: follower.memory.copy() })
    expect(again.digest).toBe(former)
    expect(again.applier.installed).toBeUndefined()
    await write(pieces)
    await follower.install(index)
    expect(follower.digest).toBe(leader.digest)
  }

  it('a snapshot with a damaged piece is refused when it is complete, and changes nothing', async () => {
    const damaged = pieces[1]!.slice()
    // The last byte of the piece is that of its last page.
    damaged[damaged.length - 1]! ^= 1
    await write(pieces.with(1, damaged))
    await expect(follower.install(index)).rejects.toThrow(
      expect.objectContaining({ name: 'CorruptionError', where: `snapshot ${index}`, reason: DAMAGED_PAGE })
    )
    await expectNothingChanged()
  })

  it('a snapshot without one of its pieces is refused, and changes nothing', async () => {
    for (const at of [1, pieces.length - 1]) {
      await write(pieces.toSpliced(at, 1))
      await expect(follower.install(index), `piece ${at}`).rejects.toThrow(CorruptionError)
    }
    await expectNothingChanged()
  })

  it('a snapshot of another entry than its name says is refused, and changes nothing', async () => {
    for (let at = 0, offset = 0; at < pieces.length; offset += pieces[at++]!.length) {
      await follower.write(index + 1, offset, pieces[at]!)
    }
    await expect(follower.install(index + 1)).rejects.toThrow(/are those of entry 22, not of entry 23/)
    await expectNothingChanged()
  })

  it('a snapshot whose pieces a restart has lost is refused', async () => {
    await expect(follower.install(index)).rejects.toThrow('its pieces are gone')
    await write(pieces)
    await expect(follower.install(index + 1)).rejects.toThrow('its pieces are gone')
    follower = start({ memory: follower.memory })
    await follower.write(index, pieces[0]!.length, pieces[1]!)
    await expect(follower.install(index)).rejects.toThrow('its pieces are gone')
    await expectNothingChanged()
  })
})

describe('a full disk', () => {
  /** More than one commit takes. */
  const PAGES = 80
  const FULL = 'snapshot: NoSpaceError'
  let pieces: Uint8Array[]
  let expected: string[]

  beforeEach(async () => {
    const storage = await storageWith((store) => {
      for (let page = 0; page < PAGES; page++) store.write(1, page, { version: 1, bytes: filled(page, 65_536) })
    })
    pieces = piecesOf(storage, 256 * 1024)
    expected = rowsOf(storage.open())
  })

  async function write(given: readonly Uint8Array[]): Promise<void> {
    let offset = 0
    for (const data of given) {
      await follower.snapshots.write(snapshotAt(INDEX), offset, data)
      offset += data.length
    }
  }

  it('a follower writes the pieces of a large snapshot in several commits of about 4 MiB', async () => {
    const commits: number[] = []
    let rows = 0
    const incoming = follower.memory.openIncoming.bind(follower.memory)
    follower.memory.openIncoming = () => {
      const backend = incoming()
      const commit = backend.commit.bind(backend)
      backend.commit = (changes, bytes) => {
        commits.push(bytes!)
        rows += [...changes].length
        return commit(changes, bytes)
      }
      return backend
    }
    await follower.run(write(pieces))
    await follower.install(INDEX)
    expect(commits).toHaveLength(2)
    expect(commits[0]).toBeGreaterThanOrEqual(4 * 1024 * 1024)
    expect(commits[0]).toBeLessThan(4.5 * 1024 * 1024)
    expect(commits[0]! + commits[1]!).toBe(pieces.reduce((sum, { length }) => sum + length, 0))
    // And the record of the installation.
    expect(rows).toBe(expected.length + 1)
  })

  it('a follower whose disk is full while it receives a snapshot reports this once, tries again each second, and goes on when there is room', async () => {
    follower.memory.failWith(new NoSpaceError('disk'))
    let isOver = false
    const writing = write(pieces).then(() => (isOver = true))
    await clock.advance(10_500)
    expect(isOver).toBe(false)
    expect(follower.events).toEqual([FULL])
    follower.memory.failWith(undefined)
    await clock.advance(1_100)
    expect(isOver).toBe(true)
    await writing
    expect(follower.events).toEqual([FULL, 'snapshot: room'])
    await follower.install(INDEX)
    expect(follower.events).toEqual([FULL, 'snapshot: room', `installed ${INDEX}`])
    expect(rowsOf(follower.memory.open()).filter((row) => !row.startsWith('records 0a'))).toEqual(expected)
  })

  it('a follower whose disk is full when it installs a snapshot reports this once, and goes on when there is room', async () => {
    await follower.receive(leader, index)
    follower.memory.failWith(new NoSpaceError('disk'))
    const installing = follower.snapshots.install(snapshotAt(index))
    await clock.advance(10_000)
    expect(follower.events).toEqual([FULL])
    follower.memory.failWith(undefined)
    await follower.run(installing)
    expect(follower.events).toEqual([FULL, 'snapshot: room', `installed ${index}`])
    expect(follower.digest).toBe(leader.digest)
  })

  it('a follower whose disk has no room for a file of incoming rows waits for it', async () => {
    let isFull = true
    const memory = createMemoryStorage({ schedule: (callback) => clock.schedule(1, callback) })
    const storage: BackendStorage = {
      open: () => memory.open(),
      openIncoming: () => {
        if (isFull) throw new NoSpaceError('incoming')
        return memory.openIncoming()
      },
      adoptIncoming: () => memory.adoptIncoming()
    }
    follower = start({ storage })
    const first = await leader.read('follower', index, 0)
    const writing = follower.snapshots.write(snapshotAt(index), 0, first!.data)
    await clock.advance(10_000)
    expect(follower.events).toEqual([FULL])
    isFull = false
    await follower.run(writing)
    expect(follower.events).toEqual([FULL, 'snapshot: room'])
    await leader.send('follower', index, async (offset, data) => {
      if (offset > 0) await follower.write(index, offset, data)
    })
    await follower.install(index)
    expect(follower.digest).toBe(leader.digest)
  })

  it('a follower that stops while it waits for room to receive a snapshot ends the call, and changes nothing', async () => {
    follower.memory.failWith(new NoSpaceError('disk'))
    const writing = write(pieces)
    await clock.advance(5_000)
    expect(follower.events).toEqual([FULL])
    follower.snapshots.stop()
    await writing
    await follower.snapshots.close()
    expect(follower.applier.appliedIndex).toBe(0)
    expect(follower.snapshots.receiving).toBeUndefined()
  })

  it('a follower that stops while it waits for room to install a snapshot ends the call, and changes nothing', async () => {
    await follower.hold(2)
    const { digest } = follower
    await follower.receive(leader, index)
    follower.memory.failWith(new NoSpaceError('disk'))
    const installing = follower.snapshots.install(snapshotAt(index))
    await clock.advance(5_000)
    follower.snapshots.stop()
    await installing
    expect(follower.events).toEqual(['checkpoint 6', FULL])
    expect(follower.digest).toBe(digest)
    expect(start({ memory: follower.memory.copy() }).digest).toBe(digest)
  })
})
