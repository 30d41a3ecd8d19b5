/**
 * `pnpm history`: clients in processes of their own run random programs on one file of a real cluster, whose leader is
 * killed again and again. The checker judges the recorded history, which goes to a file in the API's history format.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { judge, parseHistory } from '#linearizability'
import { endAll, startCluster, startWorker } from './processes.js'
import { PROGRAM_PAGE_BYTES } from './program.js'

const USAGE = `usage: pnpm history [--seconds N] [--clients N] [--kill-every SECONDS] [--pages N] [--pause MS] [--history FILE]

  --seconds N       how long the programs run, default 120
  --clients N       number of clients, default 3
  --kill-every S    kills the leader (SIGKILL) every S seconds, default 5; 0 for never
  --pages N         pages of the shared file, default 6
  --pause MS        mean pause between two operations of a client, default 10
  --history FILE    file for the history, one event per line`

interface Options {
  readonly seconds: number
  readonly clients: number
  readonly killEvery: number
  readonly pages: number
  readonly pauseMs: number
  readonly history: string | undefined
}

function readOptions(argv: string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args: argv.filter((argument) => argument !== '--'),
      options: {
        seconds: { type: 'string', default: '120' },
        clients: { type: 'string', default: '3' },
        'kill-every': { type: 'string', default: '5' },
        pages: { type: 'string', default: '6' },
        pause: { type: 'string', default: '10' },
        history: { type: 'string' }
      }
    })
    const numbers = [values.seconds, values.clients, values['kill-every'], values.pages, values.pause].map(Number)
    if (!numbers.every((each) => Number.isFinite(each) && each >= 0)) return undefined
    const [seconds, clients, killEvery, pages, pauseMs] = numbers as [number, number, number, number, number]
    return { seconds, clients, killEvery, pages, pauseMs, history: values.history }
  } catch {
    return undefined
  }
}

async function run(options: Options, folder: string): Promise<number> {
  const { seconds, clients, killEvery, pages, pauseMs } = options
  const cluster = await startCluster(join(folder, 'peers'), true)
  const names = Array.from({ length: clients }, (_, i) => join(folder, `history-${i + 1}.ndjson`))
  const ask = { peers: cluster.addresses, path: '/history', pages, seconds, pauseMs }
  const programs = Promise.all(
    names.map((history, i) => startWorker().run('program', { ...ask, history, client: i + 1 }))
  )
  const over = programs.then(
    () => true,
    () => true
  )
  let kills = 0
  while (killEvery > 0 && !(await Promise.race([over, pause(killEvery * 1000, false)]))) {
    if (await cluster.killLeader()) kills++
  }
  const answers = await programs
  const text = names.map((name) => readFileSync(name, 'utf8')).join('')
  if (options.history !== undefined) writeFileSync(options.history, text)

  const failed: Record<string, number> = {}
  for (const answer of answers) {
    for (const [name, count] of Object.entries(answer.failed)) failed[name] = (failed[name] ?? 0) + count
  }
  const operations = answers.reduce((sum, answer) => sum + answer.operations, 0)
  const history = parseHistory(text)
  const { objects, findings, ...judged } = judge(history, {
    pageSize: PROGRAM_PAGE_BYTES,
    initialSize: () => pages * PROGRAM_PAGE_BYTES
  })
  console.log(
    `${clients} clients, ${operations} operations, ${kills} leaders killed; refused: ${JSON.stringify(failed)}`
  )
  console.log(`${history.length} events; ${judged.operations} operations on ${objects} pages and sizes were judged`)
  for (const { file, page, result, text: what } of findings)
    console.log(`${result}: file ${file}, page ${page}\n${what}`)
  console.log(findings.length === 0 ? 'the history is linearizable' : `${findings.length} findings`)
  return findings.length === 0 ? 0 : 1
}

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    console.log(USAGE)
    return 0
  }
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) {
    console.error(USAGE)
    return 2
  }
  const folder = mkdtempSync(join(tmpdir(), 'quire-history-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
  const stopped = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => reject(new Error(`stopped by ${signal}`)))
    }
  })
  try {
    return await Promise.race([run(options, folder), stopped])
  } catch (error) {
    console.error((error as Error).message)
    return 1
  } finally {
    await endAll()
  }
}

process.exitCode = await main()
// A worker's channel may still be open.
process.exit()
