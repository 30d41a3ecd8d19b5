/**
 * Finds the fewest faults and operations with which a seed still fails in the same way, by delta debugging (Zeller,
 * Hildebrandt: "Simplifying and Isolating Failure-Inducing Input").
 */
import type { Selection } from './schedule.js'
import { Violation } from './violation.js'

/** The part of a seed's result that `minimize` reads. */
export interface SeedOutcome {
  readonly failure: Error | undefined
  /** The faults and operations that occurred before the end, with the noise. */
  readonly injected: readonly { readonly number: number; readonly kind: string }[]
}

interface Minimized {
  readonly needed: readonly { readonly number: number; readonly kind: string }[]
  readonly all: number
  readonly runs: number
}

const MAX_RUNS = 250
const MAX_SECONDS = 60

export async function minimize(run: (selection: Selection) => Promise<SeedOutcome>): Promise<Minimized> {
  const whole = await run({})
  const wanted = signature(whole)
  const startedAt = performance.now()
  let runs = 1
  const isOver = (): boolean => runs >= MAX_RUNS || performance.now() - startedAt > MAX_SECONDS * 1000
  /** Returns what occurred before the failure, or undefined if the seed did not fail in the same way. */
  const failing = async (numbers: readonly number[]): Promise<number[] | undefined> => {
    runs++
    const result = await run({ only: new Set(numbers) })
    return signature(result) === wanted ? result.injected.map(({ number }) => number) : undefined
  }
  let needed = whole.injected.map(({ number }) => number)
  let parts = 2
  while (needed.length > 0 && !isOver()) {
    const chunk = Math.ceil(needed.length / parts)
    let smaller: number[] | undefined
    for (let start = 0; start < needed.length && smaller === undefined && !isOver(); start += chunk) {
      smaller = await failing(needed.filter((_, i) => i < start || i >= start + chunk))
    }
    if (smaller !== undefined) {
      needed = smaller
      parts = Math.max(2, parts - 1)
    } else if (chunk === 1) {
      break
    } else {
      parts = Math.min(needed.length, parts * 2)
    }
  }
  const kinds = new Map(whole.injected.map(({ number, kind }) => [number, kind]))
  return {
    needed: needed.map((number) => ({ number, kind: kinds.get(number)! })),
    all: whole.injected.length,
    runs
  }
}

/** Equal for two failures of the same kind. */
export function signature({ failure }: Pick<SeedOutcome, 'failure'>): string | undefined {
  if (failure === undefined) return undefined
  if (failure instanceof Violation) return failure.invariant
  // The place that threw it. The message does not do, because it names indexes and terms.
  const { stack = '' } = failure.cause instanceof Error ? failure.cause : failure
  const at = stack.split('\n').find((line) => line.trim().startsWith('at ') && !line.includes('assert'))
  return `${failure.name} ${at ?? ''}`
}
