import { describe, expect, it } from 'vitest'
import { Cluster, type Member } from './support/cluster.js'

/**
 * Clusters under random loss, duplication, reordering, partitions and power loss, in virtual time. While they run, every
 * application compares what it applies with what any other applied (State Machine Safety), and leaders are noted by term
 * (Election Safety); both throw inside the node, which then reports a fatal error.
 */
const SEEDS = process.env.QUIRE_LONG === '1' ? 500 : 25

describe('a cluster with faults', () => {
  it.each(Array.from({ length: SEEDS }, (_, i) => i + 1))(
    'loses nothing that was applied, and agrees in the end (seed %i)',
    { timeout: 30_000 },
    async (seed) => {
      const size = seed % 3 === 0 ? 5 : 3
      const cluster = await Cluster.start({
        seed,
        size,
        loss: (seed % 5) / 50,
        duplication: 0.02,
        segmentBytes: 16 * 1024,
        limits: { maxAppendBytes: 2000, maxInflightMessages: 3, maxApplyBytes: 500 }
      })
      const reads = new ReadCheck(cluster)
      for (let step = 0; step < 120; step++) {
        await cluster.clock.run(cluster.random.next() * 120)
        disturb(cluster)
        load(cluster, step)
        reads.ask()
        expectHealthy(cluster)
      }
      await recoverAll(cluster)
      await cluster.elect()
      const last = await proposeLast(cluster)
      expect(await cluster.converge(last)).toBe(true)
      expectHealthy(cluster)
      const texts = cluster.members.map((member) => member.texts)
      for (const other of texts) expect(other).toEqual(texts[0])
      expect(cluster.chosen.size).toBeGreaterThanOrEqual(last)
      await reads.settle()
      await cluster.close()
    }
  )
})

function disturb(cluster: Cluster): void {
  const { random, members } = cluster
  const victim = members[Math.floor(random.next() * members.length)]!
  const chance = random.next()
  if (chance < 0.1) {
    victim.crash()
  } else if (chance < 0.16) {
    cluster.isolate(victim)
  } else if (chance < 0.2) {
    // One way only: it sends, but cannot hear.
    for (const other of members) cluster.cut.add(`${other.id}>${victim.id}`)
  } else if (chance < 0.35) {
    cluster.heal()
  }
  for (const member of members) if (!member.running && random.next() < 0.25) void member.start()
}

function load(cluster: Cluster, step: number): void {
  for (const member of cluster.members) {
    if (member.status?.role !== 'leader') continue
    const count = Math.floor(cluster.random.next() * 6)
    for (let i = 0; i < count; i++)
      member.propose(`${member.id} ${step}.${i} ${'.'.repeat(cluster.random.next() * 700)}`)
  }
}

/** §8: a read sees everything that was applied anywhere before it was asked for. */
class ReadCheck {
  private failure: Error | undefined

  constructor(private readonly cluster: Cluster) {}

  ask(): void {
    for (const member of this.cluster.members) {
      if (member.node === undefined || member.status?.role !== 'leader') continue
      const floor = this.cluster.chosen.size
      member.node.readIndex().then(
        (index) => {
          if (index < floor) this.failure = new Error(`${member.id} read at ${index}, ${floor} was applied before`)
        },
        () => {}
      )
    }
  }

  async settle(): Promise<void> {
    await this.cluster.clock.run(1000)
    expect(this.failure).toBeUndefined()
  }
}

function expectHealthy(cluster: Cluster): void {
  for (const { id, fatal } of cluster.members)
    if (fatal !== undefined) throw new Error(`${id} failed`, { cause: fatal })
}

async function recoverAll(cluster: Cluster): Promise<void> {
  cluster.heal()
  const stopped = cluster.members.filter((member) => !member.running)
  for (const member of stopped) void member.start()
  expect(await cluster.clock.until(() => cluster.members.every(({ node }) => node !== undefined))).toBe(true)
}

/** The leader may be deposed while it tries. */
async function proposeLast(cluster: Cluster): Promise<number> {
  for (;;) {
    const leader: Member = await cluster.elect()
    const index = leader.propose('last')
    const { term } = leader.status!
    const settled = await cluster.clock.until(() => leader.status!.appliedIndex >= index || leader.status!.term > term)
    if (settled && leader.applied.at(index - 1)?.term === term) return index
  }
}
