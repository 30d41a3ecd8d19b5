import { DEFAULT_ROUND_TRIP_MS } from '@quire/protocol'
import { createRandomSource } from '@quire/testing'
import { expect, it } from 'vitest'
import { drawSettings } from './src/cluster/settings.js'
import type { Settings } from './src/cluster/settings-types.js'

it('programs far apart look less often whether they may use a file (seed 1128310902)', () => {
  const drawn: Settings[] = Array.from({ length: 300 }, (_, seed) => drawSettings(createRandomSource(seed)))
  const far = drawn.filter(({ network }) => network.roundTripMs > DEFAULT_ROUND_TRIP_MS)
  const near = drawn.filter(({ network }) => network.roundTripMs === 0)
  expect(far.length).toBeGreaterThan(0)
  const shortest = Math.min(...far.map(({ client }) => client.lockPauseMs))
  expect(shortest).toBeGreaterThan(Math.max(...near.map(({ client }) => client.lockPauseMs)))
})
