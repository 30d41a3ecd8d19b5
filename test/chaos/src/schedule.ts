/** Which faults a run makes, in which order. It is pure: a seed gives the same schedule each time. */
import type { RandomSource } from '@quire/testing'
import type { Cluster } from './cluster/cluster.js'
import { LANES, type Fault } from './faults/fault.js'

/** The faults between two healings, in the order of each lane. */
export type Round<C extends Cluster> = Readonly<Record<Fault['lane'], readonly Fault<C>[]>>

/** How long a round takes, about. */
const ROUND_MINUTES = 1.25

/** Deals as many of each fault as its rate says, shuffled, to rounds of about the same size. */
export function schedule<C extends Cluster>(
  faults: readonly Fault<C>[],
  minutes: number,
  random: RandomSource,
  rate = 1
): Round<C>[] {
  const count = Math.max(1, Math.round(minutes / ROUND_MINUTES))
  const rounds = Array.from({ length: count }, () => ({ processes: [] as Fault<C>[], lines: [] as Fault<C>[] }))
  const offset = random.int(0, count - 1)
  for (const lane of LANES) {
    const cards = faults
      .filter((fault) => fault.lane === lane)
      .flatMap((fault) => Array.from({ length: rounded(fault.perMinute * rate * minutes, random) }, () => fault))
    for (const [i, fault] of shuffled(cards, random).entries()) rounds[(i + offset) % count]![lane].push(fault)
  }
  return rounds
}

/** The whole number below, or by chance the one above. */
function rounded(value: number, random: RandomSource): number {
  const whole = Math.floor(value)
  return random.is(value - whole) ? whole + 1 : whole
}

/** Fisher-Yates. */
function shuffled<T>(items: readonly T[], random: RandomSource): T[] {
  const all = [...items]
  for (let i = all.length - 1; i > 0; i--) {
    const j = random.int(0, i)
    ;[all[i], all[j]] = [all[j]!, all[i]!]
  }
  return all
}
