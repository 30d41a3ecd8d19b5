import type { Mutant } from '../mutants/mutant.js'
import { runMutant as runMutantOf, type MutantResult } from '../mutants/run.js'
import { RAFT_SUITE } from './suite.js'

export function runMutant(task: {
  readonly mutant: Mutant
  readonly from: number
  readonly seeds: number
}): Promise<MutantResult> {
  return runMutantOf(RAFT_SUITE, task)
}
