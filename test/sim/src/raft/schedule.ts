/**
 * What happens in a seed besides its clients: faults and operations, each with a number and a source of chance of its own, so that
 * some can be left out and the others stay what they are. The number 0 is the noise of network and disks.
 */
import type { Chance } from '../random.js'
import type { RaftSettings } from './settings.js'

/** Every kind, and how common it is. */
export const KINDS = [
  ['crash', 2],
  ['crashLeader', 2],
  ['crashInWrite', 7],
  ['crashAll', 0.3],
  ['close', 1],
  ['outage', 1],
  ['stall', 1],
  ['stallLeader', 1],
  ['cutBothWays', 1],
  ['cutOneWay', 1],
  ['isolateLeader', 2],
  ['deafenLeader', 1],
  ['split', 0.7],
  ['slowLink', 0.5],
  ['slowDisk', 0.7],
  ['failWrite', 0.7],
  ['fullDisk', 0.5],
  ['rot', 0.8],
  ['dropSnapshot', 0.5],
  ['refuseInstall', 0.4],
  ['burst', 1],
  ['transfer', 2],
  ['transferAndCut', 0.7],
  ['transferToNobody', 0.2],
  ['addLearner', 1],
  ['promote', 1],
  ['demote', 0.5],
  ['remove', 0.7],
  ['replace', 1.2],
  ['senseless', 0.2],
  ['wipe', 0.6]
] as const

export type HappeningKind = (typeof KINDS)[number][0]

export interface Happening {
  readonly number: number
  readonly atMs: number
  readonly kind: HappeningKind
}

export const NOISE = 0

export function drawSchedule(chance: Chance, { everyMs, faultyMs, weights }: RaftSettings): Happening[] {
  const total = KINDS.reduce((sum, [kind]) => sum + weights[kind], 0)
  const schedule: Happening[] = []
  for (let atMs = chance.exponential(everyMs); atMs < faultyMs; atMs += chance.exponential(everyMs)) {
    let at = chance.next() * total
    const kind = KINDS.find(([each]) => (at -= weights[each]) < 0)?.[0] ?? 'crash'
    schedule.push({ number: schedule.length + 1, atMs, kind })
  }
  return schedule
}

/** Which numbers take part: all but those `without`, or those of `only`. */
export interface Selection {
  readonly without?: ReadonlySet<number>
  readonly only?: ReadonlySet<number>
}

export function isSelected({ without, only }: Selection, number: number): boolean {
  return only === undefined ? without?.has(number) !== true : only.has(number)
}
