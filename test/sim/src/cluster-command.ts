/** `pnpm sim cluster`: the whole of Quire on simulated machines. */
import { withNames } from './ids.js'
import type { Job } from './runner.js'
import { simulate } from './simulation.js'

export const CLUSTER_USAGE = `usage: pnpm sim cluster [--seeds N] [--from SEED] [--workers N] [--keep-going] [--trace] [--verbose]

  --seeds N     how many, default 100
  --from SEED   the first, default 1
  --workers N   default: one for each core
  --keep-going  does not stop at the first that fails
  --trace       prints every event; with one seed
  --verbose     prints a line for each seed`

export const clusterJob: Job = {
  runSeed: async (seed, trace) => {
    const { events, virtualMs, traceHash, coverage, failure } = await simulate({ seed, ...(trace && { trace }) })
    const text =
      failure === undefined ? undefined : withNames(`${failure.name}: ${failure.message}\n${failure.stack ?? ''}`)
    return { seed, events, virtualMs, traceHash, counts: [...coverage.counts], failure: text }
  },
  onFailure: (seed) => console.log(`again: pnpm sim cluster --seeds 1 --from ${seed} --trace\n`)
}
