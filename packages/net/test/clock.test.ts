import { describe, expect, it } from 'vitest'
import { createClock, createRandom } from '../src/index.js'

describe('the clock of the machine', () => {
  it.each([2 ** 31, Number.MAX_SAFE_INTEGER])(
    'the clock of the machine waits for a delay of %d ms, which is longer than Node takes',
    async (delayMs) => {
      let isOver = false
      const cancel = createClock().schedule(delayMs, () => (isOver = true))
      await new Promise((resolve) => setTimeout(resolve, 20))
      cancel()
      expect(isOver).toBe(false)
    }
  )

  it('the clock of the machine advances, calls back once, and calls no canceled callback', async () => {
    const clock = createClock()
    const start = clock.now()
    let calls = 0
    clock.schedule(1, () => calls++)()
    await new Promise<void>((resolve) => clock.schedule(10, resolve))
    expect(calls).toBe(0)
    expect(clock.now() - start).toBeGreaterThan(8)
    expect(Math.abs(clock.wallTime() - Date.now())).toBeLessThan(1000)
  })
})

it('draws random numbers from [0, 1)', () => {
  const value = createRandom().next()
  expect(value >= 0 && value < 1).toBe(true)
})
