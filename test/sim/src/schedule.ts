/**
 * The schedule of a seed: the faults and operations that occur besides its programs. Each has a number and a random
 * source of its own, so that a run can leave some out without changing the others. The number 0 stands for the noise of
 * network and disks.
 */
import type { RandomSource } from '@quire/testing'

export interface InjectedEvent<K extends string = string> {
  readonly number: number
  readonly atMs: number
  readonly kind: K
}

export const NOISE = 0

interface ScheduleSettings<K extends string> {
  /** Mean time between two events. */
  readonly everyMs: number
  /** True time during which they occur. */
  readonly faultyMs: number
  readonly weights: Readonly<Record<K, number>>
}

export function drawSchedule<K extends string>(
  kinds: readonly K[],
  random: RandomSource,
  { everyMs, faultyMs, weights }: ScheduleSettings<K>
): InjectedEvent<K>[] {
  const schedule: InjectedEvent<K>[] = []
  for (let atMs = random.exponential(everyMs); atMs < faultyMs; atMs += random.exponential(everyMs)) {
    schedule.push({ number: schedule.length + 1, atMs, kind: drawKind(kinds, weights, random) })
  }
  return schedule
}

/** Draws one of the kinds in proportion to its weight. */
export function drawKind<K extends string>(
  kinds: readonly K[],
  weights: Readonly<Record<K, number>>,
  random: RandomSource
): K {
  let at = random.next() * kinds.reduce((sum, kind) => sum + weights[kind], 0)
  return kinds.find((kind) => (at -= weights[kind]) < 0) ?? kinds[0]!
}

/** Which numbers take part: those of `only`, or all but those of `without`. */
export interface Selection {
  readonly without?: ReadonlySet<number>
  readonly only?: ReadonlySet<number>
}

export function isSelected({ without, only }: Selection, number: number): boolean {
  return only === undefined ? without?.has(number) !== true : only.has(number)
}

/** Reads it from the command line. Returns undefined if an argument is not a number. */
export function readSelection(values: {
  readonly without?: string | undefined
  readonly only?: string | undefined
}): Selection | undefined {
  const [without, only] = [values.without, values.only].map((text) => text?.split(',').map(Number))
  for (const numbers of [without, only]) {
    if (numbers?.some((number) => !Number.isSafeInteger(number) || number < 0) === true) return undefined
  }
  return { ...(without && { without: new Set(without) }), ...(only && { only: new Set(only) }) }
}
