import { expect } from 'vitest'
import type { Settings } from './src/cluster/settings-types.js'
import { simulate } from './src/cluster/simulation.js'
import { Coverage } from './src/coverage.js'

/** Runs seeds of the cluster simulation, expects all of them to pass, and returns their coverage. */
export async function expectSound(
  from: number,
  count: number,
  settings = (drawn: Settings) => drawn
): Promise<Coverage> {
  const coverage = new Coverage()
  for (let seed = from; seed < from + count; seed++) {
    const result = await simulate({ seed, settings })
    expect(result.failure, `pnpm sim cluster --seeds 1 --from ${seed} --trace`).toBeUndefined()
    coverage.merge(result.coverage.counts)
  }
  return coverage
}
