/** `pnpm sim cluster` and `pnpm sim raft`: runs many seeds on all cores, and says how to run a failed one again. */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { createClusterJob } from './cluster/command.js'
import { CLUSTER_FLOORS } from './cluster/floors.js'
import { CLUSTER_SUITE } from './cluster/mutants.js'
import { enforceFloors, type Floors } from './floors.js'
import { checkHashes, HASHED_SEEDS } from './hashes.js'
import type { Suite } from './mutants/mutant.js'
import { runMutants } from './mutants/run.js'
import { RAFT_FLOORS } from './raft/floors.js'
import { RAFT_SUITE } from './raft/suite.js'
import { createRaftJob } from './raft/command.js'
import { readRunOptions, Run, runFlags, type Job, type JobOptions, type RunOptions } from './runner.js'
import { readSelection, type Selection } from './schedule.js'

const USAGE = `usage: pnpm sim cluster|raft [--seeds N] [--from SEED] [--workers N] [--keep-going] [--trace] [--verbose]
                             [--without N,N | --only N,N] [--full-size]
       pnpm sim cluster|raft --mutants [NAME] [--seeds N] [--from SEED] [--workers N]
       pnpm sim cluster|raft --hashes compare|write [--workers N]

cluster runs all of Quire on simulated machines, raft runs Raft alone. Both inject every fault that Quire must tolerate.

  --seeds N     number of seeds, default 100; floors of coverage count from 1000 on
  --from SEED   first seed, default 1; the last one must be below 2 ** 32
  --workers N   number of workers, default one for each core
  --keep-going  goes on after a seed that fails
  --trace       prints what happens; use it with one seed
  --verbose     prints a line for each seed
  --without N,N leaves out these faults and operations; 0 is the noise of network and disks
  --only N,N    leaves out all others
  --full-size   does not look for the fewest faults that make a seed fail
  --mutants     takes away one rule after the other, or only that of the mutant NAME, and expects seeds to fail;
                a wrong NAME prints all names
  --hashes compare
                runs seeds 1 to ${HASHED_SEEDS} and compares a hash of everything observable with test/sim/hashes:
                a change of structure leaves all hashes as they are
  --hashes write
                writes the hashes anew, for a change that is meant to change behavior`

interface Simulator {
  /** Names the file of hashes. */
  readonly name: string
  readonly createJob: (selection: Selection, options: JobOptions) => Job
  readonly floors: Floors
  readonly suite: Suite
}

const SIMULATORS: Readonly<Record<string, Simulator>> = {
  cluster: { name: 'cluster', createJob: createClusterJob, floors: CLUSTER_FLOORS, suite: CLUSTER_SUITE },
  raft: { name: 'raft', createJob: createRaftJob, floors: RAFT_FLOORS, suite: RAFT_SUITE }
}

interface Command {
  readonly name: string
  readonly job: Job
  readonly options: RunOptions
  readonly floors: Floors
  readonly suite: Suite
  readonly mutants: string | undefined
  readonly hashes: 'compare' | 'write' | undefined
  /** Some faults of each seed are left out, so its coverage means nothing. */
  readonly isPartial: boolean
}

function readCommand(args: string[]): Command | undefined {
  const simulator = SIMULATORS[args[0] ?? '']
  if (simulator === undefined) return undefined
  try {
    return read(simulator, args)
  } catch {
    return undefined
  }
}

function read({ name, createJob, floors, suite }: Simulator, args: string[]): Command | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...runFlags(availableParallelism()),
      without: { type: 'string' },
      only: { type: 'string' },
      'full-size': { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false },
      hashes: { type: 'string' }
    }
  })
  const options = readRunOptions(values)
  const selection = readSelection(values)
  if (options === undefined || selection === undefined) return undefined
  if (positionals.length > (values.mutants ? 2 : 1)) return undefined
  const { hashes } = values
  if (hashes !== undefined && hashes !== 'compare' && hashes !== 'write') return undefined
  const isPartial = values.without !== undefined || values.only !== undefined
  const isMinimized = !values['full-size'] && !isPartial && !options.trace
  const job = createJob(selection, { isMinimized, isHashed: hashes !== undefined || options.verbose })
  const mutants = values.mutants ? (positionals[1] ?? '') : undefined
  return { name, job, options, floors, suite, isPartial, mutants, hashes }
}

async function main(args: string[]): Promise<number> {
  if (args.includes('--help')) {
    console.log(USAGE)
    return 0
  }
  const command = readCommand(args)
  if (command === undefined) {
    console.error(USAGE)
    return 2
  }
  const { name, job, options, floors, suite, mutants, hashes, isPartial } = command
  const entry = { file: fileURLToPath(import.meta.url), args }
  if (mutants !== undefined) return runMutants(suite, options, mutants)
  if (hashes !== undefined) {
    const file = fileURLToPath(new URL(`../hashes/${name}.txt`, import.meta.url))
    return checkHashes({ job, entry, file, workers: options.workers, mode: hashes })
  }
  const summary = await new Run(job, options, entry).start()
  if (summary.failed.length > 0) return 1
  return !isPartial && !options.trace && !enforceFloors(floors, summary) ? 1 : 0
}

if (isMainThread) {
  process.exitCode = await main(process.argv.slice(2))
} else {
  const { job } = readCommand((workerData as { readonly args: string[] }).args)!
  parentPort!.on('message', (seed: number) => {
    void job.runSeed(seed).then((report) => parentPort!.postMessage(report))
  })
}
