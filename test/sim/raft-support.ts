import { expect } from 'vitest'
import { Coverage } from './src/coverage.js'
import type { RaftSettings } from './src/raft/settings.js'
import { simulateRaft } from './src/raft/simulation.js'

/** Runs seeds of the Raft simulation, expects all of them to pass, and returns their coverage. */
export async function expectSoundRaft(
  from: number,
  count: number,
  settings = (drawn: RaftSettings) => drawn
): Promise<Coverage> {
  const coverage = new Coverage()
  for (let seed = from; seed < from + count; seed++) {
    const result = await simulateRaft({ seed, settings })
    expect(result.failure, `pnpm sim raft --seeds 1 --from ${seed}`).toBeUndefined()
    coverage.merge(result.coverage.counts)
  }
  return coverage
}
