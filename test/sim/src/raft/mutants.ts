/**
 * All mutants of Raft. Some rules are missing because too few seeds meet them. Tests in packages/raft/test hold those:
 * an acknowledgment from a former life, a snapshot that is overtaken while it is stored, a retry for space that ends,
 * what a full node answers to entries, and what a full log does with entries that follow others.
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
