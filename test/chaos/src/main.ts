/**
 * `pnpm chaos`: real peers and clients under faults. The histories must be linearizable, and nothing that was
 * acknowledged may be lost. The cluster is the run's own, or that of a user.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readGivenFile, type GivenFile } from './cluster/given-file.js'
import type { Fault } from './faults/fault.js'
import { FAULTS, OWN_FAULTS } from './faults/index.js'
import { runOnGivenCluster, whyNotGiven } from './given-run.js'
import { isInHub, runInHub, whyNoNamespaces } from './machines/namespaces.js'
import { readOptions, USAGE, type Options } from './options.js'
import { runOnOwnCluster } from './own-run.js'
import { reportPage } from './report/page.js'
import type { Outcome, RunSettings } from './run.js'

type Named = Pick<Fault, 'kind' | 'name'>
type Carried = (settings: RunSettings) => Promise<Outcome>

async function main(): Promise<number> {
  let options: Options
  let given: GivenFile | undefined
  try {
    options = readOptions(process.argv.slice(2))
    if (options.report !== undefined && existsSync(options.report))
      throw new Error(`--report: ${options.report} exists already`)
    given = options.cluster === undefined ? undefined : readGivenFile(options.cluster)
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`)
    return 2
  }
  if (given === undefined && whyNoNamespaces() === undefined && !isInHub()) return runInHub()
  const carryOut = given === undefined ? ownRun(options) : givenRun(given, options)
  if (carryOut === undefined) {
    console.error('no fault is left to make')
    return 2
  }
  const { seed, minutes, clients, rate } = options
  const folder = options.report ?? mkdtempSync(join(tmpdir(), 'quire-chaos-'))
  if (options.report !== undefined) mkdirSync(folder)
  console.log(`seed ${seed}, ${minutes} minutes, files in ${folder}`)
  let outcome: Outcome
  try {
    outcome = await carryOut({ folder, seed, minutes, clients, rate, log: console.log })
  } catch (error) {
    console.error('the run could not be carried out:', error)
    return 2
  }
  print(outcome)
  const isFine = outcome.problems.length === 0
  const again = commandOf(options)
  writeFileSync(join(folder, 'report.html'), reportPage({ seed, minutes, again, outcome }))
  if (!isFine) console.log(`again: ${again}`)
  if (isFine && options.report === undefined) rmSync(folder, { recursive: true })
  else console.log(`report: ${join(folder, 'report.html')}`)
  return isFine ? 0 : 1
}

/** Undefined if no fault is left to make. */
function ownRun(options: Options): Carried | undefined {
  const faults = chosen([...FAULTS, ...OWN_FAULTS], options, ({ whyNot }) => whyNot?.())
  return faults.length === 0 ? undefined : (settings) => runOnOwnCluster(faults, settings)
}

/** Undefined if no fault is left to make. */
function givenRun(given: GivenFile, options: Options): Carried | undefined {
  const whyNot = whyNotGiven(given)
  const faults = chosen(FAULTS, options, whyNot)
  chosen(OWN_FAULTS, options, whyNot)
  return faults.length === 0 ? undefined : (settings) => runOnGivenCluster(given, faults, settings)
}

/** The faults of the chosen kinds that can be made. Says which cannot. */
function chosen<F extends Named>(
  faults: readonly F[],
  { faults: kinds }: Options,
  whyNot: (fault: F) => string | undefined
): F[] {
  const wanted = faults.filter(({ kind }) => kinds === undefined || kinds.includes(kind))
  for (const fault of wanted) {
    const why = whyNot(fault)
    if (why !== undefined) console.log(`not made: ${fault.name}: ${why}`)
  }
  return wanted.filter((fault) => whyNot(fault) === undefined)
}

function commandOf({ seed, minutes, clients, rate, faults, cluster }: Options): string {
  const kinds = faults === undefined ? '' : ` --faults ${faults.join(',')}`
  const where = cluster === undefined ? '' : ` --cluster ${cluster}`
  return `pnpm chaos --minutes ${minutes} --seed ${seed} --rate ${rate} --clients ${clients}${kinds}${where}`
}

function print({ timeline, rejected, logged, judged, problems }: Outcome): void {
  for (const [fault, count] of timeline.faultCounts) console.log(`${String(count).padStart(7)}  ${fault}`)
  for (const [what, count] of logged) console.log(`${String(count).padStart(7)}  ${what}`)
  for (const [workload, count] of timeline.operationCounts)
    console.log(`${String(count).padStart(7)}  operations of ${workload}`)
  for (const [error, count] of Object.entries(rejected))
    console.log(`${String(count).padStart(7)}  calls rejected with ${error}`)
  const { events, operations, objects } = judged
  console.log(`${events} events; ${operations} operations on ${objects} pages and sizes were judged`)
  for (const problem of problems) console.log(`PROBLEM: ${problem}`)
  console.log(
    problems.length === 0
      ? 'no acknowledged write is lost, and the history is linearizable'
      : `${problems.length} problems`
  )
}

process.exitCode = await main()
