import { describe, expect, it } from 'vitest'
import { seeded } from '../../packages/raft/src/log-compliance/rig.js'
import { CoherenceModel, type ModelOptions } from './model.js'

const SEEDS = 150

function runSeeds(options: ModelOptions, from = 1, count = SEEDS) {
  const sums: Record<string, number> = {}
  for (let seed = from; seed < from + count; seed++) {
    const model = new CoherenceModel(seeded(seed), options)
    try {
      model.run()
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
    for (const [name, count] of Object.entries(model.counts)) sums[name] = (sums[name] ?? 0) + count
  }
  return sums
}

describe('the directory and the cores of clients', () => {
  it('the directory and the cores of clients agree on one page while nothing fails', () => {
    const sums = runSeeds({ clients: 3, pages: 1, steps: 600 })
    expect(sums['reads']).toBeGreaterThan(1000)
    expect(sums['writes']).toBeGreaterThan(1000)
    expect(sums['diffs']).toBeGreaterThan(150)
  })

  it('the directory and the cores of clients agree on pages that do not all fit in a cache', () => {
    const sums = runSeeds({ clients: 3, pages: 40, steps: 4000 }, 1, 60)
    expect(sums['evictions']).toBeGreaterThan(1000)
  })

  it('the directory and the cores of clients agree across broken connections', () => {
    const sums = runSeeds({ clients: 3, pages: 3, steps: 1500, breaks: 0.01 })
    expect(sums['breaks']).toBeGreaterThan(500)
  })

  it('the directory and the cores of clients agree across leaders', () => {
    const sums = runSeeds({ clients: 3, pages: 3, steps: 1500, breaks: 0.005, elections: 0.005 })
    expect(sums['elections']).toBeGreaterThan(500)
    expect(sums['diffs']).toBeGreaterThan(150)
  })

  it('the directory and the cores of clients agree across leaders, broken connections and expired sessions', () => {
    const sums = runSeeds({ clients: 4, pages: 4, steps: 2000, breaks: 0.006, elections: 0.004, expiries: 0.004 })
    expect(sums['expiries']).toBeGreaterThan(500)
  })
})
