import type { Suite } from '../mutants/mutant.js'
import { MUTANTS } from './mutants.js'

export const RAFT_SUITE: Suite = { name: 'raft', root: 'packages/raft/dist/', mutants: MUTANTS }
