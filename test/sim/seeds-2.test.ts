import { it } from 'vitest'
import { expectSound } from './support.js'

it('20 other clusters do, too', { timeout: 60_000 }, async () => {
  await expectSound(21, 20)
})
