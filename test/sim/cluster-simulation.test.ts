import { describe, expect, it } from 'vitest'
import { FLOORS, PER_SEED } from './src/cluster/floors.js'
import { simulate } from './src/cluster/simulation.js'
import { minimize } from './src/minimize.js'
import { expectSound } from './cluster-support.js'

const SEEDS = 30

describe('Quire on simulated machines', { timeout: 120_000 }, () => {
  it('Quire keeps all guarantees on simulated machines, with linearizable histories, under crashes, partitions, stalls and broken streams', async () => {
    const coverage = await expectSound(1, SEEDS)
    // Expect half of the command's floors. These few seeds tell nothing of rare cases.
    for (const [met, floor] of FLOORS) {
      const least = (floor * SEEDS) / 1000 / 2
      if (least >= 10) expect(coverage.get(met), met).toBeGreaterThan(least)
    }
    for (const [met, floor] of PER_SEED) expect(coverage.get(met) / SEEDS, met).toBeGreaterThan(floor / 2)
  })
})

describe('the cluster simulator', { timeout: 120_000 }, () => {
  it('the cluster simulator behaves the same for the same seed', async () => {
    const first = await simulate({ seed: 11, isHashed: true })
    const second = await simulate({ seed: 11, isHashed: true })
    expect(first.hash).toMatch(/^[0-9a-f]{16}$/)
    expect(second.hash).toBe(first.hash)
    expect(second.events).toBe(first.events)
    expect([...second.coverage.counts]).toEqual([...first.coverage.counts])
    const other = await simulate({ seed: 12, isHashed: true })
    expect(other.hash).not.toBe(first.hash)
  })

  it('the cluster simulator runs a seed without some of its faults, or with only some of them', async () => {
    const { injected } = await simulate({ seed: 11 })
    expect(injected.length).toBeGreaterThan(3)
    const some = await simulate({ seed: 11, only: new Set([2, 3]) })
    expect(some.injected.map(({ number }) => number)).toEqual([2, 3])
    const without = await simulate({ seed: 11, without: new Set([0, 1]) })
    expect(without.injected).toEqual(injected.filter(({ number }) => number > 1))
  })

  it('the cluster simulator finds the fewest faults that make a seed fail', async () => {
    const run = (selection: { readonly only?: ReadonlySet<number> }) => {
      const all = [0, 1, 2, 3, 4, 5, 6, 7, 8]
      const there = all.filter((number) => selection.only?.has(number) ?? true)
      const failure = there.includes(3) && there.includes(7) ? new Error('both') : undefined
      return Promise.resolve({ failure, injected: there.map((number) => ({ number, kind: 'crashPeer' })) })
    }
    const { needed, all } = await minimize(run)
    expect(needed.map(({ number }) => number)).toEqual([3, 7])
    expect(all).toBe(9)
  })
})
