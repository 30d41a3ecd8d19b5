/**
 * `pnpm history`: clients in processes of their own run random programs on one file of a real cluster, whose leader is
 * killed again and again, whose peers lose their folders, whose members change, and all of whose peers are restarted.
 * The checker judges the recorded history, which goes to a file in the API's history format.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { judge, parseHistory } from '#linearizability'
import { runCommand, UsageError } from './command.js'
import { startCluster, startWorker, type Cluster } from './processes.js'
import { PROGRAM_PAGE_BYTES } from './program.js'

const USAGE = `usage: pnpm history [--seconds N] [--clients N] [--kill-every S] [--lose-every S] [--change-every S]
                    [--roll-every S] [--pages N] [--pause MS] [--durable] [--history FILE]

  --seconds N       how long the programs run, default 120
  --clients N       number of clients, default 3
  --kill-every S    kills the leader (SIGKILL) every S seconds, default 5; 0 for never
  --lose-every S    a follower loses its data directory and takes its place again, every S seconds, default 40
  --change-every S  a peer joins, is removed, or replaced by one with another key, every S seconds, default 30
  --roll-every S    stops and starts all peers, one after the other, every S seconds, default 60
  --pages N         pages of the shared file, default 6
  --pause MS        mean pause between two operations of a client, default 10
  --durable         each write is flushed before the client's next operation
  --history FILE    file for the history, one event per line`

interface Options {
  readonly seconds: number
  readonly clients: number
  readonly killEvery: number
  readonly loseEvery: number
  readonly changeEvery: number
  readonly rollEvery: number
  readonly pages: number
  readonly pauseMs: number
  readonly isDurable: boolean
  readonly history: string | undefined
}

function read(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: 'string', default: '120' },
      clients: { type: 'string', default: '3' },
      'kill-every': { type: 'string', default: '5' },
      'lose-every': { type: 'string', default: '40' },
      'change-every': { type: 'string', default: '30' },
      'roll-every': { type: 'string', default: '60' },
      pages: { type: 'string', default: '6' },
      pause: { type: 'string', default: '10' },
      durable: { type: 'boolean', default: false },
      history: { type: 'string' }
    }
  })
  const numbers = {
    seconds: Number(values.seconds),
    clients: Number(values.clients),
    killEvery: Number(values['kill-every']),
    loseEvery: Number(values['lose-every']),
    changeEvery: Number(values['change-every']),
    rollEvery: Number(values['roll-every']),
    pages: Number(values.pages),
    pauseMs: Number(values.pause)
  }
  if (!Object.values(numbers).every((each) => Number.isFinite(each) && each >= 0)) throw new UsageError(USAGE)
  return { ...numbers, isDurable: values.durable, history: values.history }
}

async function run(options: Options, folder: string): Promise<number> {
  const { seconds, clients, pages, pauseMs, isDurable } = options
  const cluster = await startCluster(join(folder, 'peers'), true)
  const names = Array.from({ length: clients }, (_, i) => join(folder, `history-${i + 1}.ndjson`))
  const ask = { peers: cluster.addresses, path: '/history', pages, seconds, pauseMs, isDurable }
  const programs = Promise.all(
    names.map((history, i) => startWorker().run('program', { ...ask, history, client: i + 1 }))
  )
  const over = programs.then(
    () => true,
    () => true
  )
  const counts = await trouble(cluster, options, over)
  const answers = await programs
  const text = names.map((name) => readFileSync(name, 'utf8')).join('')
  if (options.history !== undefined) writeFileSync(options.history, text)

  const failed: Record<string, number> = {}
  for (const answer of answers) {
    for (const [name, count] of Object.entries(answer.failed)) failed[name] = (failed[name] ?? 0) + count
  }
  const operations = answers.reduce((sum, answer) => sum + answer.operations, 0)
  const pastEnd = answers.reduce((sum, answer) => sum + answer.pastEnd, 0)
  const history = parseHistory(text)
  const { objects, findings, ...judged } = judge(history, {
    pageSize: PROGRAM_PAGE_BYTES,
    initialSize: () => pages * PROGRAM_PAGE_BYTES
  })
  const { kills, losses, changes, snapshots, restarts } = counts
  const refused = Object.keys(failed).length === 0 ? 'none was refused' : `refused: ${JSON.stringify(failed)}`
  console.log(`${clients} clients, ${operations} operations, ${pastEnd} of them past the end of the file; ${refused}`)
  console.log(`${kills} leaders killed, ${losses} folders lost and ${changes} other changes of members,`)
  console.log(`${snapshots} peers came by a snapshot, ${restarts} rolling restarts`)
  console.log(`${history.length} events; ${judged.operations} operations on ${objects} pages and sizes were judged`)
  for (const { file, page, result, text: what } of findings)
    console.log(`${result}: file ${file}, page ${page}\n${what}`)
  console.log(findings.length === 0 ? 'the history is linearizable' : `${findings.length} findings`)
  return findings.length === 0 && Object.keys(failed).length === 0 ? 0 : 1
}

interface Counts {
  kills: number
  losses: number
  changes: number
  /** Peers that came, or came back, by a snapshot. */
  snapshots: number
  restarts: number
}

/** Makes trouble of each kind at its time, one after the other, until the programs are over. */
async function trouble(cluster: Cluster, options: Options, over: Promise<boolean>): Promise<Counts> {
  const counts: Counts = { kills: 0, losses: 0, changes: 0, snapshots: 0, restarts: 0 }
  const kinds = [
    { every: options.killEvery, make: async () => void ((await cluster.killLeader()) && counts.kills++) },
    {
      every: options.loseEvery,
      make: async () => {
        const lost = await cluster.loseFollower()
        if (lost === undefined) return
        counts.losses++
        if (lost.bySnapshot) counts.snapshots++
      }
    },
    {
      every: options.changeEvery,
      make: async () => {
        const changed = await cluster.changeMembers()
        if (changed === undefined) return
        counts.changes++
        if (changed.bySnapshot) counts.snapshots++
      }
    },
    { every: options.rollEvery, make: () => cluster.rollingRestart().then(() => void counts.restarts++) }
  ]
  const due = kinds
    .filter(({ every }) => every > 0)
    .map(({ every, make }) => ({ every, make, atMs: performance.now() + every * 1000 }))
  for (;;) {
    const [next] = due.toSorted((a, b) => a.atMs - b.atMs)
    if (next === undefined) return counts
    if (await Promise.race([over, pause(Math.max(0, next.atMs - performance.now()), false)])) return counts
    await next.make()
    next.atMs = performance.now() + next.every * 1000
  }
}

await runCommand({ name: 'history', usage: USAGE, read, run })
