/** `pnpm sim NAME --mutants`: some seed must catch each mutant. */
import { Worker } from 'node:worker_threads'
import type { RunOptions } from '../runner.js'
import type { Mutant, Suite } from './mutant.js'
import type { MutantReport, MutantTask } from './worker.js'

interface MutantResult {
  readonly mutant: Mutant
  /** Undefined if it survived. */
  readonly caught: { readonly seed: number; readonly invariant: string } | undefined
  /** Why the mutant itself is wrong. */
  readonly error: string | undefined
  readonly seconds: number
}

/** A seed takes a fraction of a second. An endless loop never ends its seed. */
const STUCK_MS = 90_000

/** Returns the exit code: 1 if a mutant survives. */
export async function runMutants(suite: Suite, { seeds, from, workers }: RunOptions, name: string): Promise<number> {
  const waiting = suite.mutants.filter((mutant) => name === '' || mutant.name === name)
  if (waiting.length === 0) {
    console.error(`${suite.name} has no mutant '${name}'. It has:`)
    for (const mutant of suite.mutants) console.error(`  ${mutant.name}`)
    return 2
  }
  const results: MutantResult[] = []
  console.log(row(['mutant', 'rule', 'seed', 'invariant', 'seconds']))
  const work = async (): Promise<void> => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const result = await runMutant(suite, { mutant, from, seeds })
      results.push(result)
      const { caught, error, seconds } = result
      const outcome = error ?? caught?.invariant ?? `SURVIVED ${seeds} seeds`
      console.log(row([mutant.name, mutant.rule, String(caught?.seed ?? '-'), outcome, seconds.toFixed(1)]))
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
  const left = results.filter(({ caught }) => caught === undefined)
  console.log(
    `\n${results.length} ${results.length === 1 ? 'mutant' : 'mutants'}, ${left.length} not caught${left.map(({ mutant }) => ` ${mutant.name}`).join(',')}`
  )
  return left.length > 0 ? 1 : 0
}

export function runMutant(
  { name, root }: Suite,
  { mutant, from, seeds }: Pick<MutantTask, 'mutant' | 'from' | 'seeds'>
): Promise<MutantResult> {
  const startedAt = performance.now()
  const task: MutantTask = { suite: name, root, mutant, from, seeds }
  return new Promise((resolve) => {
    const worker = new Worker(new URL('worker.js', import.meta.url), { workerData: task })
    let at = from
    const end = (outcome: Pick<MutantResult, 'caught' | 'error'>): void => {
      clearTimeout(stuck)
      void worker
        .terminate()
        .then(() => resolve({ mutant, ...outcome, seconds: (performance.now() - startedAt) / 1000 }))
    }
    const isStuck = (): void =>
      end({ caught: { seed: at, invariant: 'liveness: something goes round in circles' }, error: undefined })
    let stuck = setTimeout(isStuck, STUCK_MS)
    worker.on('message', (report: MutantReport) => {
      if (report.type === 'seed') {
        at = report.seed + 1
        clearTimeout(stuck)
        stuck = setTimeout(isStuck, STUCK_MS)
      } else if (report.type === 'caught') {
        end({ caught: { seed: report.seed, invariant: report.invariant }, error: undefined })
      } else {
        end({ caught: undefined, error: report.type === 'error' ? report.message : undefined })
      }
    })
    worker.on('error', (error) => end({ caught: undefined, error: error.message }))
  })
}

function row([name = '', rule = '', seed = '', invariant = '', seconds = '']: string[]): string {
  return `${name.padEnd(34)} ${rule.padEnd(34)} ${seed.padStart(5)}  ${invariant.padEnd(48)} ${seconds.padStart(7)}`
}
