/**
 * What the cluster simulation found, with the mix that meets it. A seed stands for it only as long as the simulator draws the same numbers; the rules
 * themselves are tested where they are kept (packages/dsm-client/test: discards, local-space), and are mutants ('found by this simulation').
 */
import { it } from 'vitest'
import type { Settings } from './src/cluster/settings.js'
import { expectSound } from './cluster-support.js'

/** Streams that do not wait for each other, and files that shrink all the time. */
function withSlowStreams(drawn: Settings): Settings {
  const { faults, client } = drawn
  const kinds = Object.keys(faults.weights) as (keyof typeof faults.weights)[]
  const weights = Object.fromEntries(
    kinds.map((kind) => [kind, kind === 'slowStream' ? 1 : 0])
  ) as typeof faults.weights
  const shrinking = { punch: 2, truncate: 1, write: 5, read: 3, tryWrite: 3 }
  return {
    ...drawn,
    faults: { ...faults, everyMs: 25, weights },
    client: {
      ...client,
      paths: 1,
      wholePaths: 1,
      bytes: 8192,
      maxPages: 3,
      pauseMs: 1,
      programs: 2,
      weights: { ...client.weights, ...shrinking }
    }
  }
}

it('seed 131: a grant overtook the end of a discard, which then dropped what was written', async () => {
  await expectSound(131, 1, withSlowStreams)
})
