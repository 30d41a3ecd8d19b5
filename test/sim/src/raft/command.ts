/** `pnpm sim raft`: Raft alone, under every fault that it must tolerate. */
import { createExplain, describe } from '../explain.js'
import type { Job, JobOptions } from '../runner.js'
import type { Selection } from '../schedule.js'
import { simulateRaft } from './simulation.js'

export function createRaftJob(selection: Selection, { isMinimized, isHashed }: JobOptions): Job {
  return {
    runSeed: async (seed, trace) => {
      const result = await simulateRaft({ seed, isHashed, ...selection, ...(trace && { trace }) })
      const { events, virtualMs, hash, coverage, failure } = result
      return {
        seed,
        events,
        virtualMs,
        hash,
        counts: [...coverage.counts],
        failure: failure && describe(failure)
      }
    },
    onFailure: createExplain({ name: 'raft', run: simulateRaft, selection, isMinimized })
  }
}
