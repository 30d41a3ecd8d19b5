/** The kinds of faults and operations in a seed of Raft, and how common each is. */
import type * as schedule from '../schedule.js'

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
  ['wipe', 0.6],
  ['retime', 0]
] as const

export type EventKind = (typeof KINDS)[number][0]

export type InjectedEvent = schedule.InjectedEvent<EventKind>
