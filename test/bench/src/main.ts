/**
 * `pnpm bench`: measures faults on a cluster of three peers on loopback, against a bare libp2p round trip of the same
 * bytes. It prints one JSON object per line; docs/observability.md names the stages.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stagePercentile } from '@quire/store'
import Table from 'cli-table3'
import { runCommand, UsageError } from './command.js'
import { startCluster, startWorker, type Cluster, type Worker } from './processes.js'
import { between, percentile, row, type Row } from './rows.js'
import { PAGE_BYTES, type TouchAnswer } from './worker.js'

const ROWS = [
  'cold-read-fault',
  'first-write-fault',
  'ping-pong-handoff',
  'sequential-read',
  'sequential-flush'
] as const
type RowName = (typeof ROWS)[number]
const USAGE = `usage: pnpm bench [--rows ROW,ROW] [--json FILE] [--smoke]

  --rows ROW,ROW  rows to measure, default all: ${ROWS.join(', ')}
  --json FILE     file for the results, one JSON object per line; default standard output
  --smoke         takes few samples, to see that the benchmark works`

const FILE = '/bench/file'
const PERCENTS = [50, 99] as const
/** What a program reads or writes with one call. */
const RANGE_BYTES = 2 << 20
const DEADLINE_MS = 300_000

interface World {
  readonly cluster: Cluster
  readonly workers: readonly [Worker, Worker]
  readonly samples: number
  readonly warmUp: number
  readonly isSmoke: boolean
}

/** The share of each stage of the leader in an operation; 0 for a stage that the operation does not have. */
interface Split {
  readonly queue: string
  readonly commit?: string
  readonly hasEntry: boolean
}

async function measure(world: World, name: RowName): Promise<Row[]> {
  if (name === 'sequential-read' || name === 'sequential-flush') return sequential(world, name)
  const before = await world.cluster.stages()
  const { page, bare, split, extra } = name === 'ping-pong-handoff' ? await handoffs(world) : await faults(world, name)
  const after = await world.cluster.stages()
  const stage = (of: string | undefined, percent: number) =>
    of === undefined ? 0 : stagePercentile(between(before, after, of), percent)
  const found: Row[] = []
  for (const percent of PERCENTS) {
    const wire = percentile(bare, percent)
    found.push(row(name, `p${percent}`, percentile(page, percent), wire))
    const parts = {
      queue: stage(split.queue, percent),
      wire,
      flush: stage(split.hasEntry ? 'log.flush' : undefined, percent),
      apply: stage(split.hasEntry ? 'entries.apply' : undefined, percent),
      commit: stage(split.commit, percent)
    }
    for (const [part, value] of Object.entries(parts)) found.push(row(name, `${part}.p${percent}`, value))
  }
  return [...found, ...extra]
}

type Measured = TouchAnswer & { readonly split: Split; readonly extra: readonly Row[] }

async function faults(world: World, name: 'cold-read-fault' | 'first-write-fault'): Promise<Measured> {
  const { workers, samples, warmUp } = world
  const count = samples + warmUp
  const isRead = name === 'cold-read-fault'
  // Each operation gets half of the file, and touches every page once, in an order that no read-ahead guesses.
  const pages = shuffled(Array.from({ length: count }, (_, i) => (isRead ? i : count + i)))
  const answer = await workers[0].run('touch', { path: FILE, access: isRead ? 'read' : 'write', pages, warmUp })
  const split = isRead
    ? { queue: 'fault.read.queue', hasEntry: false }
    : { queue: 'fault.write.queue', commit: 'fault.write.commit', hasEntry: true }
  return { ...answer, split, extra: [] }
}

async function handoffs({ workers, samples, warmUp }: World): Promise<Measured> {
  const rounds = Math.ceil(samples / 2) + warmUp
  // Measured apart from the handoffs: the time that the wire takes at this moment, without handoffs in its way.
  const quiet = { path: FILE, access: 'read', pages: Array.from({ length: 2 * warmUp }, () => 0), warmUp } as const
  const { bare } = await workers[0].run('touch', quiet)
  const begin = performance.now()
  const both = await Promise.all(
    workers.map((worker, index) => worker.run('pingPong', { path: '/bench/word', index, rounds, warmUp }))
  )
  const seconds = (performance.now() - begin) / 1000
  return {
    page: both.flat(),
    bare,
    split: { queue: 'fault.write.queue', commit: 'fault.write.commit', hasEntry: true },
    extra: [row('ping-pong-handoff', 'rate', (2 * rounds) / seconds, undefined, '1/s')]
  }
}

/** Bulk transfers, with the rate of a bare stream in the same run. */
async function sequential(world: World, name: 'sequential-read' | 'sequential-flush'): Promise<Row[]> {
  const { cluster, workers, isSmoke } = world
  const { quire, bare } = await workers[0].run('bulk', {
    peers: cluster.addresses,
    path: `/bench/${name}`,
    direction: name === 'sequential-read' ? 'read' : 'flush',
    bytes: (isSmoke ? 2 : 16) * RANGE_BYTES,
    rangeBytes: RANGE_BYTES,
    rounds: isSmoke ? 1 : 5
  })
  return [row(name, 'rate.p50', percentile(quire, 50), percentile(bare, 50), 'MB/s')]
}

function shuffled(items: number[]): number[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1))
    ;[items[last], items[other]] = [items[other]!, items[last]!]
  }
  return items
}

function tableOf(rows: readonly Row[]): string {
  const head = ['row', 'metric', 'value', 'unit', 'bare libp2p', 'ratio']
  const table = new Table({
    head,
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'left', 'right', 'left', 'right', 'right']
  })
  for (const { row: name, metric, value, unit, rival, ratio } of rows) {
    table.push([name, metric, value ?? '–', unit, rival ?? '', ratio ?? ''])
  }
  return table.toString()
}

async function measureAll(names: readonly RowName[], isSmoke: boolean, folder: string): Promise<Row[]> {
  const samples = isSmoke ? 40 : 2000
  const warmUp = isSmoke ? 10 : 200
  const cluster = await startCluster(join(folder, 'peers'))
  const local = join(folder, 'file')
  writeFileSync(local, randomBytes(2 * (samples + warmUp) * PAGE_BYTES))
  await cluster.put(local, FILE)
  const bare = await startWorker().run('serve', undefined)
  const workers = [startWorker(), startWorker()] as const
  for (const worker of workers) await worker.run('connect', { peers: cluster.addresses, bare })
  const rows: Row[] = []
  for (const name of names) rows.push(...(await measure({ cluster, workers, samples, warmUp, isSmoke }, name)))
  return rows
}

interface Options {
  readonly names: readonly RowName[]
  readonly json: string | undefined
  readonly isSmoke: boolean
}

function read(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: { json: { type: 'string' }, rows: { type: 'string' }, smoke: { type: 'boolean', default: false } }
  })
  const names = (values.rows ?? ROWS.join(',')).split(',')
  const unknown = names.find((name) => !ROWS.includes(name as RowName))
  if (unknown !== undefined) throw new UsageError(`there is no row ${unknown}; the rows are ${ROWS.join(', ')}`)
  return { names: names as RowName[], json: values.json, isSmoke: values.smoke }
}

async function run({ names, json, isSmoke }: Options, folder: string): Promise<number> {
  const rows = await measureAll(names, isSmoke, folder)
  if (process.stdout.isTTY) console.log(tableOf(rows))
  const lines = rows.map((each) => `${JSON.stringify(each)}\n`).join('')
  if (json === undefined) process.stdout.write(lines)
  else writeFileSync(json, lines)
  return rows.some(({ missing, ok }) => missing !== null || ok === false) ? 1 : 0
}

await runCommand({ name: 'bench', usage: USAGE, read, run, deadlineMs: DEADLINE_MS })
