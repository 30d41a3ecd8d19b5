/** All mutants of the rules of docs/coherence.md, identity.md, membership.md and storage.md, and of the kernel. */
import type { Mutant, Suite } from '../mutants/mutant.js'
import { CLIENT_MUTANTS } from './mutants-client.js'
import { DAMAGE_MUTANTS } from './mutants-damage.js'
import { DIFF_MUTANTS } from './mutants-diffs.js'
import { IDENTITY_MUTANTS } from './mutants-identity.js'
import { LEADER_MUTANTS } from './mutants-leader.js'
import { LOG_MUTANTS } from './mutants-log.js'
import { MAPPING_MUTANTS } from './mutants-mapping.js'
import { MEMBERSHIP_MUTANTS } from './mutants-membership.js'
import { SCRUB_MUTANTS } from './mutants-scrubs.js'
import { SNAPSHOT_MUTANTS } from './mutants-snapshots.js'
import { ZERO_MUTANTS } from './mutants-zeros.js'

const MUTANTS: readonly Mutant[] = [
  ...LEADER_MUTANTS,
  ...LOG_MUTANTS,
  ...SNAPSHOT_MUTANTS,
  ...SCRUB_MUTANTS,
  ...DAMAGE_MUTANTS,
  ...ZERO_MUTANTS,
  ...CLIENT_MUTANTS,
  ...DIFF_MUTANTS,
  ...IDENTITY_MUTANTS,
  ...MAPPING_MUTANTS,
  ...MEMBERSHIP_MUTANTS
]

export const CLUSTER_SUITE: Suite = { name: 'cluster', root: 'packages/', mutants: MUTANTS }
