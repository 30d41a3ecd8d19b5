import { expect, it } from 'vitest'
import { chaos } from './support/chaos.js'

it('a run of three minutes with all faults breaks no guarantee', async () => {
  const { status, output } = await chaos('--minutes', '3')
  expect(output).toContain('no acknowledged write is lost, and the history is linearizable')
  expect(status).toBe(0)
}, 900_000)
