/** The rows of the benchmark: what each measures, against whom, and what it should reach. */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { grown, logSize } from './log-size.js'
import { alone, compared, type Row, type Target } from './rows.js'
import { operationsOf, type Figures } from './tasks/contest.js'
import type { FaultAsk } from './tasks/faults.js'
import { PAGE_BYTES } from './tasks/parties.js'
import type { CrowdAsk } from './tasks/crowds.js'
import type { DirectoryAnswer } from './tasks/directory.js'
import type { Worker } from './processes.js'
import type { World } from './world.js'

type Measure = (world: World) => Promise<readonly Row[]>

const MiB = 1024 * 1024
/** Of Linux: the unit of the times in /proc. */
const MS_PER_TICK = 10

export const CONTESTS = {
  'pin-hit': async (world) => {
    const figures = await (await first(world)).run('pinHit', { rounds: world.rounds, reads: few(world, 50_000_000) })
    return [compared('pin-hit', '1/s', figures, ['quire', 'array'], { least: 0.97 })]
  },

  'warm-read': async (world) => {
    const figures = await (await first(world)).run('warmRead', { rounds: world.rounds, reads: few(world, 50_000) })
    return [compared('warm-read', '1/s', figures, ['quire', 'redis'], { least: 4 })]
  },

  'first-reads': async (world) => {
    const all: Figures[] = []
    for (let round = 0; round < world.rounds; round++) {
      const worker = await world.newWorker()
      all.push(await worker.run('firstReads', { rounds: 1, reads: 1000 }))
      worker.end()
    }
    return [compared('first-reads', '1/s', merged(all), ['quire', 'redis'], { least: 2 })]
  },

  'read-fault': async (world) => {
    const ask = duelOf(world, '/bench/read-fault')
    await putFile(world, ask.path, operationsOf(ask) * PAGE_BYTES)
    const figures = await (await first(world)).run('readFault', ask)
    return [
      compared('read-fault', 'us', figures, ['quire', 'libp2p'], { most: 1.3 }),
      compared('read-fault', 'us', figures, ['quire', 'etcd get'], { most: 0.6 })
    ]
  },

  scan: async (world) => {
    const path = '/bench/scan'
    const bytes = few(world, 32) * MiB
    await putFile(world, path, bytes)
    const figures = await (await first(world)).run('scan', { path, rounds: world.rounds, bytes })
    const sizes = ['quire 4 KiB', 'quire 64 KiB', 'quire 1 MiB', 'quire pins']
    return sizes.flatMap((own) => [
      compared('scan', 'MiB/s', figures, [own, 'libp2p'], { least: 0.6 }),
      ...(own === 'quire pins' ? [] : [compared('scan', 'MiB/s', figures, [own, 'redis'], { least: 1.2 })])
    ])
  },

  'write-fault': async (world) => {
    const figures = await (await first(world)).run('writeFault', duelOf(world, '/bench/write-fault'))
    return [compared('write-fault', 'us', figures, ['quire', 'etcd put'], { most: 1 })]
  },

  fill: async (world) => {
    const bytes = few(world, 16) * MiB
    const worker = await first(world)
    const figures = await worker.run('fill', { path: '/bench/fill', rounds: world.rounds, bytes })
    // The client of etcd runs in the worker, too, and must not count.
    const spent: number[] = []
    for (let round = 0; round < world.rounds; round++) {
      const before = cpuMs(world, worker)
      await worker.run('fill', { path: `/bench/fill/${round}`, rounds: 0, bytes, alone: true })
      spent.push((cpuMs(world, worker) - before) / (bytes / MiB))
    }
    // A put begins with the start of a process, which counts.
    const puts: Figures = {
      '16 MiB': await putRates(world, bytes),
      '128 MiB': await putRates(world, 8 * bytes),
      fill: figures['quire']!
    }
    return [
      compared('fill', 'MiB/s', figures, ['quire', 'etcd puts'], { least: 4 }),
      compared('put', 'MiB/s', puts, ['16 MiB', 'fill'], { least: 0.8 }),
      compared('put', 'MiB/s', puts, ['128 MiB', 'fill'], { least: 0.8 }),
      alone('fill', 'CPU of all processes', 'ms/MiB', spent, { most: 40 })
    ]
  },

  writers: async (world) => [
    await writersOf(world, 'one client', 1, { least: 1.5 }),
    await writersOf(world, 'four clients', 4, { least: 1.2 })
  ],

  commit: async (world) => {
    const figures = await (await first(world)).run('commit', duelOf(world, '/bench/commit'))
    return [compared('commit', 'us', figures, ['quire', 'etcd put'], { most: 1.1 })]
  },

  log: async (world) => {
    const single = await logOf(world, 1, few(world, 400))
    const crowd = await logOf(world, 64, few(world, 100))
    return [
      alone('log', 'entry of a commit of 64 bytes', 'bytes', single.entries, { most: 160 }),
      alone('log', 'a commit alone', 'bytes', single.perCommit, { most: 512 }),
      alone('log', 'a commit among 64 writers', 'bytes', crowd.perCommit, { most: 256 })
    ]
  },

  'ping-pong': async (world) => {
    const workers = await world.workers(2)
    const figures = await inTurn(world, ['quire', 'etcd'], async (on) => {
      const ask = { on, ms: few(world, 3000) } as const
      const turns = await Promise.all(workers.map((worker, index) => worker.run('pingPong', { ...ask, index })))
      return turns.reduce((sum, each) => sum + each, 0)
    })
    return [compared('ping-pong', '1/s', figures, ['quire', 'etcd'], { least: 1 })]
  },

  readers: async (world) => {
    const workers = await world.workers(world.isSmoke ? 3 : 9)
    const changes: number[] = []
    const p99 = await inTurn(world, ['quire', 'redis'], async (on) => {
      const ask = { on, ms: few(world, 4000), index: 0 } as const
      const [changer, ...readers] = workers
      const writing = changer!.run('changer', ask)
      const answers = await Promise.all(readers.map((worker) => worker.run('reader', ask)))
      await writing
      // The reader that has seen the fewest.
      if (on === 'quire') changes.push(Math.min(...answers.map(({ changes: seen }) => seen)))
      return Math.max(...answers.map(({ p99Us }) => p99Us))
    })
    return [
      alone('readers', 'changes seen', '1/s', changes, { least: 150 }),
      compared('readers', 'us', p99, ['quire', 'redis'], { most: 8 })
    ]
  },

  directory: async (world) => {
    const pages = few(world, 200_000)
    const worker = await world.newWorker()
    const answers: DirectoryAnswer[] = []
    for (let round = 0; round < world.rounds; round++) answers.push(await worker.run('directoryMemory', { pages }))
    worker.end()
    const read = answers.map((each) => each.read)
    const gone = answers.map((each) => each.gone)
    return [
      alone('directory', 'memory of a page read', 'bytes', read, { most: 200 }),
      alone('directory', 'after its reader has gone', 'bytes', gone, { most: 0.5 })
    ]
  }
} as const satisfies Record<string, Measure>

export type ContestName = keyof typeof CONTESTS

async function first(world: World): Promise<Worker> {
  return (await world.workers(1))[0]!
}

/** A smoke run does a fiftieth, but something. */
function few({ isSmoke }: World, count: number): number {
  return isSmoke ? Math.max(1, Math.ceil(count / 50)) : count
}

/** A path, and how many operations to do there. A process needs some thousand messages to become fast. */
function duelOf(world: World, path: string): FaultAsk {
  return { path, rounds: world.rounds, operations: few(world, 400), warmUp: few(world, 2000) }
}

async function putFile({ cluster, folder }: World, path: string, bytes: number): Promise<void> {
  const local = join(folder, 'file')
  writeFileSync(local, randomBytes(bytes))
  await cluster.put(local, path)
}

/** MiB a second of `quire put`, once for each round. */
async function putRates(world: World, bytes: number): Promise<number[]> {
  const local = join(world.folder, 'put')
  writeFileSync(local, randomBytes(bytes))
  const rates: number[] = []
  for (let round = 0; round < world.rounds; round++) {
    const begin = performance.now()
    await world.cluster.put(local, `/bench/put/${bytes}/${round}`)
    rates.push(bytes / MiB / ((performance.now() - begin) / 1000))
  }
  return rates
}

function merged(all: readonly Figures[]): Figures {
  const names = Object.keys(all[0] ?? {})
  return Object.fromEntries(names.map((name) => [name, all.flatMap((figures) => figures[name] ?? [])]))
}

/** Rounds that warm processes up, where several workers take part. */
const WARM_UP_ROUNDS = 3

/** Runs a round of each, in turn, where several workers take part. The rounds that warm up do not count. */
async function inTurn<N extends CrowdAsk['on']>(
  world: World,
  names: readonly N[],
  run: (on: N) => Promise<number>
): Promise<Figures> {
  const isThere = { quire: true, redis: world.hasRedis, etcd: world.hasEtcd }
  const figures: Record<string, number[]> = {}
  for (let round = world.isSmoke ? 0 : 1 - WARM_UP_ROUNDS; round <= world.rounds; round++) {
    for (const on of round % 2 === 0 ? names : names.toReversed()) {
      if (!isThere[on]) continue
      const figure = await run(on)
      if (round > 0) (figures[on] ??= []).push(figure)
    }
  }
  return figures
}

async function writersOf(world: World, label: string, clients: number, target: Target): Promise<Row> {
  const workers = await world.workers(clients)
  const figures = await inTurn(world, ['quire', 'etcd'], async (on) => {
    const ask = { on, ms: few(world, 3000), writers: 64 / clients } as const
    const rates = await Promise.all(workers.map((worker, index) => worker.run('writers', { ...ask, index })))
    return rates.reduce((sum, rate) => sum + rate, 0)
  })
  const row = compared('writers', '1/s', figures, ['quire', 'etcd'], target)
  return { ...row, metric: `${label} ${row.metric}` }
}

/** What one commit writes to the log of a peer, and the size of its entry. */
async function logOf(
  world: World,
  writers: number,
  commits: number
): Promise<{ readonly perCommit: readonly number[]; readonly entries: readonly number[] }> {
  const worker = await first(world)
  const { dataDir } = world.cluster.members()[0]!
  const written = async (commits: number): Promise<{ readonly bytes: number; readonly entry: number }> => {
    const before = logSize(dataDir)
    await worker.run('commits', { writers, commits })
    const after = logSize(dataDir)
    return { bytes: grown(before, after), entry: after.lastBatches }
  }
  const perCommit: number[] = []
  const entries: number[] = []
  for (let round = 0; round < world.rounds; round++) {
    // The same without the commits to measure: the file is opened, its pages get their owner, and it is closed.
    const few = await written(1)
    const many = await written(1 + commits)
    perCommit.push((many.bytes - few.bytes) / (writers * commits))
    entries.push(many.entry)
  }
  return { perCommit, entries }
}

/** CPU time of the peers and the worker since their starts. */
function cpuMs({ cluster }: World, worker: Worker): number {
  const pids = [...cluster.members().map(({ pid }) => pid), worker.pid]
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
    return sum + (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK
  }, 0)
}
