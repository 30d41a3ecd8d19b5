import { expect, it } from 'vitest'
import { runMutant } from './dist/mutants/run.js'
import { MUTANTS } from './dist/raft/mutants.js'
import { RAFT_SUITE } from './dist/raft/suite.js'

it.each(MUTANTS)('the simulation fails without the rule: $name ($rule)', { timeout: 600_000 }, async (mutant) => {
  const { caught, error } = await runMutant(RAFT_SUITE, { mutant, from: 1, seeds: 3000 })
  expect(error).toBeUndefined()
  expect(caught).toBeDefined()
})
