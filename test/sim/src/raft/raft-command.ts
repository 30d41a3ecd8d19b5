/** `pnpm sim raft`: Raft alone, under every fault that it is to bear. */
import { Violation } from '../violation.js'
import type { Job } from '../runner.js'
import { minimise } from './minimise.js'
import type { Selection } from './schedule.js'
import { simulateRaft } from './simulation.js'

export const RAFT_USAGE = `usage: pnpm sim raft [--seeds N] [--from SEED] [--workers N] [--keep-going] [--trace] [--verbose]
                     [--without N,N | --only N,N] [--full-size]
       pnpm sim raft --mutants [NAME] [--seeds N] [--from SEED] [--workers N]

  --seeds N     how many, default 100; floors of coverage are enforced from 1000 on
  --from SEED   the first, default 1
  --workers N   default: one for each core
  --keep-going  does not stop at the first that fails
  --trace       prints what happens; with one seed
  --verbose     prints a line for each seed
  --without N,N leaves out these faults and operations; 0 is the noise of network and disks
  --only N,N    leaves out all others
  --full-size   does not look for the fewest faults that make a seed fail
  --mutants     takes away one rule after the other, or NAME alone, and expects seeds to fail`

const TRACE_LINES = 60
/** Seeds of one run that are minimised; the others are like them, often enough. */
const MAX_MINIMISED = 3

/** Undefined when a number is none. */
export function readSelection(values: {
  readonly without?: string | undefined
  readonly only?: string | undefined
}): Selection | undefined {
  const [without, only] = [values.without, values.only].map((text) => text?.split(',').map(Number))
  for (const numbers of [without, only]) {
    if (numbers?.some((number) => !Number.isSafeInteger(number) || number < 0) === true) return undefined
  }
  return { ...(without && { without: new Set(without) }), ...(only && { only: new Set(only) }) }
}

export function createRaftJob(selection: Selection, { isMinimised }: { readonly isMinimised: boolean }): Job {
  let minimised = 0
  return {
    runSeed: async (seed, trace) => {
      const result = await simulateRaft({ seed, ...selection, ...(trace && { trace }) })
      const { events, virtualMs, traceHash, coverage, failure } = result
      return {
        seed,
        events,
        virtualMs,
        traceHash,
        counts: [...coverage.counts],
        failure: failure && describe(failure)
      }
    },
    onFailure: async (seed) => {
      if (!isMinimised || minimised++ >= MAX_MINIMISED) {
        console.log(`again: ${again(seed, selection)}\n`)
        return
      }
      await explain(seed)
    }
  }
}

/** Finds the fewest faults that make the seed fail alike, and prints the end of what happens then. */
async function explain(seed: number): Promise<void> {
  const { needed, all, runs } = await minimise({ seed })
  const lines: string[] = []
  const only = new Set(needed.map(({ number }) => number))
  const { failure } = await simulateRaft({ seed, only, trace: (line) => lines.push(line) })
  const names = needed.map(({ number, kind }) => `${number} ${kind}`).join(', ')
  console.log(`\nfails with ${needed.length} of ${all} faults and operations (${runs} runs): ${names}`)
  for (const line of lines.slice(-TRACE_LINES)) console.log(line)
  if (failure !== undefined && !(failure instanceof Violation)) console.log(describe(failure))
  console.log(`\nagain: ${again(seed, { only })}`)
  console.log(`whole: ${again(seed, {})}\n`)
}

function again(seed: number, { without, only }: Selection): string {
  const parts = [`pnpm sim raft --seeds 1 --from ${seed} --trace`]
  if (without !== undefined) parts.push(`--without ${[...without].join(',')}`)
  if (only !== undefined) parts.push(`--only ${[...only].join(',')}`)
  return parts.join(' ')
}

function describe(failure: Error): string {
  const cause = failure.cause instanceof Error ? `\ncaused by ${failure.cause.stack ?? failure.cause.message}` : ''
  return `${failure.stack ?? failure.message}${cause}`
}
