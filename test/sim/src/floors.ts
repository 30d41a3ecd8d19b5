/** The floors: what a run must have met for its result to mean anything. */
import { referenceRoundsPerSecond } from './reference-work.js'
import type { Summary } from './runner.js'

export interface Floors {
  /** Counts per 1000 seeds, by the names of the coverage. */
  readonly counts: readonly (readonly [string, number])[]
  /** Averages per seed. */
  readonly perSeed?: readonly (readonly [string, number])[]
  /** Events that a run must do in the processor time of 1000 rounds of reference work. */
  readonly eventsPerReference: number
}

/** From this many seeds on, floors count. Fewer seeds may miss one by chance. */
const FLOOR_SEEDS = 1000

/** Prints each floor beside the count that the run met. Returns false if the run missed one. */
export function enforceFloors({ counts, perSeed = [], eventsPerReference }: Floors, summary: Summary): boolean {
  const { done, events, cpuSeconds, workers, coverage } = summary
  if (done < FLOOR_SEEDS) return true
  const rows = [
    ...counts.map(([name, floor]) => ({ name, floor: Math.round((floor * done) / 1000), met: coverage.get(name) })),
    ...perSeed.map(([name, floor]) => ({ name: `${name} a seed`, floor, met: Math.round(coverage.get(name) / done) }))
  ]
  // The rate as if all cores ran seeds and nothing else.
  const eventsPerSecond = (events * workers) / cpuSeconds
  const met = (1000 * eventsPerSecond) / referenceRoundsPerSecond()
  rows.push({ name: 'events in the time of 1000 rounds of reference work', floor: eventsPerReference, met })
  console.log(`\nfloors for ${done} seeds`)
  for (const { name, floor, met } of rows) {
    const verdict = met >= floor ? 'ok' : 'MISSED'
    const shown = met < 100 ? Number(met.toFixed(1)) : Math.round(met)
    console.log(`${String(shown).padStart(10)} of ${String(floor).padStart(7)}  ${name}: ${verdict}`)
  }
  return rows.every(({ met, floor }) => met >= floor)
}
