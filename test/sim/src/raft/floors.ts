/** What a run must have met to be worth anything. */
import type { Summary } from '../runner.js'

/** For each 1000 seeds. */
export const FLOORS: readonly (readonly [string, number])[] = [
  ['elections', 2000],
  ['truncations', 500],
  ['snapshots installed', 200],
  ['torn tails', 200],
  ['configuration changes', 200]
]
const EVENTS_PER_SECOND = 50_000
/** With fewer seeds chance alone may miss a floor. */
export const FLOOR_SEEDS = 1000

/** Prints floors beside what was met. False when one was missed that counts. */
export function enforceFloors({ done, events, cpuSeconds, workers, coverage }: Summary): boolean {
  const isEnforced = done >= FLOOR_SEEDS
  const rows = FLOORS.map(([name, floor]) => ({
    name,
    floor: Math.round((floor * done) / 1000),
    met: coverage.get(name)
  }))
  // On all cores together, as if nobody else used them.
  const rate = Math.round((events / cpuSeconds) * workers)
  rows.push({ name: 'events a second, by processor time', floor: EVENTS_PER_SECOND, met: rate })
  console.log(`\nfloors for ${done} seeds (${isEnforced ? 'enforced' : `enforced from ${FLOOR_SEEDS} seeds on`})`)
  for (const { name, floor, met } of rows) {
    const verdict = met >= floor ? 'ok' : isEnforced ? 'MISSED' : 'below'
    console.log(`${String(met).padStart(10)} of ${String(floor).padStart(7)}  ${name}: ${verdict}`)
  }
  return !isEnforced || rows.every(({ met, floor }) => met >= floor)
}
