/**
 * `pnpm chaos`: real peers and clients, on machines of their own where this process may make them, under faults. The
 * histories must be linearizable, and nothing that was acknowledged may be lost.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FAULTS } from './faults/index.js'
import type { Fault } from './faults/fault.js'
import { makeLoopback } from './machines/loopback.js'
import { isInHub, makeNamespaces, runInHub, whyNoNamespaces } from './machines/namespaces.js'
import { readOptions, USAGE, type Options } from './options.js'
import { reportPage } from './report/page.js'
import { run, type Outcome } from './run.js'

async function main(): Promise<number> {
  let options: Options
  try {
    options = readOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`)
    return 2
  }
  const why = whyNoNamespaces()
  if (why === undefined && !isInHub()) return runInHub()
  const faults = chosen(options)
  if (faults.length === 0) return 2
  const { seed, minutes, clients, rate } = options
  const folder = options.report ?? mkdtempSync(join(tmpdir(), 'quire-chaos-'))
  if (options.report !== undefined) mkdirSync(folder)
  await using machines = why === undefined ? await makeNamespaces() : makeLoopback()
  console.log(`seed ${seed}, ${minutes} minutes, files in ${folder}`)
  const outcome = await run({ machines, folder, seed, minutes, clients, rate, faults, log: console.log })
  print(outcome)
  const isFine = outcome.problems.length === 0
  const kinds = options.faults === undefined ? '' : ` --faults ${options.faults.join(',')}`
  const again = `pnpm chaos --minutes ${minutes} --seed ${seed} --rate ${rate} --clients ${clients}${kinds}`
  writeFileSync(join(folder, 'report.html'), reportPage({ seed, minutes, again, outcome }))
  if (!isFine) console.log(`again: ${again}`)
  if (isFine && options.report === undefined) rmSync(folder, { recursive: true })
  else console.log(`report: ${join(folder, 'report.html')}`)
  return isFine ? 0 : 1
}

/** The faults of the chosen kinds that this machine can make. Says which it cannot. */
function chosen({ faults: kinds }: Options): Fault[] {
  const wanted = FAULTS.filter(({ kind }) => kinds === undefined || kinds.includes(kind))
  const left = wanted.filter(({ whyNot }) => whyNot?.() === undefined)
  for (const { name, whyNot } of wanted) {
    const why = whyNot?.()
    if (why !== undefined) console.log(`not made: ${name}: ${why}`)
  }
  if (left.length === 0) console.error('no fault is left to make')
  return left
}

function print({ timeline, rejected, snapshots, judged, problems }: Outcome): void {
  for (const [fault, count] of timeline.faultCounts) console.log(`${String(count).padStart(7)}  ${fault}`)
  console.log(`${String(snapshots).padStart(7)}  snapshots installed`)
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
