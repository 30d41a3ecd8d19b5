/**
 * Seeds that found something. They stand for it only as long as the simulator draws the same numbers; the rule itself is tested where
 * it is kept (packages/dsm-client/test/coherence-lanes.test.ts).
 */
import { it } from 'vitest'
import { expectSound } from './support.js'

it("seed 230: a writeback's acknowledgement overtook an older grant, which brought old bytes back", async () => {
  await expectSound(230, 1)
})

it('seed 21: a client that closed served its pages after the end of its session was in the log', async () => {
  await expectSound(21, 1)
})

it('seed 112: a grant that was on its way gave a closing client access again', async () => {
  await expectSound(112, 1)
})
