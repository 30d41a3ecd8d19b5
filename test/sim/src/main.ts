/** `pnpm sim cluster` and `pnpm sim raft`: many seeds on all cores. One that fails says how to run it again. */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { CLUSTER_USAGE, clusterJob } from './cluster-command.js'
import { enforceFloors } from './raft/floors.js'
import { runMutants } from './raft/mutant-run.js'
import { createRaftJob, RAFT_USAGE, readSelection } from './raft/raft-command.js'
import { readRunOptions, Run, runFlags, type Job, type RunOptions } from './runner.js'

interface Command {
  readonly job: Job
  readonly options: RunOptions
  readonly name: 'cluster' | 'raft'
  readonly mutants: string | undefined
  /** Some of each seed's faults are left out: what it covers says nothing. */
  readonly isPartial: boolean
}

function readCluster(args: string[]): Command | undefined {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: runFlags(availableParallelism()) })
  const options = readRunOptions(values)
  if (options === undefined || positionals.length > 1) return undefined
  return { name: 'cluster', job: clusterJob, options, mutants: undefined, isPartial: true }
}

function readRaft(args: string[]): Command | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...runFlags(availableParallelism()),
      without: { type: 'string' },
      only: { type: 'string' },
      'full-size': { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false }
    }
  })
  const options = readRunOptions(values)
  const selection = readSelection(values)
  if (options === undefined || selection === undefined || positionals.length > (values.mutants ? 2 : 1))
    return undefined
  const isPartial = values.without !== undefined || values.only !== undefined
  const job = createRaftJob(selection, { isMinimised: !values['full-size'] && !isPartial && !options.trace })
  return { name: 'raft', job, options, isPartial, mutants: values.mutants ? (positionals[1] ?? '') : undefined }
}

function readCommand(args: string[]): Command | undefined {
  try {
    return args[0] === 'raft' ? readRaft(args) : args[0] === 'cluster' ? readCluster(args) : undefined
  } catch {
    return undefined
  }
}

async function main(args: string[]): Promise<number> {
  const command = readCommand(args)
  if (command === undefined) {
    console.error(
      args[0] === 'raft' ? RAFT_USAGE : args[0] === 'cluster' ? CLUSTER_USAGE : `${CLUSTER_USAGE}\n\n${RAFT_USAGE}`
    )
    return 2
  }
  const { job, options, name, mutants, isPartial } = command
  if (mutants !== undefined) return runMutants(options, mutants)
  const summary = await new Run(job, options, { file: fileURLToPath(import.meta.url), args }).start()
  if (summary.failed.length > 0) return 1
  return name === 'raft' && !isPartial && !options.trace && !enforceFloors(summary) ? 1 : 0
}

if (isMainThread) {
  process.exitCode = await main(process.argv.slice(2))
} else {
  const { job } = readCommand((workerData as { readonly args: string[] }).args)!
  parentPort!.on('message', (seed: number) => {
    void job.runSeed(seed).then((report) => parentPort!.postMessage(report))
  })
}
