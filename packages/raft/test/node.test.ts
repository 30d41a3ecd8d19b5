import { InvalidArgumentError, MAX_ENTRY_BYTES, type RaftMessage } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import {
  BackPressureError,
  createMemoryDisk,
  createRaftNode,
  createSegmentedLog,
  DEFAULT_RAFT_LIMITS,
  LogFailedError,
  NotLeaderError,
  type Entry,
  type MemoryDisk,
  type RaftLimits,
  type RaftNode,
  type RaftStatus
} from '../src/index.js'
import { Cluster } from './support/cluster.js'
import { seededRandom } from './support/seeded-random.js'

interface Single {
  readonly clock: FakeClock
  readonly disk: MemoryDisk
  readonly node: RaftNode
  readonly applied: Entry[]
  readonly changes: RaftStatus[]
  readonly fatal: Error[]
  /** While set, `apply` waits. */
  hold: Promise<void> | undefined
}

/** A node that is its cluster's only voter, as leader. */
async function single(options: { limits?: Partial<RaftLimits>; appliedIndex?: number } = {}): Promise<Single> {
  const clock = new FakeClock()
  const disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
  const applied: Entry[] = []
  const changes: RaftStatus[] = []
  const fatal: Error[] = []
  const bootstrap = { voters: ['a'], learners: [], context: new Uint8Array(0) }
  let result: Single | undefined
  const opening = createSegmentedLog({ disk, segmentBytes: 64 * 1024, create: { bootstrap } }).then((log) => {
    const application = {
      appliedIndex: options.appliedIndex ?? 0,
      apply: (entries: readonly Entry[]) => {
        applied.push(...entries)
        return result?.hold
      },
      onChange: (status: RaftStatus) => void changes.push(status),
      onFatal: (error: Error) => void fatal.push(error)
    }
    const random = seededRandom(1)
    const transport = { send: () => {} }
    const node = createRaftNode({ clock, random, transport, log, application }, { id: 'a', limits: options.limits })
    result = { clock, disk, node, applied, changes, fatal, hold: undefined }
  })
  await clock.until(() => result?.node.status().ready === true)
  await opening
  return result!
}

async function outcome<T>(clock: FakeClock, promise: Promise<T>): Promise<T> {
  let done = false
  const watched = promise.finally(() => (done = true))
  watched.catch(() => {})
  await clock.until(() => done, 10_000)
  if (!done) throw new Error('the promise never settles')
  return watched
}

describe('nodes', () => {
  it('a node tells its application of each role, and finally that it is ready', async () => {
    const { changes, node } = await single()
    expect(changes.map(({ role, ready }) => [role, ready])).toEqual([
      ['candidate', false],
      ['leader', false],
      ['leader', true]
    ])
    expect(node.status()).toMatchObject({
      id: 'a',
      leader: 'a',
      term: 2,
      lastIndex: 2,
      commitIndex: 2,
      appliedIndex: 2
    })
  })

  it('a node applies entries of all kinds from the checkpoint on, once and in order', async () => {
    const { node, applied, clock } = await single({ appliedIndex: 1 })
    const places = [1, 2, 3].map((value) => node.propose(Uint8Array.of(value)))
    expect(places.map(({ index, term }) => [index, term])).toEqual([
      [3, 2],
      [4, 2],
      [5, 2]
    ])
    await clock.advance(10)
    expect(applied.map(({ index, kind }) => [index, kind])).toEqual([
      [2, 'noop'],
      [3, 'normal'],
      [4, 'normal'],
      [5, 'normal']
    ])
  })

  it('a node writes the proposals of one turn in one flush', async () => {
    const { node, clock, applied } = await single()
    const before = clock.now()
    for (let i = 0; i < 100; i++) node.propose(new Uint8Array(10))
    await clock.until(() => applied.length === 102)
    expect(clock.now() - before).toBeLessThanOrEqual(1)
  })

  it('a node holds the next entries back until `apply` has completed', async () => {
    const one = await single()
    let release = (): void => {}
    one.hold = new Promise((resolve) => (release = resolve))
    one.node.propose(Uint8Array.of(1))
    await one.clock.advance(10)
    one.node.propose(Uint8Array.of(2))
    const read = one.node.readIndex()
    await one.clock.advance(10)
    expect(one.applied.at(-1)!.index).toBe(3)
    expect(one.node.status()).toMatchObject({ commitIndex: 4, appliedIndex: 2 })
    one.hold = undefined
    release()
    expect(await outcome(one.clock, read)).toBe(3)
    await one.clock.advance(10)
    expect(one.node.status().appliedIndex).toBe(4)
  })

  it('a node refuses proposals and reads beyond its limits', async () => {
    const { node, clock } = await single({ limits: { maxUncommittedBytes: 1000, maxPendingReads: 2 } })
    node.propose(new Uint8Array(900))
    expect(() => node.propose(new Uint8Array(200))).toThrow(BackPressureError)
    expect(() => node.propose(new Uint8Array(MAX_ENTRY_BYTES + 1))).toThrow(InvalidArgumentError)
    const reads = [node.readIndex(), node.readIndex()]
    await expect(node.readIndex()).rejects.toThrow(BackPressureError)
    expect(await Promise.all(reads)).toEqual([2, 2])
    await outcome(clock, node.readIndex())
  })

  it('a node stops when its disk fails, and reports that once', async () => {
    const { node, disk, clock, fatal, applied } = await single()
    disk.fail('write', new Error('EIO'))
    node.propose(Uint8Array.of(1))
    node.propose(Uint8Array.of(2))
    const read = node.readIndex()
    read.catch(() => {})
    await clock.advance(100)
    expect(fatal).toEqual([expect.any(LogFailedError)])
    expect(applied.at(-1)!.index).toBe(2)
    expect(() => node.propose(Uint8Array.of(3))).toThrow(NotLeaderError)
    await outcome(clock, node.close())
    expect(fatal).toHaveLength(1)
  })

  it('a node stops when its application throws', async () => {
    const one = await single()
    one.hold = Promise.reject(new Error('broken state'))
    one.hold.catch(() => {})
    one.node.propose(Uint8Array.of(1))
    await one.clock.advance(100)
    expect(one.fatal).toEqual([new Error('broken state')])
    await outcome(one.clock, one.node.close())
  })

  it('a node settles every pending call when it is closed, and closes once', async () => {
    const { node, clock } = await single()
    node.propose(Uint8Array.of(1))
    const read = node.readIndex()
    const closing = Promise.all([node.close(), node.close()])
    await expect(read).rejects.toThrow(NotLeaderError)
    await outcome(clock, closing)
    await expect(node.readIndex()).rejects.toThrow(NotLeaderError)
    expect(() => node.propose(Uint8Array.of(1))).toThrow(NotLeaderError)
    node.receive('b', { type: 'heartbeat', term: 9, commit: 1, round: 0 })
  })

  it('a node refuses invalid ticks', () => {
    const clock = new FakeClock()
    const components = { clock, random: seededRandom(1), transport: { send: () => {} } } as never
    expect(() => createRaftNode(components, { id: 'a', electionTicks: 4, heartbeatTicks: 4 })).toThrow(/electionTicks/)
    expect(() => createRaftNode(components, { id: 'a', tickMs: 0 })).toThrow(/tickMs/)
    expect(() => createRaftNode(components, { id: 'a', heartbeatTicks: 0.5 })).toThrow(/heartbeatTicks/)
  })

  it('a node refuses invalid limits, and names each', () => {
    const components = { clock: new FakeClock(), random: seededRandom(1), transport: { send: () => {} } } as never
    const names = Object.keys(DEFAULT_RAFT_LIMITS) as (keyof RaftLimits)[]
    for (const name of names) {
      for (const value of [-1, 0.5, Number.NaN, Infinity, 2 ** 60]) {
        expect(() => createRaftNode(components, { id: 'a', limits: { [name]: value } })).toThrow(
          expect.objectContaining({ name: 'InvalidArgumentError', argument: name, value }) as Error
        )
      }
    }
    for (const name of ['maxAppendBytes', 'maxPieceBytes']) {
      expect(() => createRaftNode(components, { id: 'a', limits: { [name]: 2 ** 30 } })).toThrow(/an integer from 1 to/)
    }
  })

  it('a node waits for the running `apply` when it is closed', async () => {
    const one = await single()
    let finish = () => {}
    one.hold = new Promise((resolve) => (finish = resolve))
    one.node.propose(Uint8Array.of(1))
    await one.clock.until(() => one.applied.length > 2)
    let isClosed = false
    const closing = one.node.close().then(() => (isClosed = true))
    await one.clock.advance(100)
    expect(isClosed).toBe(false)
    finish()
    await outcome(one.clock, closing)
  })
})

describe('followers', () => {
  it('a follower acknowledges a duplicate append no sooner than the first one is durable (Figure 2)', async () => {
    const clock = new FakeClock()
    const disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
    const bootstrap = { voters: ['a', 'b', 'c'], learners: [], context: new Uint8Array(0) }
    const log = await outcome(clock, createSegmentedLog({ disk, segmentBytes: 64 * 1024, create: { bootstrap } }))
    const sent: { at: number; message: RaftMessage }[] = []
    const node = createRaftNode(
      {
        clock,
        random: seededRandom(1),
        transport: { send: (_, message) => sent.push({ at: clock.now(), message }) },
        log,
        application: { appliedIndex: 0, apply: () => {}, onChange: () => {}, onFatal: () => {} }
      },
      { id: 'a' }
    )
    await clock.advance(1)
    const start = clock.now()
    const append: RaftMessage = {
      type: 'append',
      term: 2,
      prevIndex: 1,
      prevTerm: 1,
      commit: 1,
      entries: [{ index: 2, term: 2, kind: 'noop', data: new Uint8Array(0) }]
    }
    node.receive('b', append)
    await clock.advance(0.5)
    node.receive('b', append)
    await clock.advance(5)
    expect(sent.map(({ at, message }) => [at - start, message.type])).toEqual([
      [1, 'appendReply'],
      [1, 'appendReply']
    ])
    await outcome(clock, node.close())
  })
})

describe('deposed leaders', () => {
  it('a deposed leader without a majority rejects pending reads, although no other leader exists', async () => {
    const cluster = await Cluster.start()
    const old = await cluster.elect()
    for (const each of cluster.members) cluster.isolate(each)
    const read = old.node!.readIndex()
    await expect(outcome(cluster.clock, read)).rejects.toThrow(NotLeaderError)
    cluster.heal()
    await cluster.elect()
    await cluster.close()
  })

  it('a deposed leader rejects pending reads, and names the new leader to proposals', async () => {
    const cluster = await Cluster.start()
    const old = await cluster.elect()
    cluster.isolate(old)
    const read = old.node!.readIndex()
    read.catch(() => {})
    expect(await cluster.clock.until(() => cluster.leader!.id !== old.id && cluster.leader!.status!.ready)).toBe(true)
    const { id } = cluster.leader!
    cluster.heal()
    await expect(outcome(cluster.clock, read)).rejects.toThrow(NotLeaderError)
    await cluster.clock.until(() => old.status!.leader === id)
    expect(() => old.propose('x')).toThrow(expect.objectContaining({ name: 'NotLeaderError', leader: id }))
    await cluster.close()
  })
})
