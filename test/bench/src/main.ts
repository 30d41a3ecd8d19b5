/**
 * `pnpm bench`: measures a cluster of three peers on loopback against rivals in the same run: bare libp2p, Redis and
 * etcd. It prints one JSON object per line.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import Table from 'cli-table3'
import { runCommand, UsageError } from './command.js'
import { CONTESTS, type ContestName } from './contests.js'
import { chartOf, markdownOf } from './report.js'
import type { Row } from './rows.js'
import { startWorld } from './world.js'

const NAMES = Object.keys(CONTESTS) as ContestName[]
const USAGE = `usage: pnpm bench [--rows ROW,ROW | --profile ROW] [--rounds N] [--json FILE] [--markdown FILE]
                  [--chart FILE] [--smoke]

  --rows ROW,ROW  rows to measure, default all: ${NAMES.join(', ')}
  --profile ROW   measures this row and leaves a CPU profile of each process; profiling makes it slower
  --rounds N      paired rounds of each row, default 5
  --json FILE     file for the results, one JSON object per line; default standard output
  --markdown FILE file for a table of the results
  --chart FILE    file for a chart (SVG) of the ratios
  --smoke         takes few samples, to see that the benchmark works

Redis and etcd take part where they are installed (apt-get install redis-server etcd-server). All data is below TMPDIR.`

const DEADLINE_MS = 3_600_000

interface Options {
  readonly names: readonly ContestName[]
  readonly rounds: number
  readonly json: string | undefined
  readonly markdown: string | undefined
  readonly chart: string | undefined
  readonly isSmoke: boolean
  readonly isProfiled: boolean
}

function read(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'string' },
      markdown: { type: 'string' },
      chart: { type: 'string' },
      profile: { type: 'string' },
      rows: { type: 'string' },
      rounds: { type: 'string' },
      smoke: { type: 'boolean', default: false }
    }
  })
  if (values.rows !== undefined && values.profile !== undefined) throw new UsageError('choose --rows or --profile')
  const isProfiled = values.profile !== undefined
  const names = values.profile === undefined ? (values.rows ?? NAMES.join(',')).split(',') : [values.profile]
  const unknown = names.find((name) => !NAMES.includes(name as ContestName))
  if (unknown !== undefined) throw new UsageError(`there is no row ${unknown}; the rows are ${NAMES.join(', ')}`)
  const rounds = Number(values.rounds ?? (values.smoke ? 1 : 5))
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new UsageError(`${values.rounds} is no number of rounds`)
  const { json, markdown, chart, smoke } = values
  return { names: names as ContestName[], rounds, json, markdown, chart, isSmoke: smoke, isProfiled }
}

async function run(
  { names, rounds, json, markdown, chart, isSmoke, isProfiled }: Options,
  folder: string
): Promise<number> {
  if (isProfiled) profileAll()
  const world = await startWorld(folder, rounds, isSmoke)
  const rows: Row[] = []
  for (const name of names) rows.push(...(await CONTESTS[name](world)))
  if (process.stdout.isTTY) {
    console.log(tableOf(rows))
    console.log(machine())
  }
  if (markdown !== undefined) writeFileSync(markdown, `${markdownOf(rows)}\n${machine()}, ${rounds} rounds\n`)
  if (chart !== undefined) writeFileSync(chart, chartOf(rows))
  const lines = rows.map((each) => `${JSON.stringify(each)}\n`).join('')
  if (json !== undefined) writeFileSync(json, lines)
  else if (!process.stdout.isTTY) process.stdout.write(lines)
  return 0
}

function machine(): string {
  return `${availableParallelism()} cores of ${cpus()[0]?.model ?? 'unknown'}, load ${loadavg()[0]!.toFixed(1)}`
}

/** Processes that are started from now on leave their profiles. */
function profileAll(): void {
  const profiles = mkdtempSync(join(tmpdir(), 'quire-profiles-'))
  process.env['QUIRE_BENCH_PROFILES'] = profiles
  const { NODE_OPTIONS: options = '' } = process.env
  process.env['NODE_OPTIONS'] = `${options} --import ${new URL('./profiler.js', import.meta.url).href}`
  console.error(`profiles: ${profiles}`)
}

function tableOf(rows: readonly Row[]): string {
  const head = ['row', 'metric', 'value', 'rival', 'unit', 'ratio', 'spread', 'target']
  const table = new Table({
    head,
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'left', 'right', 'right', 'left', 'right', 'right', 'right']
  })
  for (const { row, metric, value, rival, unit, ratio, spread, target, ok, missing } of rows) {
    const aim = target === null ? '' : `${target} ${ok === true ? 'met' : 'missed'}`
    table.push([row, metric, value ?? missing ?? '', rival ?? '', unit, ratio ?? '', spread?.join(' – ') ?? '', aim])
  }
  return table.toString()
}

await runCommand({ name: 'bench', usage: USAGE, read, run, deadlineMs: DEADLINE_MS })
