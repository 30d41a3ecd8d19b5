import { expect, it } from 'vitest'
import { FLOORS } from './src/cluster/floors.js'
import { expectSound } from './cluster-support.js'

it('Quire keeps all guarantees in 1000 seeds, and they reach the floors', { timeout: 1_200_000 }, async () => {
  const coverage = await expectSound(100_001, 1000)
  for (const [met, floor] of FLOORS) expect(coverage.get(met), met).toBeGreaterThanOrEqual(floor)
})
