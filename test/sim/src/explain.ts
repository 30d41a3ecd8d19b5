/**
 * Explains a seed that failed: the fewest faults that make it fail, the end of its trace, and the command that runs it
 * again.
 */
import { minimize, type SeedOutcome } from './minimize.js'
import type { Selection } from './schedule.js'
import { Violation } from './violation.js'

export type RunSeed = (
  init: Selection & { readonly seed: number; readonly trace?: (line: string) => void }
) => Promise<SeedOutcome>

const TRACE_LINES = 60
/** The most failed seeds of one run that are minimized. The others mostly fail for the same reason. */
const MAX_MINIMIZED = 3

interface ExplainInit {
  /** The simulator's name, as in `pnpm sim NAME`. */
  readonly name: string
  readonly run: RunSeed
  readonly selection: Selection
  readonly isMinimized: boolean
}

/** Returns the handler for `Job.onFailure`. */
export function createExplain({ name, run, selection, isMinimized }: ExplainInit): (seed: number) => Promise<void> {
  let minimized = 0
  return async (seed) => {
    if (!isMinimized || minimized++ >= MAX_MINIMIZED) {
      console.log(`again: ${again(name, seed, selection)}\n`)
      return
    }
    const { needed, all, runs } = await minimize((some) => run({ seed, ...some }))
    const lines: string[] = []
    const only = new Set(needed.map(({ number }) => number))
    const { failure } = await run({ seed, only, trace: (line) => lines.push(line) })
    const names = needed.map(({ number, kind }) => `${number} ${kind}`).join(', ')
    console.log(`\nfails with ${needed.length} of ${all} faults and operations (${runs} runs): ${names}`)
    for (const line of lines.slice(-TRACE_LINES)) console.log(line)
    if (failure !== undefined && !(failure instanceof Violation)) console.log(describe(failure))
    console.log(`\nagain: ${again(name, seed, { only })}`)
    console.log(`whole: ${again(name, seed, {})}\n`)
  }
}

function again(name: string, seed: number, { without, only }: Selection): string {
  const parts = [`pnpm sim ${name} --seeds 1 --from ${seed} --trace`]
  if (without !== undefined) parts.push(`--without ${[...without].join(',')}`)
  if (only !== undefined) parts.push(`--only ${[...only].join(',')}`)
  return parts.join(' ')
}

export function describe(failure: Error): string {
  const cause = failure.cause instanceof Error ? `\ncaused by ${failure.cause.stack ?? failure.cause.message}` : ''
  return `${failure.stack ?? failure.message}${cause}`
}
