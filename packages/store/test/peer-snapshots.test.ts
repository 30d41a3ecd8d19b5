import { NoSpaceError, type RaftMark } from '@quire/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PeerCluster, type ClusterPeer } from './support/peer-cluster.js'

let cluster: PeerCluster
let leader: ClusterPeer
/** A follower that misses entries. */
let late: ClusterPeer

beforeEach(async () => {
  cluster = new PeerCluster(['a', 'b', 'c'], {
    replicaLimits: { segmentBytes: 8192, checkpointEntries: 20, checkpointIntervalMs: 200 },
    raftLimits: { retainedBytes: 0, maxPieceBytes: 6_000 },
    config: { invited: [{ peerId: 'd', addresses: [], replaces: '' }] }
  })
  await cluster.start()
  leader = cluster.leader!
  late = cluster.peers.find((peer) => peer !== leader)!
})

afterEach(async () => {
  await cluster.stop()
  expect(cluster.peers.flatMap(({ fatal }) => fatal)).toEqual([])
  // Messages that were on their way when the peers stopped are lost.
  await cluster.clock.advance(100)
  expect(cluster.clock.pending).toBe(0)
})

/** Cuts `late` off when it has everything. */
async function cutOff(): Promise<void> {
  await cluster.store(5)
  await cluster.converge()
  cluster.isolate(late)
}

/** The cluster drops entries that `late` lacks. Returns the index of the last one that it has. */
async function fallBehind(): Promise<number> {
  await cutOff()
  return outgrow()
}

async function outgrow(): Promise<number> {
  const { lastIndex } = late.status
  await cluster.store(40)
  await cluster.until(() => leader.log.firstIndex > lastIndex + 1)
  return lastIndex
}

function expectSameState(): void {
  expect(cluster.peers.map(({ digest }) => digest)).toEqual(cluster.peers.map(() => leader.digest))
}

describe('peers and snapshots', () => {
  it('a peer drops the entries of its log that a checkpoint holds', async () => {
    await cluster.store(40)
    await cluster.clock.advance(1_000)
    for (const { log, status } of cluster.peers) expect(log.firstIndex).toBeGreaterThan(status.appliedIndex - 40)
  })

  it('a peer that was cut off while the log was compacted catches up by a snapshot, and serves the same state', async () => {
    const lastIndex = await fallBehind()
    const { state } = late.core.root.replica.applier
    cluster.heal()
    await cluster.converge()
    expect(late.applied).not.toContain(lastIndex + 1)
    await cluster.until(() => late.log.firstIndex > lastIndex + 1)
    expect(late.core.root.replica.applier.state).toBe(state)
    expectSameState()
    await cluster.store(10)
    await cluster.converge()
    expectSameState()
  })

  it('a peer names a follower that has joined by its PeerId in the status of a snapshot for it', async () => {
    await cluster.store(40)
    await cluster.until(() => leader.log.firstIndex > 1)
    const joined = await cluster.join('d', '1d')
    await cluster.until(() => leader.core.status().sending.length > 0)
    expect(leader.core.status()).toMatchObject({ sending: [{ to: 'd' }], learners: [{ peerId: 'd' }] })
    await cluster.converge()
    expect(joined.applied).not.toContain(1)
    expectSameState()
  })

  it('a peer adopts the configuration of a snapshot, whose entry it has never seen', async () => {
    await cutOff()
    const { index } = leader.core.proposeRoundTrip(64)
    await cluster.until(() => leader.core.timing.tickMs === 40)
    await outgrow()
    late.configs.splice(0)
    cluster.heal()
    await cluster.converge()
    expect(late.applied).not.toContain(index)
    // The leader tells the newest configuration through the link, too.
    expect(new Set(late.configs.map(({ roundTripMs }) => roundTripMs))).toEqual(new Set([64]))
    expect(late.core.root.replica.applier.state.config?.roundTripMs).toBe(64)
    expect(late.core.timing.tickMs).toBe(40)
    await cluster.until(() => late.status.tickMs === 40)
    expectSameState()
  })

  it('a peer whose entries give way to a snapshot never calls one of them committed', async () => {
    await cutOff()
    ;[leader, late] = [late, leader]
    const { term, lastIndex } = late.status
    cluster.heal()
    cluster.isolate(late)
    // The former leader appends entries that nobody else gets, more than the others append in their time.
    for (let i = 0; i < 400; i++) late.core.root.node!.propose(new Uint8Array(0))
    await cluster.until(() => cluster.leader !== undefined)
    leader = cluster.leader!
    await cluster.store(40)
    await cluster.until(() => leader.log.firstIndex > lastIndex + 1)
    cluster.heal()
    const called: RaftMark[] = []
    await cluster.until(() => {
      const mark = late.core.root.evidence.committedMark()
      if (mark.lastTerm === term && mark.lastIndex > lastIndex) called.push(mark)
      return late.status.appliedIndex === leader.status.lastIndex
    })
    expect(called).toEqual([])
    expect(late.core.root.evidence.committedMark()).toMatchObject({ lastTerm: leader.status.term })
    expectSameState()
  })

  it('a peer that restarts after it has installed a snapshot goes on from there', async () => {
    await fallBehind()
    cluster.heal()
    await cluster.converge()
    await late.stop()
    await late.start()
    expect(late.core.root.replica.applier.installed).toBeUndefined()
    await cluster.store(5)
    await cluster.converge()
    expectSameState()
  })

  it('a peer that has installed a snapshot and leads sends its own to the next peer that needs one', async () => {
    await fallBehind()
    cluster.heal()
    await cluster.converge()
    const other = cluster.peers.find((peer) => peer !== late && peer !== leader)!
    await cluster.run(leader.core.root.node!.transferLeadership(late.id))
    await cluster.until(() => cluster.leader === late)
    ;[leader, late] = [late, other]
    const lastIndex = await fallBehind()
    cluster.heal()
    await cluster.converge()
    expect(late.applied).not.toContain(lastIndex + 1)
    expectSameState()
  })

  it('a peer that needs a snapshot after a restart gets it, although the leader has sent it a part before', async () => {
    await fallBehind()
    cluster.heal()
    const { snapshots } = late.core.root.replica
    await cluster.until(() => snapshots.receiving !== undefined && snapshots.receiving.receivedBytes > 10_000)
    await late.stop()
    const { appliedIndex } = late.core.root.replica.applier
    expect(appliedIndex).toBeLessThan(leader.log.firstIndex - 1)
    await cluster.store(10)
    await late.start()
    await cluster.converge()
    expectSameState()
  })

  it('a peer without room for a snapshot goes on when there is room, and can be stopped before', async () => {
    const { digest } = late
    await fallBehind()
    late.pages.failWith(new NoSpaceError('pages'))
    cluster.heal()
    const { snapshots } = late.core.root.replica
    await cluster.until(() => snapshots.receiving !== undefined)
    await cluster.clock.advance(5_000)
    expect(late.status.room).toBe('little')
    await late.stop()
    late.pages.failWith(undefined)
    await late.start()
    expect(late.digest).not.toBe(digest)
    await cluster.converge()
    expectSameState()
  })
})
