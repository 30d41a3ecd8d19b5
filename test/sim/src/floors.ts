/** What a run must have met to be worth anything. */
import type { Summary } from './runner.js'

export interface Floors {
  /** For each 1000 seeds, by the coverage's names. */
  readonly counts: readonly (readonly [string, number])[]
  /** On average. */
  readonly perSeed?: readonly (readonly [string, number])[]
  readonly rates?: { readonly eventsPerSecond?: number }
}

/** With fewer seeds chance alone may miss a floor. */
export const FLOOR_SEEDS = 1000

/** Prints floors beside what was met. False when one was missed that counts. */
export function enforceFloors({ counts, perSeed = [], rates = {} }: Floors, summary: Summary): boolean {
  const { done, events, cpuSeconds, workers, coverage } = summary
  const isEnforced = done >= FLOOR_SEEDS
  const rows = [
    ...counts.map(([name, floor]) => ({ name, floor: Math.round((floor * done) / 1000), met: coverage.get(name) })),
    ...perSeed.map(([name, floor]) => ({ name: `${name} a seed`, floor, met: Math.round(coverage.get(name) / done) }))
  ]
  const { eventsPerSecond } = rates
  // On all cores together, as if nobody else used them.
  const seconds = cpuSeconds / workers
  if (eventsPerSecond !== undefined)
    rows.push({ name: 'events a second, by processor time', floor: eventsPerSecond, met: events / seconds })
  const weight = isEnforced ? 'enforced' : `for information: floors count from ${FLOOR_SEEDS} seeds on`
  console.log(`\nfloors for ${done} seeds (${weight})`)
  for (const { name, floor, met } of rows) {
    const verdict = isEnforced ? (met >= floor ? ': ok' : ': MISSED') : ''
    const shown = met < 100 ? Number(met.toFixed(1)) : Math.round(met)
    console.log(`${String(shown).padStart(10)} of ${String(floor).padStart(7)}  ${name}${verdict}`)
  }
  return !isEnforced || rows.every(({ met, floor }) => met >= floor)
}
