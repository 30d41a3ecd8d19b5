import { encode, NoSpaceError, raftConfiguration, type RaftSnapshot } from '@quire/protocol'
import { createMemoryDisk, type Entry } from '@quire/raft'
import { describe, expect, it } from 'vitest'
import { createStages } from '../src/observability/stages.js'
import { createMemoryStorage, createPageStore } from '../src/pages/index.js'
import { INSTALLED_KEY, snapshotValue } from '../src/pages/record-rows.js'
import { encodeCluster, normalizeCluster } from '../src/peer/cluster.js'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import { openReplica, type Replica, type ReplicaInit } from '../src/peer/replica.js'
import type { ReplicatedConfig } from '../src/state/index.js'
import { FakeClock } from '@quire/testing'
import { LONE } from './support/lone-peer.js'
import { memoryReplica } from './support/memory-replica.js'

const CLUSTER = normalizeCluster({
  clusterId: 'blue',
  voters: [{ peerId: LONE, addresses: ['/ip4/127.0.0.1/tcp/1'] }],
  admins: [],
  clients: 'any'
})
const CONFIGURATION = configuration(CLUSTER)

function configuration(cluster: ReplicatedConfig): Entry {
  const members = { voters: [LONE], learners: [], outgoing: [], learnersNext: [] }
  const data = encode(raftConfiguration, { ...members, context: encodeCluster(cluster) })
  return { index: 1, term: 1, kind: 'config', data }
}

/** A replica's disks, which outlive its processes. */
class ReplicaDisks {
  private disk = createMemoryDisk({ schedule: (_delayMs, callback) => queueMicrotask(callback) })
  readonly pages = createMemoryStorage({ schedule: queueMicrotask })
  readonly clock = new FakeClock()
  /** The disk has no room for the rows of a snapshot that arrives. */
  isIncomingFull = false
  private readonly storage = memoryReplica({
    identity: createMemoryIdentity({ incarnation: 'first' }),
    founding: CLUSTER,
    openLogDisk: () => this.disk,
    pages: {
      open: () => this.pages.open(),
      openIncoming: () => {
        if (this.isIncomingFull) throw new NoSpaceError('incoming')
        return this.pages.openIncoming()
      },
      adoptIncoming: () => this.pages.adoptIncoming()
    }
  })

  open(init: Partial<Pick<ReplicaInit, 'onFault' | 'limits'>> = {}): Promise<Replica> {
    return openReplica({
      storage: this.storage,
      peerId: LONE,
      cluster: CLUSTER,
      clock: this.clock,
      stages: createStages(this.clock),
      onApplied: () => {},
      onCheckpoint: () => {},
      onCompare: () => {},
      matchIndex: () => 0,
      onInstalled: () => {},
      onFault: () => {},
      ...init
    })
  }

  /** Ends the process that has opened the replica. */
  async close({ log, applier }: Replica): Promise<void> {
    await log.close()
    await applier.close()
  }

  /** The page store comes to hold entry `appliedIndex`, without the log. */
  async holdPages(appliedIndex: number, installed?: RaftSnapshot): Promise<void> {
    const store = createPageStore({ backend: this.pages.open() })
    store.put('config', 0, 0, CLUSTER)
    store.put('founding', 0, 0, CLUSTER)
    store.freeze(appliedIndex)
    await store.flush()
    await store.close()
    if (installed === undefined) return
    const backend = this.pages.open()
    await backend.commit([{ table: 'records', key: INSTALLED_KEY, value: snapshotValue(INSTALLED_KEY, installed) }])
    await backend.close()
  }

  /** The log becomes that of other disks. */
  replaceLog({ disk }: ReplicaDisks): void {
    this.disk = disk
  }
}

async function founded(): Promise<ReplicaDisks> {
  const disks = new ReplicaDisks()
  await disks.close(await disks.open())
  return disks
}

describe('logs that are gone', () => {
  it('a replica that was founded does not found its log again', async () => {
    const disks = await founded()
    disks.replaceLog(new ReplicaDisks())
    await expect(disks.open()).rejects.toMatchObject({
      name: 'CorruptionError',
      where: 'log',
      reason: expect.stringContaining('the log is gone; ')
    })
  })
})

describe('page stores that are ahead of their log', () => {
  it('a page store that is ahead of its log is refused, because entries of the log are lost', async () => {
    const disks = await founded()
    await disks.holdPages(10)
    await expect(disks.open()).rejects.toMatchObject({
      name: 'CorruptionError',
      where: 'log',
      reason: expect.stringContaining('the log ends at entry 1, but the pages hold entry 10; restore the') as string
    })
  })

  it('a page store that is ahead of its log is refused if it has applied entries since it installed a snapshot', async () => {
    const disks = await founded()
    await disks.holdPages(8, { index: 8, term: 3, configuration: CONFIGURATION })
    await disks.holdPages(10)
    await expect(disks.open()).rejects.toMatchObject({ name: 'CorruptionError', where: 'log' })
  })

  it('a page store that is ahead of its log is accepted if it has durably recorded that it installed a snapshot there; the log starts after it', async () => {
    const disks = await founded()
    await disks.holdPages(10, { index: 10, term: 3, configuration: CONFIGURATION })
    const replica = await disks.open()
    const { log, applier } = replica
    expect(applier).toMatchObject({ appliedIndex: 10, installed: undefined })
    expect(log).toMatchObject({ firstIndex: 11, lastIndex: 10, hardState: { term: 3, vote: undefined, commit: 10 } })
    expect(log.configurations.map(({ index }) => index)).toEqual([1])
    await disks.close(replica)
    const again = await disks.open()
    expect(again.log).toMatchObject({ firstIndex: 11, lastIndex: 10, hardState: { term: 3 } })
    await disks.close(again)
  })

  it('a page store whose log has started after the snapshot is refused if an older log comes back', async () => {
    const disks = await founded()
    await disks.holdPages(10, { index: 10, term: 3, configuration: CONFIGURATION })
    await disks.close(await disks.open())
    disks.replaceLog(await founded())
    await expect(disks.open()).rejects.toMatchObject({
      name: 'CorruptionError',
      where: 'log',
      reason: expect.stringContaining('the log ends at entry 1, but the pages hold entry 10; restore the') as string
    })
  })

  it('a page store that is ahead of its log stays acceptable until the record of the installation is durably gone', async () => {
    const disks = await founded()
    await disks.holdPages(10, { index: 10, term: 3, configuration: CONFIGURATION })
    disks.pages.failWith(new NoSpaceError('pages'))
    await expect(disks.open()).rejects.toBeInstanceOf(NoSpaceError)
    disks.pages.failWith(undefined)
    const replica = await disks.open()
    expect(replica.log).toMatchObject({ firstIndex: 11, lastIndex: 10 })
    expect(replica.applier.installed).toBeUndefined()
    await disks.close(replica)
  })
})

describe('logs and the installed snapshot', () => {
  it('a log that conflicts with the installed snapshot starts anew after it (Figure 13, step 7)', async () => {
    const disks = await founded()
    const before = await disks.open()
    const stale = [2, 3, 4, 5].map((index) => ({ index, term: 2, kind: 'noop' as const, data: new Uint8Array(0) }))
    await before.log.append({ hardState: { term: 2, vote: LONE, commit: 1 }, entries: stale })
    await disks.close(before)
    await disks.holdPages(4, { index: 4, term: 3, configuration: CONFIGURATION })
    const after = await disks.open()
    expect(after.log).toMatchObject({ firstIndex: 5, lastIndex: 4, hardState: { term: 3, vote: undefined } })
    await disks.close(after)
  })

  it('a log that has the last entry of the installed snapshot stays (Figure 13, step 6)', async () => {
    const disks = await founded()
    const before = await disks.open()
    const entries = [2, 3, 4, 5].map((index) => ({ index, term: 2, kind: 'noop' as const, data: new Uint8Array(0) }))
    await before.log.append({ hardState: { term: 2, vote: LONE, commit: 1 }, entries })
    await disks.close(before)
    await disks.holdPages(4, { index: 4, term: 2, configuration: CONFIGURATION })
    const after = await disks.open()
    expect(after.log).toMatchObject({ firstIndex: 1, lastIndex: 5, hardState: { term: 2, vote: LONE } })
    expect(after.applier.installed).toBeUndefined()
    await disks.close(after)
  })
})

describe('replicas and their snapshots', () => {
  it('a replica that has applied nothing has no snapshot', async () => {
    const disks = await founded()
    const replica = await disks.open()
    expect(replica.snapshots.newest).toBeUndefined()
    await disks.close(replica)
  })

  it('a replica starts with the state of its page store as its newest snapshot, under the configuration of that entry', async () => {
    const disks = await founded()
    const before = await disks.open()
    const later = { ...CONFIGURATION, index: 5, term: 2 }
    const entries = [2, 3, 4].map((index) => ({ index, term: 2, kind: 'noop' as const, data: new Uint8Array(0) }))
    await before.log.append({ hardState: { term: 2, vote: LONE, commit: 5 }, entries: [...entries, later] })
    await disks.close(before)
    for (const [index, configuration] of [
      [4, CONFIGURATION],
      [5, later]
    ] as const) {
      await disks.holdPages(index)
      const replica = await disks.open()
      expect(replica.snapshots.newest).toEqual({ index, term: 2, configuration })
      await disks.close(replica)
    }
  })

  it('a replica starts with the newest configuration of its log that is known to be committed', async () => {
    const disks = await founded()
    const before = await disks.open()
    const later = { ...configuration({ ...CLUSTER, revision: 1 }), index: 2 }
    await before.log.append({ entries: [later] })
    await disks.close(before)
    const uncommitted = await disks.open()
    expect(uncommitted.config.revision).toBe(0)
    await uncommitted.log.append({ hardState: { term: 1, vote: undefined, commit: 2 }, entries: [] })
    await disks.close(uncommitted)
    const committed = await disks.open()
    expect(committed.config.revision).toBe(1)
    await disks.close(committed)
  })

  it('a replica starts with the configuration before its first entry, although its durable commit index is older', async () => {
    const disks = new ReplicaDisks()
    const before = await disks.open({ limits: { segmentBytes: 4096 } })
    const later = { ...configuration({ ...CLUSTER, revision: 1 }), index: 2 }
    await before.log.append({ entries: [later] })
    for (let index = 3; index < 20; index++) {
      await before.log.append({ entries: [{ index, term: 1, kind: 'normal', data: new Uint8Array(1000) }] })
    }
    await disks.holdPages(19)
    await before.log.compact(19)
    expect(before.log.firstIndex).toBeGreaterThan(2)
    expect(before.log.hardState.commit).toBeLessThan(2)
    await disks.close(before)
    const after = await disks.open()
    expect(after.config.revision).toBe(1)
    await disks.close(after)
  })

  it('a replica that has installed a snapshot starts with it as its newest one', async () => {
    const disks = await founded()
    const snapshot = { index: 10, term: 3, configuration: CONFIGURATION }
    await disks.holdPages(10, snapshot)
    for (let start = 1; start <= 2; start++) {
      const replica = await disks.open()
      expect(replica.snapshots.newest, `start ${start}`).toEqual(snapshot)
      await disks.close(replica)
    }
  })

  it('a replica that has no room for a snapshot reports this until the snapshot and the pages have room', async () => {
    const disks = await founded()
    const faults: (string | undefined)[] = []
    const replica = await disks.open({ onFault: (fault) => faults.push((fault as NoSpaceError | undefined)?.where) })
    const { snapshots, log } = replica
    disks.isIncomingFull = true
    const writing = snapshots.write({ index: 9, term: 1, configuration: CONFIGURATION }, 0, new Uint8Array(0))
    await disks.clock.advance(3_000)
    expect(faults).toEqual(['incoming'])
    disks.pages.failWith(new NoSpaceError('pages'))
    void replica.apply(log.entries(1, 2, 1_000))
    await disks.clock.advance(6_000)
    expect(faults).toEqual(['incoming', 'pages'])
    disks.isIncomingFull = false
    await disks.clock.advance(1_500)
    await writing
    expect(faults).toEqual(['incoming', 'pages'])
    disks.pages.failWith(undefined)
    await disks.clock.advance(1_500)
    expect(faults).toEqual(['incoming', 'pages', undefined])
    await snapshots.close()
    await disks.close(replica)
  })

  it('a replica counts the bytes of its log against a transfer of a snapshot', async () => {
    const disks = await founded()
    await disks.holdPages(1)
    const replica = await disks.open({ limits: { snapshots: { maxLogBytes: 10_000 } } })
    const { snapshots, log } = replica
    expect(await snapshots.read('other', 1, 0, 100_000)).toBeDefined()
    await disks.clock.advance(1_000)
    expect(snapshots.heldIndex).toBe(1)
    for (const index of [2, 3]) {
      expect(snapshots.heldIndex).toBe(1)
      await log.append({ entries: [{ index, term: 1, kind: 'normal', data: new Uint8Array(10_000) }] })
    }
    await disks.clock.advance(1_000)
    expect(snapshots.heldIndex).toBeUndefined()
    snapshots.stop()
    await disks.close(replica)
  })
})
