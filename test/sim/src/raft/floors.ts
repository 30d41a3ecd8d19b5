/** What a run of the Raft simulation must have met to be worth anything. */
import type { Floors } from '../floors.js'

/** For each 1000 seeds. */
export const FLOORS: readonly (readonly [string, number])[] = [
  ['elections', 2000],
  ['truncations', 500],
  ['snapshots installed', 200],
  ['torn tails', 200],
  ['configuration changes', 200],
  ['writes given back', 20],
  ['leaders that gave way for want of room', 100],
  ['clusters without room', 100]
]

export const RAFT_FLOORS: Floors = { counts: FLOORS, rates: { eventsPerSecond: 50_000 } }
