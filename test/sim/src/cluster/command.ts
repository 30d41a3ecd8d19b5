/** `pnpm sim cluster`: the whole of Quire on simulated machines. */
import { createExplain, describe } from '../explain.js'
import type { Job, JobOptions } from '../runner.js'
import type { Selection } from '../schedule.js'
import { withNames } from './ids.js'
import { simulate } from './simulation.js'

export function createClusterJob(selection: Selection, { isMinimized, isHashed }: JobOptions): Job {
  return {
    runSeed: async (seed, trace) => {
      const result = await simulate({ seed, isHashed, ...selection, ...(trace && { trace }) })
      const { events, virtualMs, hash, coverage, failure } = result
      const counts = [...coverage.counts]
      return { seed, events, virtualMs, hash, counts, failure: failure && withNames(describe(failure)) }
    },
    onFailure: createExplain({ name: 'cluster', run: simulate, selection, isMinimized })
  }
}
