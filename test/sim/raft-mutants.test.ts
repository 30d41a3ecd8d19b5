import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
// Use the built program, because a worker loads it and patches the modules that it loads.
import type { Mutant } from './dist/mutants/mutant.js'
import { runMutant } from './dist/mutants/run.js'
import { MUTANTS } from './dist/raft/mutants.js'
import { RAFT_SUITE } from './dist/raft/suite.js'

const SOME = [
  'vote not durable before its reply',
  'own entry counted before its flush',
  'an earlier term committed by counting',
  'a late append truncates',
  'joint election by the new majority only',
  'a learner is counted',
  'pieces in any order',
  'a log acknowledges before it writes',
  'leadership goes to one without room'
]

function mutantOf(name: string): Mutant {
  const found = MUTANTS.find((mutant) => mutant.name === name)
  if (found === undefined) throw new Error(`no mutant ${name}`)
  return found
}

describe('the mutants of the Raft simulation', { timeout: 60_000 }, () => {
  it.each(SOME)('the simulation fails under the mutant: %s', async (name) => {
    const { caught, error } = await runMutant(RAFT_SUITE, { mutant: mutantOf(name), from: 1, seeds: 100 })
    expect(error).toBeUndefined()
    expect(caught).toBeDefined()
  })

  it('a patch that does not fit exactly one place is refused', async () => {
    const mutant = { ...mutantOf('a learner is counted'), find: 'no such place' }
    const { error } = await runMutant(RAFT_SUITE, { mutant, from: 1, seeds: 1 })
    expect(error).toMatch(/0 times, not once/)
  })

  it('each patch fits exactly one place in the built packages', async () => {
    for (const { name, and = [], ...change } of MUTANTS) {
      for (const { file, find } of [change, ...and]) {
        const source = await readFile(new URL(`../../${RAFT_SUITE.root}${file}`, import.meta.url), 'utf8')
        expect(source.split(find).length - 1, `${name}: ${file}`).toBe(1)
      }
    }
  })

  it('no two mutants share a name', () => {
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length)
  })
})
