import { expect, it } from 'vitest'
import { CLUSTER_SUITE } from './dist/cluster/mutants.js'
import { runMutant } from './dist/mutants/run.js'

it.each(CLUSTER_SUITE.mutants)(
  'the simulation fails without the rule: $name ($rule)',
  { timeout: 1_200_000 },
  async (mutant) => {
    const { caught, error } = await runMutant(CLUSTER_SUITE, { mutant, from: 1, seeds: 3000 })
    expect(error).toBeUndefined()
    expect(caught).toBeDefined()
  }
)
