import { it } from 'vitest'
import { chaos, expectFine, scheduled } from './support/chaos.js'

it('a run of three minutes makes all faults of its schedule, and breaks no guarantee', async () => {
  const minutes = 3
  // Each run has faults of its own.
  const seed = Date.now() % 2 ** 31
  const outcome = await chaos('--minutes', String(minutes), '--seed', String(seed))
  expectFine(outcome, scheduled(minutes, seed))
}, 900_000)
