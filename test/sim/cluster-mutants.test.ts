import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
// Use the built program, because a worker loads it and patches the modules that it loads.
import { CLUSTER_SUITE } from './dist/cluster/mutants.js'
import type { Mutant } from './dist/mutants/mutant.js'
import { runMutant } from './dist/mutants/run.js'

const SOME = [
  'grant before all invalidations are acknowledged',
  'reader admitted while a write is pending',
  'handover without bytes',
  'an entry counts before it is flushed',
  'dirty bytes forgotten when they leave',
  'extend shows old bytes: pages beyond the end stay',
  'even_cows ignored: a private copy survives a truncation',
  'whole file given up before its writes are acknowledged',
  'the state machine stays after an adoption',
  'the log drops what follows a snapshot that is sent',
  'any directory of a member is welcome',
  'a replacement keeps the old voter'
]

function mutantOf(name: string): Mutant {
  const found = CLUSTER_SUITE.mutants.find((mutant) => mutant.name === name)
  if (found === undefined) throw new Error(`no mutant ${name}`)
  return found
}

describe('the mutants of the cluster simulation', { timeout: 60_000 }, () => {
  it.each(SOME)('the simulation fails under the mutant: %s', async (name) => {
    const { caught, error } = await runMutant(CLUSTER_SUITE, { mutant: mutantOf(name), from: 1, seeds: 40 })
    expect(error).toBeUndefined()
    expect(caught).toBeDefined()
  })

  it('each patch fits exactly one place in the built packages', async () => {
    for (const { name, and = [], ...change } of CLUSTER_SUITE.mutants) {
      for (const { file, find } of [change, ...and]) {
        const source = await readFile(new URL(`../../${CLUSTER_SUITE.root}${file}`, import.meta.url), 'utf8')
        expect(source.split(find).length - 1, `${name}: ${file}`).toBe(1)
      }
    }
  })

  it('no two mutants share a name', () => {
    const names = CLUSTER_SUITE.mutants.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })
})
