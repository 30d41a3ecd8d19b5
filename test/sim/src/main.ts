/** `pnpm sim cluster --seeds N --from S`: many seeds on all cores. One that fails says how to run it again. */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { Coverage } from './coverage.js'
import { withNames } from './ids.js'
import { simulate } from './simulation.js'

const USAGE = `usage: pnpm sim cluster [--seeds N] [--from SEED] [--workers N] [--keep-going] [--trace] [--verbose]

  --seeds N     how many, default 100
  --from SEED   the first, default 1
  --workers N   default: one for each core
  --keep-going  does not stop at the first that fails
  --trace       prints every event; with one seed
  --verbose     prints a line for each seed`

interface Report {
  readonly seed: number
  readonly events: number
  readonly virtualMs: number
  readonly traceHash: string
  readonly counts: readonly (readonly [string, number])[]
  readonly failure: string | undefined
}

interface Options {
  readonly seeds: number
  readonly from: number
  readonly workers: number
  readonly keepGoing: boolean
  readonly trace: boolean
  readonly verbose: boolean
}

function readOptions(argv: string[]): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        seeds: { type: 'string', default: '100' },
        from: { type: 'string', default: '1' },
        workers: { type: 'string', default: String(availableParallelism()) },
        'keep-going': { type: 'boolean', default: false },
        trace: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false }
      }
    })
    const [seeds, from, workers] = [values.seeds, values.from, values.workers].map(Number) as [number, number, number]
    const isRight = [seeds, from, workers].every((each) => Number.isSafeInteger(each) && each >= 1)
    if (positionals.join(' ') !== 'cluster' || !isRight) return undefined
    const { trace, verbose } = values
    return { seeds, from, workers: Math.min(workers, seeds), keepGoing: values['keep-going'], trace, verbose }
  } catch {
    return undefined
  }
}

async function runSeed(seed: number, trace?: (line: string) => void): Promise<Report> {
  const { events, virtualMs, traceHash, coverage, failure } = await simulate({ seed, ...(trace && { trace }) })
  const text =
    failure === undefined ? undefined : withNames(`${failure.name}: ${failure.message}\n${failure.stack ?? ''}`)
  return { seed, events, virtualMs, traceHash, counts: [...coverage.counts], failure: text }
}

class Run {
  private next: number
  private readonly coverage = new Coverage()
  private readonly failed: number[] = []
  private done = 0
  private events = 0
  private readonly startedAt = performance.now()

  constructor(private readonly options: Options) {
    this.next = options.from
  }

  async start(): Promise<number> {
    const { options } = this
    if (options.trace || options.workers === 1) {
      const trace = options.trace ? (line: string) => process.stdout.write(`${line}\n`) : undefined
      for (let seed = this.take(); seed !== undefined; seed = this.take()) this.report(await runSeed(seed, trace))
    } else {
      await Promise.all(Array.from({ length: options.workers }, () => this.work()))
    }
    this.summarize()
    return this.failed.length > 0 ? 1 : 0
  }

  private take(): number | undefined {
    const { from, seeds, keepGoing } = this.options
    if (this.next >= from + seeds || (this.failed.length > 0 && !keepGoing)) return undefined
    return this.next++
  }

  private work(): Promise<void> {
    return new Promise((resolve, reject) => {
      const worker = new Worker(fileURLToPath(import.meta.url), { workerData: 'simulate' })
      const give = (): void => {
        const seed = this.take()
        if (seed === undefined) void worker.terminate().then(() => resolve())
        else worker.postMessage(seed)
      }
      worker.on('message', (report: Report) => {
        this.report(report)
        give()
      })
      worker.on('error', reject)
      give()
    })
  }

  private report(report: Report): void {
    const { seed, events, virtualMs, traceHash, counts, failure } = report
    this.done++
    this.events += events
    this.coverage.merge(counts)
    if (this.options.verbose) {
      const state = failure === undefined ? 'ok' : 'FAILED'
      console.log(`seed ${seed}: ${state}, ${events} events in ${(virtualMs / 1000).toFixed(1)} s, trace ${traceHash}`)
    } else if (process.stderr.isTTY && !this.options.trace) {
      process.stderr.write(`\r${this.done} of ${this.options.seeds} seeds, ${this.failed.length} failed `)
    }
    if (failure === undefined) return
    this.failed.push(seed)
    console.log(`\nseed ${seed} failed after ${events} events: ${failure}`)
    console.log(`again: pnpm sim cluster --seeds 1 --from ${seed} --trace\n`)
  }

  private summarize(): void {
    const seconds = (performance.now() - this.startedAt) / 1000
    console.log(
      `\n${this.done} seeds, ${this.failed.length} failed${this.failed.length > 0 ? `: ${this.failed.join(' ')}` : ''}`
    )
    console.log(
      `${(this.done / seconds).toFixed(1)} seeds/s, ${Math.round(this.events / seconds)} events/s, ${Math.round(this.events / this.done)} events a seed`
    )
    for (const [name, count] of [...this.coverage.counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
      console.log(`${String(count).padStart(10)}  ${name}`)
    }
  }
}

if (!isMainThread && workerData === 'simulate') {
  parentPort!.on('message', (seed: number) => {
    void runSeed(seed).then((report) => parentPort!.postMessage(report))
  })
} else {
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) {
    console.error(USAGE)
    process.exitCode = 2
  } else {
    process.exitCode = await new Run(options).start()
  }
}
