import { expect, it } from 'vitest'
import { withThinLines } from './src/cluster/settings.js'
import { expectSound } from './cluster-support.js'

it('on thin lines no client loses its session, and no keep-alive waits long behind page bytes', async () => {
  const coverage = await expectSound(1, 6, withThinLines)
  expect(coverage.get('control frames that waited on thin lines')).toBeGreaterThan(300)
  expect(coverage.get('expiries')).toBe(0)
  expect(coverage.get('reconnects')).toBe(0)
}, 60_000)
