import { execFile, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
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

  it('the clock of the machine reads the same in processes that start on a busy machine', async () => {
    const clock = createClock()
    const busy = Array.from({ length: 8 }, () => spawn(process.execPath, ['-e', 'while (true);']))
    onTestFinished(() => {
      for (const each of busy) each.kill('SIGKILL')
    })
    const program = fileURLToPath(new URL('children/clock.mjs', import.meta.url))
    for (let start = 0; start < 3; start++) {
      const before = clock.now()
      const { stdout } = await promisify(execFile)(process.execPath, [program])
      const [own, machine] = stdout.trim().split(' ').map(Number)
      expect(Math.abs(own! - machine!)).toBeLessThan(1)
      expect(own).toBeGreaterThan(before)
      expect(own).toBeLessThan(clock.now())
    }
  }, 30_000)

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
