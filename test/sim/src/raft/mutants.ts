/**
 * All mutants. Not among them, because too few seeds meet them, and so left to tests of their own: an acknowledgement
 * from a former life, a snapshot that was overtaken while it was stored, a retry for space that ends, what a full
 * node answers to entries, and what a full log does with those that follow on others (packages/raft/test).
 */
import { ELECTIONS, READS, REPLICATION } from './mutants-agreement.js'
import { MEMBERSHIP, SNAPSHOTS, STORAGE, TRANSFER } from './mutants-state.js'
import { ROOM } from './mutants-room.js'
import type { Mutant } from '../mutants/mutant.js'

export const MUTANTS: readonly Mutant[] = [
  ...ELECTIONS,
  ...REPLICATION,
  ...READS,
  ...MEMBERSHIP,
  ...TRANSFER,
  ...SNAPSHOTS,
  ...STORAGE,
  ...ROOM
]
