/** The floors for a run of the Raft simulation. */
import type { Floors } from '../floors.js'

/** Counts per 1000 seeds. */
export const FLOORS: readonly (readonly [string, number])[] = [
  ['elections', 2000],
  ['truncations', 500],
  ['snapshots installed', 200],
  ['torn tails', 200],
  ['configuration changes', 200],
  ['seeds with handovers', 60],
  ['clusters far apart', 40],
  ['changes of ticks proposed', 120],
  ['transfers', 600],
  ['transfers refused: TransferFailedError', 250],
  ['transfers without a new leader', 15],
  ['transfers to a mute node', 40],
  ['transfers to a node that is down', 40],
  ['writes given back', 20],
  ['leaders that gave way for want of room', 100],
  ['clusters without room', 100]
]

export const RAFT_FLOORS: Floors = { counts: FLOORS, eventsPerReference: 10 }
