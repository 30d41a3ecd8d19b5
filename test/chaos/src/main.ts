/**
 * `pnpm chaos`: real peers and clients under faults. The histories must be linearizable, and nothing that was
 * acknowledged may be lost. The cluster is the run's own, or that of a user.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readGivenFile, type GivenFile } from './cluster/given-file.js'
import type { Fault } from './faults/fault.js'
import { FAULTS, OWN_FAULTS } from './faults/index.js'
import { isHalt } from './halt.js'
import { runOnGivenCluster, whyNotGiven } from './given-run.js'
import { isInHub, runInHub, whyNoNamespaces } from './machines/namespaces.js'
import { readOptions, USAGE, type Options } from './options.js'
import { runOnOwnCluster } from './own-run.js'
import { reportPage } from './report/page.js'
import type { Outcome, RunSettings } from './run.js'

type Named = Pick<Fault, 'kind' | 'name'>
type Carried = (settings: RunSettings) => Promise<Outcome>

async function main(): Promise<number> {
  const args = process.argv.slice(2)
  if (args.includes('--help') || args.includes('-h')) {
    console.log(USAGE)
    return 0
  }
  let options: Options
  let given: GivenFile | undefined
  try {
    options = readOptions(args)
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
  console.log(`seed ${seed}, ${countOf(minutes, 'minute')}, files in ${folder}`)
  let outcome: Outcome
  try {
    outcome = await carryOut({ folder, seed, minutes, clients, rate, log: console.log })
  } catch (error) {
    // Where an unknown error comes from, only its stack says.
    console.error('the run could not be carried out:', isHalt(error) ? (error as Error).message : error)
    if (readdirSync(folder).length === 0) rmdirSync(folder)
    return 2
  }
  print(outcome)
  const { halted, problems } = outcome
  const isFine = problems.length === 0 && halted === undefined
  const again = commandOf(options)
  writeFileSync(join(folder, 'report.html'), reportPage({ seed, minutes, again, outcome }))
  if (!isFine) console.log(`again: ${again}`)
  if (isFine && options.report === undefined) rmSync(folder, { recursive: true })
  else console.log(`report: ${join(folder, 'report.html')}`)
  if (problems.length > 0) return 1
  return halted === undefined ? 0 : 2
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

function print({ timeline, rejected, left, logged, judged, problems, halted }: Outcome): void {
  for (const [fault, count] of timeline.faultCounts) console.log(`${String(count).padStart(7)}  ${fault}`)
  if (left.length > 0) console.log(`not made in this run: ${left.join(', ')}`)
  for (const [what, count] of logged) console.log(`${String(count).padStart(7)}  ${what}`)
  for (const [workload, count] of timeline.operationCounts)
    console.log(`${String(count).padStart(7)}  operations of ${workload}`)
  for (const [error, count] of Object.entries(rejected))
    console.log(`${String(count).padStart(7)}  calls rejected with ${error}`)
  const { events, operations, objects } = judged
  console.log(`${events} events; ${operations} operations on ${objects} pages and sizes were judged`)
  for (const problem of problems) console.log(`PROBLEM: ${problem}`)
  if (halted !== undefined) console.log(`the run could not go on: ${halted}`)
  const until = halted === undefined ? '' : 'until then, '
  const fine = 'no acknowledged write is lost, and the history is linearizable'
  console.log(until + (problems.length === 0 ? fine : countOf(problems.length, 'problem')))
}

function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

// A reader of the output that goes away, such as `head`, does not end the run.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})
process.exitCode = await main()
