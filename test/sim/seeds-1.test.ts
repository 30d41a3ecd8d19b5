import { expect, it } from 'vitest'
import { expectSound } from './support.js'

it('20 clusters keep every promise under crashes, partitions and stalls', { timeout: 60_000 }, async () => {
  const coverage = await expectSound(1, 20)
  for (const met of ['leader crashes', 'client crashes', 'partitions', 'stream breaks', 'sessions lost', 'handovers']) {
    expect(coverage.get(met), met).toBeGreaterThan(0)
  }
})
