/** Peers that compare their states, in virtual time. */
import pino from 'pino'
import { afterEach, describe, expect, it } from 'vitest'
import { PageEncoder, pageKey } from '../src/pages/page-rows.js'
import type { ReplicaLimits } from '../src/peer/replica.js'
import { DamagedPageError, encodeCommand } from '../src/state/index.js'
import { filled } from './state-helpers.js'
import { PeerCluster, type ClusterPeer } from './support/peer-cluster.js'
import { change } from './support/snapshot-rows.js'

interface Line {
  readonly self: string
  readonly level: number
  readonly msg: string
  readonly index?: number
  readonly hash?: string
  readonly agreed?: string
  readonly file?: number
  readonly page?: number
  readonly peers?: Readonly<Record<string, string>>
}

const INTERVAL_MS = 10_000
const ERROR = 50
let lines: Line[] = []
let cluster: PeerCluster

async function setUp(ids: readonly string[], scrub: ReplicaLimits['scrub'] = {}): Promise<void> {
  lines = []
  cluster = new PeerCluster(ids, {
    replicaLimits: { checkpointIntervalMs: 200, scrub: { intervalMs: INTERVAL_MS, ...scrub } },
    logger: pino({ level: 'debug', base: null }, { write: (line) => void lines.push(JSON.parse(line) as Line) })
  })
  await cluster.start()
}

afterEach(async () => {
  await cluster.stop()
  await cluster.clock.advance(100)
  expect(cluster.clock.pending).toBe(0)
})

function linesOf(peer: ClusterPeer, msg: string): Line[] {
  return lines.filter((line) => line.self === peer.id && line.msg === msg)
}

function comparisonOf(peer: ClusterPeer): { readonly index: number; readonly outcome: string } | undefined {
  return peer.core.status().scrub.comparison
}

/** Waits until a comparison of an entry after `index` has this outcome at all these peers. Returns its index. */
async function compared(outcome: string, index = 0, peers = cluster.peers): Promise<number> {
  await cluster.until(() =>
    peers.every((peer) => comparisonOf(peer)?.outcome === outcome && comparisonOf(peer)!.index > index)
  )
  return comparisonOf(peers[0]!)!.index
}

/** Waits until all peers have everything on disk, and gives the page of one file other bytes with valid checksums. */
async function diverge(...peers: readonly ClusterPeer[]): Promise<void> {
  await cluster.store(3)
  await cluster.converge()
  const { durableIndex } = cluster.leader!.core.root.replica.applier
  await cluster.until(() => cluster.peers.every(({ core }) => core.root.replica.applier.durableIndex > durableIndex))
  const { state } = peers[0]!.core.root.replica.applier
  const file = state.list('/', '', 1)[0]!.id
  const key = pageKey(file, 0)
  const { head, body } = new PageEncoder().encode(file, 0, state.version(file, 0), filled(99))
  for (const { pages } of peers) {
    await cluster.run(change(pages, { table: 'heads', key, value: head }, { table: 'bodies', key, value: body }))
  }
}

/** Three peers with some files on their disks. A test damages what one of them has of the first file. */
async function storeFiles() {
  await setUp(['a', 'b', 'c'])
  await cluster.store(3)
  await cluster.converge()
  await cluster.clock.advance(1_000)
  const damaged = cluster.peers[1]!
  const { state } = damaged.core.root.replica.applier
  return { damaged, state, file: state.list('/', '', 1)[0]!.id }
}

describe('peers that compare their states', () => {
  it('healthy peers agree under load, again and again, and say so once for each comparison', async () => {
    await setUp(['a', 'b', 'c'])
    const found: number[] = []
    for (let round = 0; round < 3; round++) {
      await cluster.store(10)
      found.push(await compared('equal', found.at(-1)))
    }
    const told = linesOf(cluster.peers[0]!, 'all voters have the same state')
    expect(told.map(({ index }) => index)).toEqual(found)
    expect(lines.filter(({ level }) => level >= ERROR)).toEqual([])
    for (const { core } of cluster.peers) {
      expect(core.status().scrub).toMatchObject({ damagedPages: 0, damagedRecords: 0 })
    }
  })

  it('a leader proposes a comparison one interval after the last one, whoever led then', async () => {
    await setUp(['a', 'b', 'c'])
    const first = await compared('equal')
    const { clock } = cluster
    const startedAtMs = clock.now()
    await clock.advance(INTERVAL_MS / 2)
    const former = cluster.leader!
    await cluster.run(former.core.root.node!.transferLeadership())
    await cluster.until(() => cluster.leader !== undefined && cluster.leader !== former)
    await compared('equal', first)
    expect(clock.now() - startedAtMs).toBeGreaterThan(INTERVAL_MS - 1_500)
    expect(clock.now() - startedAtMs).toBeLessThan(INTERVAL_MS + 2_500)
  })

  it('a peer with another page than the majority is named, stops, and is refused at its next start', async () => {
    await setUp(['a', 'b', 'c'])
    const wrong = cluster.peers.find((peer) => peer !== cluster.leader)!
    const others = cluster.peers.filter((peer) => peer !== wrong)
    await diverge(wrong)
    await cluster.until(() => wrong.fatal.length > 0)
    const [line] = linesOf(wrong, 'this peer has another state than a majority of the voters')
    const { index, hash, agreed } = line!
    expect([line!.level, hash === agreed]).toEqual([ERROR, false])
    const words = `its state after entry ${index} has the hash ${hash}, but that of a majority of the voters has ${agreed}; start the peer with --join and --rejoin`
    expect(wrong.fatal).toMatchObject([{ name: 'CorruptionError', reason: expect.stringContaining(words) }])
    await compared('differs', index! - 1, others)
    for (const peer of others) {
      expect(peer.fatal).toEqual([])
      const [named] = linesOf(peer, 'a peer has another state than a majority of the voters')
      expect(named).toMatchObject({ level: ERROR, index, peers: { [wrong.id]: hash, [peer.id]: agreed } })
    }
    await wrong.stop()
    await expect(wrong.start()).rejects.toMatchObject({
      name: 'CorruptionError',
      reason: expect.stringContaining(words)
    })
    cluster.peers.splice(cluster.peers.indexOf(wrong), 1)
  })

  it('a leader with another page than the majority stops as well', async () => {
    await setUp(['a', 'b', 'c'])
    const wrong = cluster.leader!
    await diverge(wrong)
    await cluster.until(() => wrong.fatal.length > 0)
    expect(cluster.peers.flatMap(({ fatal }) => fatal)).toHaveLength(1)
  })

  it('two against two stop nobody, and every peer names all of them', async () => {
    await setUp(['a', 'b', 'c', 'd'])
    const { peers } = cluster
    await diverge(peers[2]!, peers[3]!)
    const index = await compared('differs')
    await cluster.clock.advance(1_000)
    const msg = 'the voters have different states, and no majority agrees on one'
    const [first] = linesOf(peers[0]!, msg)
    const { a, b, c, d } = first!.peers!
    expect([a === b, c === d, a === c]).toEqual([true, true, false])
    for (const peer of peers) {
      expect(linesOf(peer, msg)).toMatchObject([{ level: ERROR, index, peers: { a, b, c, d } }])
      expect(peer.fatal).toEqual([])
    }
  })

  it.each([
    ['a damaged body', 'bodies'],
    ['a damaged head', 'heads']
  ] as const)(
    'a peer repairs a page with %s that a scrub has found, so that the next comparison is equal',
    async (_, table) => {
      await setUp(['a', 'b', 'c'])
      await cluster.store(3)
      await cluster.converge()
      await cluster.clock.advance(1_000)
      const damaged = cluster.peers[1]!
      expect(damaged.pages.damage(table, 1, 9)).toBe(true)
      const index = await compared('incomplete')
      expect(damaged.core.status().scrub).toMatchObject({ damagedPages: 1, damagedRecords: 0 })
      await compared('equal', index)
      const { scrub, repairs } = damaged.core.status()
      expect([scrub.damagedPages, repairs]).toEqual([1, { damaged: 0, repaired: 1, lost: 0 }])
      expect(cluster.peers.flatMap(({ fatal }) => fatal)).toEqual([])
    }
  )

  it('a page whose head is gone is damaged, not absent, and a peer repairs it', async () => {
    const { damaged, state, file } = await storeFiles()
    const { bytes } = state.page(file, 0)
    await cluster.run(change(damaged.pages, { table: 'heads', key: pageKey(file, 0), value: undefined }))
    expect(() => state.page(file, 0)).toThrow(DamagedPageError)
    expect(() => state.version(file, 0)).toThrow(DamagedPageError)
    const index = await compared('incomplete')
    await compared('equal', index)
    expect(state.page(file, 0).bytes).toEqual(bytes)
  })

  it.each([
    ['a head', 'heads'],
    ['a body', 'bodies']
  ] as const)('a peer removes %s of a page that no other peer has', async (_, table) => {
    const { damaged, file } = await storeFiles()
    // As if a bit of the key had flipped.
    const stray = { table, key: pageKey(file + 64, 0), value: new Uint8Array(45).fill(1) }
    await cluster.run(change(damaged.pages, stray))
    const index = await compared('incomplete')
    await compared('equal', index)
    expect(damaged.core.status().repairs).toEqual({ damaged: 0, repaired: 1, lost: 0 })
  })

  it('the rows of a removed page go, even if damage has left one without the other', async () => {
    const { damaged, state, file } = await storeFiles()
    await cluster.run(change(damaged.pages, { table: 'heads', key: pageKey(file, 0), value: undefined }))
    await cluster.truncate(file, 0)
    await cluster.converge()
    await compared('equal')
    expect(state.page(file, 0).bytes).toBeUndefined()
  })

  it('a peer with a damaged record writes its records anew, so that the next comparison is equal', async () => {
    await setUp(['a', 'b', 'c'])
    await cluster.store(3)
    await cluster.converge()
    await cluster.clock.advance(1_000)
    const damaged = cluster.peers[1]!
    // Behind the format and the applied index, which each checkpoint writes anyway.
    expect(damaged.pages.damage('records', 3, 40)).toBe(true)
    const index = await compared('incomplete')
    expect(damaged.core.status().scrub).toMatchObject({ damagedPages: 0, damagedRecords: 1 })
    await compared('equal', index)
    expect(damaged.core.status().scrub).toMatchObject({ damagedPages: 0, damagedRecords: 1 })
  })

  it('a peer that was away while the others compared compares when it applies the entry', async () => {
    await setUp(['a', 'b', 'c'])
    const late = cluster.peers.find((peer) => peer !== cluster.leader)!
    cluster.isolate(late)
    const others = cluster.peers.filter((peer) => peer !== late)
    await cluster.until(() => others.every((peer) => comparisonOf(peer)?.outcome === 'pending'))
    const { index } = comparisonOf(others[0]!)!
    // Until the walks of both are over.
    await cluster.clock.advance(1_000)
    expect(comparisonOf(late)).toBeUndefined()
    cluster.heal()
    await compared('equal', index - 1)
    expect(comparisonOf(late)).toEqual({ index, outcome: 'equal' })
  })

  it('a peer whose earlier scrub still runs reports the next comparison as incomplete, and a leader waits for its own', async () => {
    await setUp(['a', 'b', 'c'], { intervalMs: 1_000, bytesPerSecond: 16_384, sliceBytes: 4_096 })
    await cluster.store(3)
    const first = await compared('equal')
    const { leader } = cluster
    // Each walk takes several intervals.
    const index = await compared('equal', first)
    expect(linesOf(leader!, 'this peer does not compare its state')).toEqual([])
    leader!.core.root.node!.propose(encodeCommand({ type: 'compare', at: 0 }))
    leader!.core.root.node!.propose(encodeCommand({ type: 'compare', at: 0 }))
    await compared('incomplete', index)
    expect(linesOf(leader!, 'this peer does not compare its state')).toHaveLength(1)
  })
})
