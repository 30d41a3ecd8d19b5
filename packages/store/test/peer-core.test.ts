import {
  CorruptionError,
  MAX_CONTROL_FRAME_BYTES,
  MAX_REASON_BYTES,
  MAX_SENT_SNAPSHOTS,
  NoSpaceError,
  encodeFrame,
  leaderMessage,
  type RaftSnapshot
} from '@quire/protocol'
import { ChangePendingError, NotLeaderError } from '@quire/raft'
import { describe, expect, it } from 'vitest'
import { formatClusterFile, normalizeCluster, parseClusterFile } from '../src/peer/cluster.js'
import { LONE, LonePeer } from './support/lone-peer.js'

const MOST = Number.MAX_SAFE_INTEGER

/** Memtables that a few entries fill. */
const SMALL = { maxMemtableBytes: 8192 }

describe('damaged page stores', () => {
  it('a peer whose page store is damaged does not start, and leaves the store closed', async () => {
    const peer = new LonePeer()
    let closed = 0
    const open = peer.pages.open.bind(peer.pages)
    peer.pages.open = () => {
      const backend = open()
      const close = backend.close.bind(backend)
      backend.get = () => {
        throw new CorruptionError('pages', 0, 'bad checksum')
      }
      backend.close = () => {
        closed++
        return close()
      }
      return backend
    }
    await expect(peer.start()).rejects.toThrow(CorruptionError)
    expect(closed).toBe(1)
  })
})

describe('the status of a peer', () => {
  it('the status of a peer fits a control frame in the largest cluster, with the longest addresses, reasons and figures', async () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz'
    const ids = [LONE, ...Array.from({ length: 63 }, (_, i) => LONE.slice(0, -2) + letters[i % 26] + (1 + (i % 7)))]
    const members = [...new Set(ids)].map((peerId) => ({
      peerId,
      incarnation: '',
      addresses: Array.from({ length: 16 }, (_, i) => `/dns4/${'a'.repeat(253)}/tcp/${i + 1}`)
    }))
    expect(members).toHaveLength(64)
    const peer = new LonePeer({ config: { members } })
    // It is one voter of many, so it finds no leader.
    await peer.peers[0]!.start()
    const { leader = LONE, ...status } = peer.core.status()
    for (const { addresses } of status.voters) expect(addresses.length).toBeGreaterThan(0)
    const figures = Array.from({ length: 256 }, (_, index) => ({ index, count: 2 ** 32 - 1 }))
    const frame = encodeFrame(leaderMessage, {
      type: 'status',
      seq: 1,
      ...status,
      clusterId: 'b'.repeat(64),
      leader,
      voters: [...status.voters],
      learners: [],
      quarantined: members.map(({ peerId }) => ({
        peerId,
        refusesThisPeer: true,
        reason: 'r'.repeat(MAX_REASON_BYTES)
      })),
      disk: { freeBytes: MOST, totalBytes: MOST, low: true },
      store: { logBytes: MOST, firstIndex: MOST, fileBytes: MOST, usedBytes: MOST },
      sending: members.slice(0, MAX_SENT_SNAPSHOTS).map(({ peerId }) => {
        return { to: peerId, index: MOST, sentBytes: MOST, totalBytes: MOST }
      }),
      receiving: { index: MOST, receivedBytes: MOST },
      stages: status.stages.map(({ name }) => ({ name, buckets: figures }))
    })
    expect(frame.length).toBeLessThanOrEqual(MAX_CONTROL_FRAME_BYTES)
    await peer.stop()
  })
})

describe('a snapshot that cannot be opened', () => {
  it('a peer stops if the rows of a snapshot turn out to be damaged when they have taken the place of its own', async () => {
    const { snapshot, data } = await wholeSnapshot()
    const peer = await new LonePeer().start()
    const { snapshots } = peer.core.root.replica
    await peer.run(snapshots.write(snapshot, 0, data))
    peer.pages.open = () => {
      throw new CorruptionError('pages', 0, 'bad checksum')
    }
    await expect(peer.run(snapshots.install(snapshot))).rejects.toThrow(CorruptionError)
    expect(peer.fatal).toEqual([expect.any(CorruptionError)])
    await peer.stop()
  })
})

/** A snapshot of some state, in one piece. */
async function wholeSnapshot(): Promise<{ readonly snapshot: RaftSnapshot; readonly data: Uint8Array }> {
  const peer = await new LonePeer({ replicaLimits: SMALL }).start()
  const { node, replica } = peer.core.root
  peer.createFiles(100)
  await peer.clock.advance(100)
  await peer.run(replica.applier.checkpoint())
  const snapshot = node!.snapshotMeta(replica.applier.durableIndex)
  const piece = await replica.snapshots.read('follower', snapshot.index, 0, 256 * 1024)
  expect(piece!.done).toBe(true)
  await peer.stop()
  return { snapshot, data: piece!.data }
}

describe('what a peer says of its storage', () => {
  it('a peer says how large its log and its pages are, and which snapshots it sends, until the last piece has left', async () => {
    const peer = await new LonePeer({ replicaLimits: SMALL }).start()
    const { log, applier, snapshots } = peer.core.root.replica
    peer.createFiles(100)
    await peer.clock.advance(100)
    await peer.run(applier.checkpoint())
    expect(peer.core.status()).toMatchObject({
      store: { logBytes: log.bytes, firstIndex: 1, ...applier.usage() },
      sending: [],
      receiving: undefined
    })
    expect(peer.core.status().store!.usedBytes).toBeGreaterThan(0)
    const index = applier.durableIndex
    let sentBytes = 0
    for (let isDone = false; !isDone;) {
      const piece = await peer.run(snapshots.read('follower', index, sentBytes, 1024))
      sentBytes += piece!.data.length
      isDone = piece!.done
      const [sent] = peer.core.status().sending
      if (isDone) expect(sent).toBeUndefined()
      else expect(sent).toMatchObject({ to: 'follower', index, sentBytes })
    }
    expect(sentBytes).toBeGreaterThan(2 * 1024)
    await peer.stop()
  })

  it('a peer says which snapshot it receives, and gives no sizes while the snapshot takes the place of its state', async () => {
    const { snapshot, data } = await wholeSnapshot()
    const peer = await new LonePeer().start()
    const { snapshots } = peer.core.root.replica
    await peer.run(snapshots.write(snapshot, 0, data))
    const receiving = { index: snapshot.index, receivedBytes: data.length }
    expect(peer.core.status()).toMatchObject({ receiving, store: { firstIndex: 1 } })
    expect(peer.core.status().store!.usedBytes).toBeLessThan(data.length)
    const adopt = peer.pages.adoptIncoming.bind(peer.pages)
    let letAdopt = (): void => {}
    peer.pages.adoptIncoming = async () => {
      await new Promise<void>((resolve) => (letAdopt = resolve))
      await adopt()
    }
    const installing = snapshots.install(snapshot)
    await peer.clock.advance(1000)
    expect(peer.core.status()).toMatchObject({ receiving: undefined, store: undefined })
    letAdopt()
    await peer.run(installing)
    expect(peer.core.status().store!.usedBytes).toBeGreaterThan(data.length / 2)
    await peer.stop()
  })
})

describe('the round trip of a cluster', () => {
  it('the round trip of a cluster changes with a committed entry, and stays after a restart', async () => {
    const peer = await new LonePeer().start()
    expect(peer.core.status().roundTripMs).toBe(32)
    expect(() => peer.core.proposeRoundTrip(5)).toThrow('roundTripMs is 5, must be whole milliseconds from 10 to 1000')
    const { index } = peer.core.proposeRoundTrip(600)
    expect(peer.core.timing.tickMs).toBe(20)
    // Only one configuration may be uncommitted.
    expect(() => peer.core.proposeRoundTrip(400)).toThrow(ChangePendingError)
    await peer.clock.advance(100)
    expect(peer.core.status()).toMatchObject({ roundTripMs: 600, voters: [{ peerId: LONE }] })
    expect(peer.core.status().appliedIndex).toBeGreaterThanOrEqual(index)
    expect(peer.core.timing.tickMs).toBe(375)
    await peer.stop()
    expect(() => peer.core.proposeRoundTrip(32)).toThrow(NotLeaderError)
    await peer.peers[0]!.start()
    expect(peer.core.timing.tickMs).toBe(375)
    expect(() => peer.core.proposeRoundTrip(32)).toThrow(NotLeaderError)
    await peer.stop()
  })

  it('the round trip of a cluster is the one that it was founded with, or the default', () => {
    const voters = [{ peerId: LONE, addresses: ['/ip4/192.0.2.1/tcp/4001'] }]
    const founder = { clusterId: 'blue', voters, admins: [], clients: 'any' as const }
    expect(normalizeCluster(founder).roundTripMs).toBe(32)
    const far = parseClusterFile(formatClusterFile({ ...founder, roundTripMs: 600 }), 'cluster.json')
    expect(normalizeCluster(far).roundTripMs).toBe(600)
    expect(() => normalizeCluster({ ...founder, roundTripMs: 1001 })).toThrow('roundTripMs is 1001')
  })
})

describe('logs that find no more space', () => {
  it('a peer whose log finds no more space refuses writes, stores entries until its last file is full, and accepts writes again when there is room', async () => {
    const peer = await new LonePeer({ replicaLimits: { segmentBytes: 64 * 1024 } }).start()
    const readOnly: (string | undefined)[] = []
    const { node, server } = peer.core.root
    server!.setReadOnly = (fault) => readOnly.push(fault?.name)
    peer.disk.setCapacity(peer.disk.usedBytes)
    while (readOnly.length === 0) {
      peer.openSessions(10)
      await peer.clock.advance(100)
    }
    expect(readOnly).toEqual(['NoSpaceError'])
    peer.openSessions(1)
    await peer.clock.advance(100)
    expect(node!.status().appliedIndex).toBe(node!.status().lastIndex)
    peer.disk.setCapacity(Infinity)
    await peer.clock.advance(1500)
    expect(readOnly).toEqual(['NoSpaceError', undefined])
    expect(peer.fatal).toEqual([])
    await peer.stop()
    expect(peer.clock.pending).toBe(0)
  })
})

/** A log whose last file is full, and that can make no other file. */
const LACKS = [
  {
    of: 'room',
    name: 'NoSpaceError',
    begin: ({ disk }: LonePeer) => disk.setCapacity(disk.usedBytes),
    end: ({ disk }: LonePeer) => disk.setCapacity(Infinity)
  },
  {
    of: 'a file descriptor',
    name: 'NoDescriptorsError',
    begin: ({ disk }: LonePeer) => disk.setDescriptors(disk.openFiles),
    end: ({ disk }: LonePeer) => disk.setDescriptors(Infinity)
  }
] as const

describe.each(LACKS)('a peer whose log is full to the last sector and lacks $of', ({ name, begin, end }) => {
  async function full(): Promise<{ peer: LonePeer; readOnly: (string | undefined)[] }> {
    const peer = await new LonePeer({ replicaLimits: { segmentBytes: 64 * 1024 } }).start()
    const readOnly: (string | undefined)[] = []
    const { server } = peer.core.root
    const setReadOnly = server!.setReadOnly.bind(server)
    server!.setReadOnly = (fault) => {
      readOnly.push(fault?.name)
      setReadOnly(fault)
    }
    begin(peer)
    for (let i = 0; peer.core.root.node!.status().room !== 'none' && i < 1000; i++) {
      peer.openSessions(10)
      await peer.clock.advance(20)
    }
    expect(readOnly).toEqual([name])
    return { peer, readOnly }
  }

  async function close(peer: LonePeer): Promise<void> {
    await peer.stop()
    expect(peer.fatal).toEqual([])
    expect(peer.clock.pending).toBe(0)
  }

  it('a peer whose log is full keeps running, serves reads, and goes on by itself when there is room', async () => {
    const { peer, readOnly } = await full()
    const { node } = peer.core.root
    const { appliedIndex, lastIndex } = node!.status()
    expect(appliedIndex).toBeLessThan(lastIndex)
    await peer.clock.advance(20_000)
    expect(node!.status()).toMatchObject({ role: 'leader', ready: true, room: 'none', appliedIndex, lastIndex })
    await peer.run(node!.readIndex())
    end(peer)
    await peer.clock.advance(3000)
    expect(readOnly).toEqual([name, undefined])
    expect(node!.status()).toMatchObject({ room: 'enough', appliedIndex: node!.status().lastIndex })
    expect(node!.status().appliedIndex).toBeGreaterThanOrEqual(lastIndex)
    await close(peer)
  })

  it('a peer whose log is full closes although entries wait for room', async () => {
    await close((await full()).peer)
  })
})

describe('full page stores', () => {
  it('a peer whose page store is full closes although entries wait for room', async () => {
    const peer = await new LonePeer({ replicaLimits: SMALL }).start()
    peer.pages.failWith(new NoSpaceError('pages'))
    peer.openSessions(500)
    await peer.clock.advance(5000)
    const { node } = peer.core.root
    expect(node!.status().appliedIndex).toBeLessThan(node!.status().commitIndex)
    await peer.stop()
    expect(peer.fatal).toEqual([])
    expect(peer.clock.pending).toBe(0)
  })
})
