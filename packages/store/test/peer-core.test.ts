import { CorruptionError, NoSpaceError } from '@quire/protocol'
import { ChangePendingError, NotLeaderError } from '@quire/raft'
import { describe, expect, it } from 'vitest'
import type { Backend } from '../src/pages/index.js'
import { formatClusterFile, normalizeCluster, parseClusterFile } from '../src/peer/cluster.js'
import { LONE, LonePeer } from './support/lone-peer.js'

/** A table of which few entries fill a generation. */
const SMALL = { maxTableBytes: 8192 }

describe('a peer whose page store is damaged', () => {
  it('does not start, and leaves the store closed', async () => {
    const peer = new LonePeer()
    let closed = 0
    const storage = peer.storage()
    const openPages = (): Backend => {
      const backend = storage.openPages()
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
    await expect(peer.within(1000, peer.open({}, { ...storage, openPages }))).rejects.toThrow(CorruptionError)
    expect(closed).toBe(1)
  })
})

describe('the round trip of a cluster', () => {
  it('is changed by a committed entry, and found again after a restart', async () => {
    const peer = await new LonePeer().start()
    expect(peer.core.status().roundTripMs).toBe(32)
    expect(() => peer.core.proposeRoundTrip(5)).toThrow('roundTripMs is 5, must be whole milliseconds from 10 to 1000')
    const { index } = peer.core.proposeRoundTrip(600)
    expect(peer.core.timing.tickMs).toBe(20)
    // One configuration at a time.
    expect(() => peer.core.proposeRoundTrip(400)).toThrow(ChangePendingError)
    await peer.clock.advance(100)
    expect(peer.core.status()).toMatchObject({ roundTripMs: 600, voters: [{ peerId: LONE }] })
    expect(peer.core.status().appliedIndex).toBeGreaterThanOrEqual(index)
    expect(peer.core.timing.tickMs).toBe(375)
    await peer.within(
      5000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(() => peer.core.proposeRoundTrip(32)).toThrow(NotLeaderError)
    const again = await peer.within(1000, peer.open())
    expect(again.timing.tickMs).toBe(375)
    expect(() => again.proposeRoundTrip(32)).toThrow(NotLeaderError)
    await peer.within(
      1000,
      again.stop().then(() => again.close())
    )
  })

  it('is what a cluster was founded with, the default where its founder says nothing', () => {
    const voters = [{ peerId: LONE, addresses: ['/ip4/192.0.2.1/tcp/4001'] }]
    const founder = { clusterId: 'blue', voters, admins: [], clients: 'any' as const }
    expect(normalizeCluster(founder).roundTripMs).toBe(32)
    const far = parseClusterFile(formatClusterFile({ ...founder, roundTripMs: 600 }), 'cluster.json')
    expect(normalizeCluster(far).roundTripMs).toBe(600)
    expect(() => normalizeCluster({ ...founder, roundTripMs: 1001 })).toThrow('roundTripMs is 1001')
  })
})

describe('a peer whose log finds no more space', () => {
  it('takes no writes, goes on for as long as its last file lasts, and takes writes again when there is room', async () => {
    const peer = await new LonePeer().start({ segmentBytes: 64 * 1024 })
    const readOnly: (string | undefined)[] = []
    const { node, service } = peer.core
    service!.setReadOnly = (fault) => readOnly.push(fault?.name)
    peer.disk.setCapacity(peer.disk.usedBytes)
    while (readOnly.length === 0) {
      peer.store(10)
      await peer.clock.advance(100)
    }
    expect(readOnly).toEqual(['NoSpaceError'])
    peer.store(1)
    await peer.clock.advance(100)
    expect(node!.status().appliedIndex).toBe(node!.status().lastIndex)
    peer.disk.setCapacity(Infinity)
    await peer.clock.advance(1500)
    expect(readOnly).toEqual(['NoSpaceError', undefined])
    expect(peer.fatal).toEqual([])
    await peer.within(
      1000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.clock.pending).toBe(0)
  })
})

describe('a peer whose log finds no file descriptor', () => {
  it('takes no writes, waits at the end of its file, and takes writes again when there is one', async () => {
    const peer = await new LonePeer().start({ segmentBytes: 64 * 1024 })
    const readOnly: (string | undefined)[] = []
    const { node, service } = peer.core
    service!.setReadOnly = (fault) => readOnly.push(fault?.name)
    peer.disk.setDescriptors(peer.disk.openFiles)
    while (readOnly.length === 0) {
      peer.store(10)
      await peer.clock.advance(100)
    }
    expect(readOnly).toEqual(['NoDescriptorsError'])
    // More than the file holds: what does not fit waits.
    for (let i = 0; i < 100; i++) {
      peer.store(10)
      await peer.clock.advance(100)
    }
    const { lastIndex, commitIndex } = node!.status()
    expect(commitIndex).toBeLessThan(lastIndex)
    expect(peer.fatal).toEqual([])
    peer.disk.setDescriptors(Infinity)
    await peer.clock.advance(1500)
    expect(readOnly).toEqual(['NoDescriptorsError', undefined])
    expect(node!.status().role).toBe('leader')
    expect(node!.status().appliedIndex).toBeGreaterThanOrEqual(lastIndex)
    await peer.within(
      1000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.clock.pending).toBe(0)
  })

  it('closes while it waits for one', async () => {
    const peer = await new LonePeer().start({ segmentBytes: 64 * 1024 })
    peer.disk.setDescriptors(0)
    for (let i = 0; i < 100; i++) {
      peer.store(10)
      await peer.clock.advance(100)
    }
    expect(peer.core.node!.status().commitIndex).toBeLessThan(peer.core.node!.status().lastIndex)
    await peer.within(
      2000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.clock.pending).toBe(0)
  })
})

describe('a peer whose page store is full', () => {
  it('closes although entries wait for room', async () => {
    const peer = await new LonePeer().start(SMALL)
    peer.pages.failWith(new NoSpaceError('pages'))
    peer.store(500)
    await peer.clock.advance(5000)
    const { node } = peer.core
    expect(node!.status().appliedIndex).toBeLessThan(node!.status().commitIndex)
    await peer.within(
      5000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.fatal).toEqual([])
    expect(peer.clock.pending).toBe(0)
  })
})
