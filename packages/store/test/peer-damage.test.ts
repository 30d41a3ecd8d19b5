import type { CorruptionError } from '@quire/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DamagedPageError } from '../src/state/index.js'
import type { BackendTable } from '../src/pages/index.js'
import { filled } from './state-helpers.js'
import { PeerCluster, type ClusterPeer } from './support/peer-cluster.js'

let cluster: PeerCluster
let leader: ClusterPeer
let follower: ClusterPeer
let other: ClusterPeer
const FILES = 12

beforeEach(async () => {
  const replicaLimits = { checkpointEntries: 20, checkpointIntervalMs: 200 }
  cluster = new PeerCluster(['a', 'b', 'c'], { replicaLimits })
  await cluster.start()
  leader = cluster.leader!
  ;[follower, other] = cluster.peers.filter((peer) => peer !== leader) as [ClusterPeer, ClusterPeer]
  await cluster.store(FILES)
  await cluster.converge()
  await checkpointed()
})

afterEach(async () => {
  await cluster.stop()
  expect(cluster.peers.flatMap(({ fatal }) => fatal)).toEqual([])
  await cluster.clock.advance(100)
  expect(cluster.clock.pending).toBe(0)
})

function applierOf({ core }: ClusterPeer) {
  return core.root.replica.applier
}

/** All pages are rows of the backends, and no memtable has them. */
async function checkpointed(): Promise<void> {
  await cluster.until(() => cluster.peers.every((peer) => applierOf(peer).durableIndex === peer.status.appliedIndex))
}

/** The files of the cluster, in the order of their ids. */
function files(): number[] {
  return applierOf(leader)
    .state.list('', '', FILES)
    .map(({ id }) => id)
    .toSorted((a, b) => a - b)
}

function rot(peer: ClusterPeer, table: BackendTable, position: number, bit = 100): void {
  expect(peer.pages.damage(table, position, bit)).toBe(true)
}

/** Resolves when the peer can read the first page of the file again, or with the reason why it never will. */
function repaired(peer: ClusterPeer, file: number): Promise<CorruptionError | undefined> {
  const { root } = peer.core
  return cluster.run(new Promise((resolve) => root.whenRepaired(file, 0, resolve)))
}

function read(peer: ClusterPeer, file: number): Uint8Array | undefined {
  return applierOf(peer).state.page(file, 0).bytes
}

describe('damaged pages of a peer', () => {
  it.each(['heads', 'bodies'] as const)(
    'a page whose row of %s is damaged gets the bytes of another peer',
    async (table) => {
      const [first] = files()
      rot(leader, table, 0)
      expect(() => read(leader, first!)).toThrow(DamagedPageError)
      expect(await repaired(leader, first!)).toBeUndefined()
      expect(read(leader, first!)).toEqual(filled(1))
      expect(leader.core.status().repairs).toEqual({ damaged: 0, repaired: 1, lost: 0 })
      expect(leader.digest).toBe(follower.digest)
    }
  )

  it('a repaired page is in the next checkpoint, without another entry', async () => {
    const [first] = files()
    rot(follower, 'bodies', 0)
    await repaired(follower, first!)
    await cluster.clock.advance(1_000)
    await follower.stop()
    await follower.start()
    await cluster.until(() => follower.status.appliedIndex === leader.status.appliedIndex)
    expect(read(follower, first!)).toEqual(filled(1))
  })

  it('a peer whose page is damaged too is no help, and repairs its own when it is asked', async () => {
    const [first] = files()
    rot(leader, 'bodies', 0)
    rot(follower, 'bodies', 0, 300)
    expect(await repaired(leader, first!)).toBeUndefined()
    await cluster.until(() => follower.core.status().repairs.repaired === 1)
    expect(read(follower, first!)).toEqual(filled(1))
  })

  it('a page of which no peer has a good copy stays damaged, and its readers get an error, not zeros', async () => {
    const [first, second] = files()
    for (const peer of cluster.peers) rot(peer, 'bodies', 0)
    const error = await repaired(leader, first!)
    expect(error?.message).toBe(`page 0 of file ${first}: damaged: no peer has a good copy`)
    expect(() => read(leader, first!)).toThrow(DamagedPageError)
    expect(read(leader, second!)).toEqual(filled(2))
    expect(leader.core.status().repairs).toEqual({ damaged: 0, repaired: 0, lost: 1 })
  })

  it('a page waits for a peer that is cut off, as long as it may have a good copy', async () => {
    const [first] = files()
    rot(leader, 'bodies', 0)
    rot(follower, 'bodies', 0)
    cluster.isolate(other)
    const waiting = repaired(leader, first!)
    await cluster.clock.advance(5_000)
    expect(leader.core.status().repairs).toMatchObject({ damaged: 1, lost: 0 })
    cluster.heal()
    expect(await waiting).toBeUndefined()
    expect(read(leader, first!)).toEqual(filled(1))
  })

  it('many damaged pages are all repaired', async () => {
    for (let at = 0; at < FILES; at++) rot(follower, 'heads', at)
    for (const file of files()) follower.core.root.damaged(file, 0)
    await cluster.until(() => follower.core.status().repairs.repaired === FILES)
    expect(follower.digest).toBe(leader.digest)
  })

  it('the entry that shortens a file is applied although the page that it cuts is damaged, and the page is repaired', async () => {
    const [first] = files()
    rot(follower, 'bodies', 0)
    await cluster.truncate(first!, 100)
    // Nobody reads the page: the entry itself has found the damage.
    await cluster.until(() => follower.core.status().repairs.repaired === 1)
    await cluster.converge()
    expect(read(follower, first!)!.subarray(0, 101)).toEqual(new Uint8Array([...filled(1).subarray(0, 100), 0]))
    expect(follower.digest).toBe(leader.digest)
  })

  it('a diff is applied although the page that it changes is damaged, and the page is repaired', async () => {
    const [first] = files()
    rot(follower, 'bodies', 0)
    await cluster.patch(first!, 77)
    await cluster.until(() => follower.core.status().repairs.repaired === 1)
    await cluster.converge()
    expect(read(follower, first!)!.subarray(0, 2)).toEqual(Uint8Array.of(77, 1))
    expect(follower.digest).toBe(leader.digest)
  })

  it('a diff that the leader cannot apply to its damaged page is applied by the others, and the leader repairs its own', async () => {
    const [first] = files()
    rot(leader, 'heads', 0)
    await cluster.patch(first!, 77)
    await cluster.until(() => leader.core.status().repairs.repaired === 1)
    await cluster.converge()
    expect(read(leader, first!)!.subarray(0, 2)).toEqual(Uint8Array.of(77, 1))
    expect(leader.digest).toBe(follower.digest)
  })

  it('a damaged page that is cut stays damaged over checkpoints and restarts until it is repaired', async () => {
    const [first] = files()
    const both = [leader, follower]
    for (const peer of both) rot(peer, 'bodies', 0)
    // The only peer with a good copy.
    cluster.isolate(other)
    await cluster.truncate(first!, 100)
    await cluster.until(() => both.every((peer) => applierOf(peer).durableIndex === leader.status.lastIndex))
    await follower.stop()
    await follower.start()
    await cluster.until(() => follower.status.appliedIndex === leader.status.appliedIndex)
    expect(() => read(follower, first!)).toThrow(DamagedPageError)
    cluster.heal()
    expect(await repaired(follower, first!)).toBeUndefined()
    expect(await repaired(leader, first!)).toBeUndefined()
    await cluster.converge()
    expect(follower.digest).toBe(leader.digest)
  })

  it('a snapshot that meets a damaged page is sent when the page is repaired', async () => {
    // In the configuration of this test, the log never drops an entry by itself.
    const [first] = files()
    rot(leader, 'bodies', 0)
    const { snapshots, applier } = leader.core.root.replica
    expect(await cluster.run(snapshots.read(follower.id, applier.durableIndex, 0, 2 ** 20))).toBeUndefined()
    await cluster.until(() => leader.core.status().repairs.repaired === 1)
    await cluster.clock.advance(6_000)
    expect(read(leader, first!)).toEqual(filled(1))
    const piece = await cluster.run(snapshots.read(follower.id, applier.durableIndex, 0, 2 ** 20))
    expect(piece?.done).toBe(true)
  })
})
