/** The process of a client: runs one program of each workload, and records their operations. */
import { createDsmClient, type DsmFile } from '@quire/dsm-client'
import { createClock } from '@quire/net'
import { createRandomSource } from '@quire/testing'
import { openSync, writeFileSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { WORKLOADS } from '../workloads/index.js'
import type { Program, WorkloadContext } from '../workloads/workload.js'
import type { ClientAsk, Order, Report } from './messages.js'
import { Runner } from './runner.js'

/** Several calls make a step. */
const CALLS_IN_A_STEP = 4
const REPORT_MS = 500
/** How soon a peer must notice that its disk has room again, and how often a client tries. */
const MAX_ROOM_MS = 30_000
const RETRY_MS = 200
/** One client of so many runs in a thread of its own. */
const THREADS_EVERY = 3

const ask = JSON.parse(process.argv[2]!) as ClientAsk
const report = (message: Report): void => void process.stdout.write(`${JSON.stringify(message)}\n`)

const random = createRandomSource(ask.seed).fork(`client ${ask.index}`)
const recorded = new Set<string>()
// Written at once, so that a kill loses no line.
const history = openSync(ask.history, 'a')
const notes = openSync(ask.notes, 'a')
const clock = createClock()
const client = await createDsmClient({
  peers: ask.peers,
  sessionTtlMs: ask.sessionTtlMs,
  faultTimeoutMs: ask.faultTimeoutMs,
  thread: ask.index % THREADS_EVERY === THREADS_EVERY - 1,
  history: (event) => {
    if (recorded.has(event.file)) writeSync(history, `${JSON.stringify(event)}\n`)
  }
})
const context: Omit<WorkloadContext, 'note'> = {
  client,
  folder: ask.folder,
  index: ask.index,
  seat: ask.seat,
  random,
  begins: (change) => {
    const call = Math.round(clock.now() * 1e6)
    writeFileSync(ask.begun, JSON.stringify({ ...change, call }))
  },
  record: ({ id: file }: DsmFile, size: number) => {
    if (!recorded.has(file)) report({ type: 'recorded', file, size })
    recorded.add(file)
  }
}
interface Running {
  readonly name: string
  readonly program: Program
  readonly runner: Runner
}

const running = WORKLOADS.map((workload): Running => {
  const { name, pauseMs } = workload
  const note = (noted: unknown): void => void writeSync(notes, `${JSON.stringify([name, noted])}\n`)
  const own = { ...context, note, random: random.fork(name) }
  const program = workload.program(own)
  const runner = new Runner({
    pauseMs,
    program,
    random: own.random.fork('pauses'),
    maxStepMs: CALLS_IN_A_STEP * ask.faultTimeoutMs,
    rejected: ({ name: error }) => report({ type: 'rejected', error }),
    wrong: (message) => report({ type: 'wrong', workload: name, message })
  })
  return { name, program, runner }
})

const reporting = setInterval(() => {
  // A process that was stopped meanwhile gets one tick for it.
  for (const { runner } of running) runner.tick(REPORT_MS)
  report({ type: 'progress', done: Object.fromEntries(running.map(({ name, runner }) => [name, runner.take()])) })
}, REPORT_MS)

async function stop(): Promise<void> {
  await Promise.all(running.map(({ runner }) => runner.stop()))
  for (const { name, program } of running) await settle(name, () => program.settle())
  report({ type: 'stopped' })
}

async function end(): Promise<void> {
  const ends: Record<string, unknown> = {}
  for (const each of WORKLOADS) ends[each.name] = await settle(each.name, () => each.end(context))
  report({ type: 'ended', ends })
}

/**
 * The faults are over, so what fails here is wrong, with two exceptions. A session that was lost shows with the first
 * call. A leader whose disk was full takes no writes until its next checkpoint finds room, a few seconds later.
 */
async function settle(workload: string, work: () => Promise<unknown>): Promise<unknown> {
  const until = clock.now() + MAX_ROOM_MS
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      const { name, message } = error as Error
      if (name === 'NoSpaceError' && clock.now() < until) {
        tries--
        await setTimeout(RETRY_MS)
        continue
      }
      if (name !== 'SessionExpiredError' || tries === 2) {
        report({ type: 'wrong', workload, message: `at the end: ${message}` })
        return null
      }
      running.find((each) => each.name === workload)?.program.forget(error as Error)
    }
  }
}

async function leave(): Promise<void> {
  clearInterval(reporting)
  await client.close().catch(() => {})
  process.exit()
}

const orders = createInterface({ input: process.stdin })
orders.on('line', (line) => {
  const order = JSON.parse(line) as Order
  void (order.type === 'stop' ? stop() : end())
})
orders.on('close', () => void leave())
