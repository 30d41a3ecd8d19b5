import { expect } from 'vitest'
import { Coverage } from './src/coverage.js'
import type { Sabotage } from './src/peers.js'
import type { Settings } from './src/settings.js'
import { simulate } from './src/simulation.js'

/** Runs seeds that must hold, and returns what they met. */
export async function expectSound(from: number, count: number): Promise<Coverage> {
  const coverage = new Coverage()
  for (let seed = from; seed < from + count; seed++) {
    const result = await simulate({ seed })
    expect(result.failure, `pnpm sim cluster --seeds 1 --from ${seed} --trace`).toBeUndefined()
    coverage.merge(result.coverage.counts)
  }
  return coverage
}

/** What the first of up to `count` seeds finds that finds anything, with a broken part in place. */
export async function firstFailure(
  sabotage: Sabotage,
  count: number,
  settings = (drawn: Settings) => drawn
): Promise<Error | undefined> {
  for (let seed = 1; seed <= count; seed++) {
    const { failure } = await simulate({ seed, sabotage, settings })
    if (failure !== undefined) return failure
  }
  return undefined
}
