import { afterEach, describe, expect, it } from 'vitest'
import { fromString } from 'uint8arrays/from-string'
import { NotLeaderError } from '../src/index.js'
import { Cluster, type Member } from './support/cluster.js'

let cluster: Cluster

afterEach(async () => {
  expect(cluster.members.map(({ fatal }) => fatal).filter((error) => error !== undefined)).toEqual([])
  await cluster.close()
})

/** What a proposer knows of its proposal, by the entries that it has applied. */
function fateOf(member: Member, { index, term }: { index: number; term: number }): 'pending' | 'committed' | 'lost' {
  const applied = member.applied[index - 1]
  if (applied === undefined) return 'pending'
  return applied.term === term ? 'committed' : 'lost'
}

/** How promises ended, in their order; undefined for those that are pending. */
function watch(promises: readonly Promise<unknown>[]): readonly unknown[] {
  const outcomes: unknown[] = promises.map(() => undefined)
  for (const [i, promise] of promises.entries()) {
    promise.then(
      () => (outcomes[i] = 'resolved'),
      (error: unknown) => (outcomes[i] = error)
    )
  }
  return outcomes
}

describe('calls that wait at a deposed leader', () => {
  it('35 pending proposals settle after step-down and snapshot (no caller waits forever)', async () => {
    const limits = { retainedBytes: 600, maxPieceBytes: 300 }
    cluster = await Cluster.start({ segmentBytes: 4096, snapshotEvery: 20, limits })
    const old = await cluster.elect()
    const committed = old.node!.propose(fromString('committed'))
    await cluster.clock.advance(100)
    cluster.isolate(old)
    const lost = Array.from({ length: 3 }, (_, i) => old.node!.propose(fromString(`lost ${i}`)))
    const to = cluster.members.find(({ id }) => id !== old.id)!.id
    const outcomes = watch([old.node!.readIndex(), old.node!.readIndex(), old.node!.transferLeadership(to)])

    // The leader steps down by itself. Its reads are rejected. The transfer waits for a leader to appear.
    expect(await cluster.clock.until(() => old.status!.role !== 'leader', 5000)).toBe(true)
    await cluster.clock.advance(1)
    expect(outcomes.slice(0, 2)).toEqual([expect.any(NotLeaderError), expect.any(NotLeaderError)])
    expect(() => old.node!.propose(fromString('x'))).toThrow(NotLeaderError)
    await expect(old.node!.readIndex()).rejects.toThrow(NotLeaderError)

    // The others go on until the old leader needs a snapshot, which covers the indexes of its proposals.
    const leader = await cluster.elect()
    expect(leader.id).not.toBe(old.id)
    for (let i = 0; i < 200; i++) {
      leader.propose(`entry ${i} ${'.'.repeat(100)}`)
      if (i % 10 === 9) await cluster.clock.advance(20)
    }
    await cluster.clock.advance(200)
    expect(leader.status!.firstIndex).toBeGreaterThan(lost.at(-1)!.index)
    cluster.heal()
    expect(await cluster.converge(leader.propose('last'))).toBe(true)
    expect(old.snapshots.received).toBeGreaterThan(0)

    expect(fateOf(old, committed)).toBe('committed')
    expect(lost.map((each) => fateOf(old, each))).toEqual(['lost', 'lost', 'lost'])
    expect(outcomes.every((outcome) => outcome !== undefined)).toBe(true)
  })

  it('pending calls settle if the leader is alone and no other leader ever appears', async () => {
    cluster = await Cluster.start()
    const old = await cluster.elect()
    for (const member of cluster.members) cluster.isolate(member)
    const to = cluster.members.find(({ id }) => id !== old.id)!.id
    const outcomes = watch([old.node!.readIndex(), old.node!.transferLeadership(to)])
    await cluster.clock.advance(5000)
    expect(outcomes.map((outcome) => (outcome as Error | undefined)?.name)).toEqual([
      'NotLeaderError',
      'TransferFailedError'
    ])
  })
})
