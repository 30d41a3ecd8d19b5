/**
 * Delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input") over the numbers of faults and operations:
 * the fewest with which a seed still fails in the same way.
 */
import { Violation } from '../violation.js'
import type { HappeningKind } from './schedule.js'
import { simulateRaft, type RaftSimulationResult } from './simulation.js'

export interface Minimised {
  readonly needed: readonly { readonly number: number; readonly kind: HappeningKind | 'noise' }[]
  readonly all: number
  readonly runs: number
}

const MAX_RUNS = 250
const MAX_SECONDS = 60

export async function minimise(seed: number): Promise<Minimised> {
  const whole = await simulateRaft({ seed })
  const wanted = signature(whole)
  const all = whole.happenings.map(({ number }) => number)
  const startedAt = performance.now()
  let runs = 1
  const isOver = (): boolean => runs >= MAX_RUNS || performance.now() - startedAt > MAX_SECONDS * 1000
  const fails = async (numbers: readonly number[]): Promise<boolean> => {
    runs++
    return signature(await simulateRaft({ seed, only: new Set(numbers) })) === wanted
  }
  let needed = all
  let parts = 2
  while (needed.length > 0 && !isOver()) {
    const chunk = Math.ceil(needed.length / parts)
    let smaller: number[] | undefined
    for (let start = 0; start < needed.length && smaller === undefined && !isOver(); start += chunk) {
      const rest = needed.filter((_, i) => i < start || i >= start + chunk)
      if (await fails(rest)) smaller = rest
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
  const kinds = new Map(whole.happenings.map(({ number, kind }) => [number, kind]))
  return { needed: needed.map((number) => ({ number, kind: kinds.get(number)! })), all: all.length, runs }
}

/** What makes two failures the same. */
export function signature({ failure }: Pick<RaftSimulationResult, 'failure'>): string | undefined {
  if (failure === undefined) return undefined
  if (failure instanceof Violation) return failure.invariant
  // Where it was thrown; its message names indexes and terms.
  const { stack = '' } = failure.cause instanceof Error ? failure.cause : failure
  return `${failure.name} ${stack.split('\n').find((line) => line.trim().startsWith('at ') && !line.includes('assert')) ?? ''}`
}
