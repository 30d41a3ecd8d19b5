import { expect, it } from 'vitest'
import { FLOORS } from './src/raft/floors.js'
import { expectSoundRaft } from './raft-support.js'

it('Raft keeps all guarantees in 3000 seeds, and they reach the floors', { timeout: 600_000 }, async () => {
  const coverage = await expectSoundRaft(100_001, 3000)
  for (const [met, floor] of FLOORS) expect(coverage.get(met), met).toBeGreaterThanOrEqual(floor * 3)
})
