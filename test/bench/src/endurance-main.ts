/**
 * `pnpm endurance`: a store that is much written to. Checks the bounds of docs/storage.md on real processes: the memory
 * of peers, the speed of writers while a new peer catches up by a snapshot, the sizes of log and pages, and the time of
 * a restart. And a leader must keep the lead under load. Prints one JSON object per line.
 */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { runCommand, UsageError } from './command.js'
import { speed } from './overwrite.js'
import { endAll, startCluster, startWorker, type Cluster } from './processes.js'

const USAGE = `usage: pnpm endurance [--store MIB] [--live MIB] [--written MIB] [--steady S]

  --store MIB     size of the store to which a new peer is added, default 2048
  --live MIB      size of the file that is overwritten, default 400
  --written MIB   bytes to write to it, default 4096
  --steady S      seconds of the load of pnpm bench's row sequential-flush, default 300

0 leaves out what belongs to the option.`

const MIB = 2 ** 20
const SEGMENT_BYTES = 16 * MIB
const RETAINED_BYTES = 64 * MIB
/** Entries that no checkpoint holds yet: those of one that runs, and those after it. */
const TAIL_BYTES = 2 * 32 * MIB
const BEFORE_S = 20

interface Options {
  readonly storeBytes: number
  readonly liveBytes: number
  readonly writtenBytes: number
  readonly steadySeconds: number
}

interface Row {
  readonly row: string
  readonly unit: string
  readonly value: number
  readonly atMost?: number
  readonly atLeast?: number
}

/** Prints the row. Returns whether its value is within its bound. */
function report(row: Row): boolean {
  const { value, atMost = Infinity, atLeast = -Infinity } = row
  const ok = value <= atMost && value >= atLeast
  console.log(JSON.stringify({ ...row, value: Math.round(value * 100) / 100, ok }))
  return ok
}

/** A new peer catches up by a snapshot while a client writes. */
async function addPeer(cluster: Cluster, storeBytes: number): Promise<boolean[]> {
  const { addresses: peers } = cluster
  const memory = watchMemory(cluster)
  const fill = { peers, path: '/store', fileBytes: storeBytes }
  await startWorker().run('overwrite', { ...fill, bytes: storeBytes })
  const fromMs = Date.now()
  let isOver = false
  const writing = overwriteUntil(cluster, storeBytes, () => isOver)
  // Awaited below, unless the rest fails first.
  writing.catch(() => {})
  await pause(BEFORE_S * 1_000)
  const begunMs = Date.now()
  const { bySnapshot } = await cluster.join()
  const endMs = Date.now()
  isOver = true
  const progress = await writing
  const mostBytes = memory.stop()
  if (!bySnapshot) throw new Error('the new peer has not received a snapshot')
  const before = speed(progress, fromMs, begunMs)
  const meanwhile = speed(progress, begunMs, endMs)
  return [
    report({ row: 'a new peer catches up and is promoted', unit: 's', value: (endMs - begunMs) / 1_000 }),
    report({ row: 'writer before', unit: 'MB/s', value: before / 1e6 }),
    report({ row: 'writer meanwhile / before', unit: '', value: meanwhile / before, atLeast: 0.5 }),
    report({ row: 'RssAnon of a peer', unit: 'MiB', value: mostBytes / MIB, atMost: 400 })
  ]
}

/** Overwrites in tasks of some seconds until it is over, so that the writer need not be told. */
async function overwriteUntil({ addresses: peers }: Cluster, fileBytes: number, isOver: () => boolean) {
  const worker = startWorker()
  const all: { atMs: number; bytes: number }[] = []
  while (!isOver()) {
    const done = await worker.run('overwrite', { peers, path: '/store', fileBytes, seconds: 5 })
    const before = all.at(-1)?.bytes ?? 0
    all.push(...done.map(({ atMs, bytes }) => ({ atMs, bytes: before + bytes })))
  }
  return all
}

/** The log and the pages stay within their bounds, and a peer starts fast. */
async function overwriteMuch(cluster: Cluster, liveBytes: number, writtenBytes: number): Promise<boolean[]> {
  const { addresses: peers } = cluster
  const ask = { peers, path: '/live', fileBytes: liveBytes, bytes: writtenBytes }
  const progress = await startWorker().run('overwrite', ask)
  const written = progress.at(-1)!.bytes
  const results = [report({ row: 'written', unit: 'MiB', value: written / MIB, atLeast: writtenBytes / MIB })]
  for (const { name, dataDir } of cluster.members()) {
    const atMostLog = (RETAINED_BYTES + TAIL_BYTES + 3 * SEGMENT_BYTES) / MIB
    const atMostPages = (1.15 * liveBytes) / MIB + 96
    results.push(
      report({ row: `log of ${name}`, unit: 'MiB', value: bytesIn(join(dataDir, 'log')) / MIB, atMost: atMostLog }),
      report({
        row: `pages of ${name}`,
        unit: 'MiB',
        value: bytesIn(join(dataDir, 'pages')) / MIB,
        atMost: atMostPages
      })
    )
  }
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const value = (await cluster.restartFollower(signal)) / 1_000
    results.push(report({ row: `restart after ${signal}`, unit: 's', value, atMost: 3 }))
  }
  return results
}

/** The leader keeps the lead under load. */
async function keepLeader(cluster: Cluster, seconds: number): Promise<boolean[]> {
  const { addresses: peers } = cluster
  const bare = await startWorker().run('serve', undefined)
  const worker = startWorker()
  await worker.run('connect', { peers, bare, redis: undefined, etcd: undefined })
  const before = await cluster.term()
  const endMs = performance.now() + seconds * 1_000
  while (performance.now() < endMs) await worker.run('fill', { path: '/flushed', rounds: 1, bytes: 32 * MIB })
  const terms = (await cluster.term()) - before
  return [report({ row: `terms begun in ${seconds} s of sequential-flush`, unit: '', value: terms, atMost: 0 })]
}

function bytesIn(folder: string): number {
  const sizeOf = (name: string): number => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0
  return readdirSync(folder).reduce((sum, name) => sum + sizeOf(name), 0)
}

/** Samples the anonymous memory of all peers until `stop`, which returns the largest. */
function watchMemory(cluster: Cluster): { stop: () => number } {
  let most = 0
  const timer = setInterval(() => {
    for (const { pid } of cluster.members()) most = Math.max(most, anonymousBytes(pid))
  }, 200)
  return {
    stop() {
      clearInterval(timer)
      return most
    }
  }
}

/** 0 if there is no such process. */
function anonymousBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return 1024 * Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0)
  } catch {
    return 0
  }
}

async function run(options: Options, folder: string): Promise<number> {
  const results: boolean[] = []
  // A cluster for each, so that the pages of one do not count as the other's.
  const part = async (measure: (cluster: Cluster) => Promise<boolean[]>): Promise<void> => {
    const place = join(folder, `part-${results.length}`)
    results.push(...(await measure(await startCluster(place, true))))
    await endAll()
    rmSync(place, { recursive: true, force: true })
  }
  const { storeBytes, liveBytes, writtenBytes, steadySeconds } = options
  if (storeBytes > 0) await part((cluster) => addPeer(cluster, storeBytes))
  if (writtenBytes > 0) await part((cluster) => overwriteMuch(cluster, liveBytes, writtenBytes))
  if (steadySeconds > 0) await part((cluster) => keepLeader(cluster, steadySeconds))
  return results.every(Boolean) ? 0 : 1
}

function read(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      store: { type: 'string', default: '2048' },
      live: { type: 'string', default: '400' },
      written: { type: 'string', default: '4096' },
      steady: { type: 'string', default: '300' }
    }
  })
  const numberOf = (name: keyof typeof values): number => {
    const value = Number(values[name])
    if (!Number.isInteger(value) || value < 0) throw new UsageError(USAGE)
    return value
  }
  return {
    storeBytes: numberOf('store') * MIB,
    liveBytes: numberOf('live') * MIB,
    writtenBytes: numberOf('written') * MIB,
    steadySeconds: numberOf('steady')
  }
}

await runCommand({ name: 'endurance', usage: USAGE, read, run })
