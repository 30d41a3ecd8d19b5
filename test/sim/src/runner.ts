/** Runs many seeds of any simulation on all cores, and merges their coverage. */
import { Worker } from 'node:worker_threads'
import { Coverage } from './coverage.js'

export interface RunOptions {
  readonly seeds: number
  readonly from: number
  readonly workers: number
  readonly keepGoing: boolean
  readonly trace: boolean
  readonly verbose: boolean
}

export interface Report {
  readonly seed: number
  readonly events: number
  readonly virtualMs: number
  readonly hash: string | undefined
  readonly counts: readonly (readonly [string, number])[]
  readonly failure: string | undefined
}

export interface Summary {
  readonly done: number
  readonly failed: readonly number[]
  readonly events: number
  readonly seconds: number
  /** Processor time of all workers. Time that other programs use does not count. */
  readonly cpuSeconds: number
  readonly workers: number
  readonly coverage: Coverage
}

export interface JobOptions {
  readonly isMinimized: boolean
  readonly isHashed: boolean
}

export interface Job {
  readonly runSeed: (seed: number, trace?: (line: string) => void) => Promise<Report>
  /** Says at least how to run the failed seed again. */
  readonly onFailure: (seed: number) => Promise<void> | void
}

/** The module that a worker runs. It makes the same job from `args`. */
export interface WorkerEntry {
  readonly file: string
  readonly args: readonly string[]
}

/** The options that all simulators share, for `parseArgs`. */
export function runFlags(workers: number) {
  return {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    workers: { type: 'string', default: String(workers) },
    'keep-going': { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false }
  } as const
}

/** Random sources start from 32 bits, so a larger seed would silently repeat a smaller one. */
const MAX_SEED = 2 ** 32 - 1
/** A seed takes about a second. One that takes this long loops within one event, where nothing else can end it. */
const STUCK_MS = 300_000

/** Returns undefined if an argument is not a number, or a seed is too large. */
export function readRunOptions(values: {
  readonly seeds: string
  readonly from: string
  readonly workers: string
  readonly 'keep-going': boolean
  readonly trace: boolean
  readonly verbose: boolean
}): RunOptions | undefined {
  const [seeds, from, workers] = [values.seeds, values.from, values.workers].map(Number) as [number, number, number]
  const isRight = [seeds, from, workers].every((each) => Number.isSafeInteger(each) && each >= 1)
  if (!isRight || from + seeds - 1 > MAX_SEED) return undefined
  const { trace, verbose } = values
  return { seeds, from, workers: Math.min(workers, seeds), keepGoing: values['keep-going'], trace, verbose }
}

interface Feed {
  /** Returns the next seed, or undefined if none is left. */
  readonly take: () => number | undefined
  readonly report: (report: Report) => Promise<void> | void
}

/** Runs seeds until `take` returns undefined. If there is a `trace` or a single worker, they run in this thread. */
export async function runSeeds(
  job: Job,
  workers: number,
  entry: WorkerEntry,
  feed: Feed,
  trace?: (line: string) => void
): Promise<void> {
  if (workers > 1 && trace === undefined) {
    await Promise.all(Array.from({ length: workers }, () => work(entry, feed)))
    return
  }
  for (let seed = feed.take(); seed !== undefined; seed = feed.take()) await feed.report(await job.runSeed(seed, trace))
}

function work(entry: WorkerEntry, { take, report }: Feed): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(entry.file, { workerData: { args: entry.args } })
    let seed: number | undefined
    let stuck: NodeJS.Timeout | undefined
    const give = (): void => {
      seed = take()
      if (seed === undefined) return void worker.terminate()
      stuck = setTimeout(() => reject(new Error(`seed ${seed} has not ended in ${STUCK_MS} ms`)), STUCK_MS)
      worker.postMessage(seed)
    }
    worker.on('message', (message: Report) => {
      clearTimeout(stuck)
      Promise.resolve(report(message)).then(give, reject)
    })
    worker.on('error', reject)
    worker.on('exit', (code) => {
      clearTimeout(stuck)
      // A worker that ends by itself loses its seed.
      if (seed === undefined) resolve()
      else reject(new Error(`a worker ended in seed ${seed}, with ${code}`))
    })
    give()
  })
}

/**
 * Runs one job over a range of seeds.
 *
 * It prints each failed seed, merges the coverage of all seeds, and ends at the first failure unless it is told to go
 * on.
 */
export class Run {
  private next: number
  private readonly coverage = new Coverage()
  private readonly failed: number[] = []
  private done = 0
  private events = 0
  private readonly startedAt = performance.now()
  private readonly cpuAtStart = process.cpuUsage()

  constructor(
    private readonly job: Job,
    private readonly options: RunOptions,
    private readonly entry: WorkerEntry
  ) {
    this.next = options.from
  }

  async start(): Promise<Summary> {
    const { options, job, entry } = this
    const { workers } = options
    const trace = options.trace ? (line: string) => void process.stdout.write(`${line}\n`) : undefined
    const feed = { take: () => this.take(), report: (report: Report) => this.report(report) }
    await runSeeds(job, workers, entry, feed, trace)
    const { done, failed, events, coverage } = this
    const seconds = (performance.now() - this.startedAt) / 1000
    const { user, system } = process.cpuUsage(this.cpuAtStart)
    const summary = { done, failed, events, coverage, seconds, cpuSeconds: (user + system) / 1e6, workers }
    print(summary)
    return summary
  }

  private take(): number | undefined {
    const { from, seeds, keepGoing } = this.options
    if (this.next >= from + seeds || (this.failed.length > 0 && !keepGoing)) return undefined
    return this.next++
  }

  private async report(report: Report): Promise<void> {
    const { seed, events, virtualMs, hash, counts, failure } = report
    this.done++
    this.events += events
    this.coverage.merge(counts)
    if (this.options.verbose) {
      const state = failure === undefined ? 'ok' : 'FAILED'
      console.log(`seed ${seed}: ${state}, ${events} events in ${(virtualMs / 1000).toFixed(1)} s, hash ${hash}`)
    } else if (process.stderr.isTTY && !this.options.trace) {
      process.stderr.write(`\r${this.done} of ${this.options.seeds} seeds, ${this.failed.length} failed `)
    }
    if (failure === undefined) return
    this.failed.push(seed)
    console.log(`\nseed ${seed} failed after ${events} events: ${failure}`)
    await this.job.onFailure(seed)
  }
}

function print({ done, failed, events, seconds, coverage }: Summary): void {
  console.log()
  for (const [name, count] of [...coverage.counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    console.log(`${String(count).padStart(10)}  ${name}`)
  }
  console.log(
    `${(done / seconds).toFixed(1)} seeds/s, ${Math.round(events / seconds)} events/s, ${Math.round(events / done)} events a seed`
  )
  console.log(
    `${done} ${done === 1 ? 'seed' : 'seeds'}, ${failed.length} failed${failed.length > 0 ? `: ${failed.join(' ')}` : ''}`
  )
}
