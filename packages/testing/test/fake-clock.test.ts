import { describe, expect, it } from 'vitest'
import { FakeClock } from '../src/index.js'

describe('a fake clock', () => {
  it('a fake clock fires timers at their times, and timers of one time in the order of their creation', async () => {
    const clock = new FakeClock(1000)
    const fired: [string, number][] = []
    for (const [name, ms] of [
      ['late', 20],
      ['first', 10],
      ['second', 10]
    ] as const) {
      clock.schedule(ms, () => fired.push([name, clock.now()]))
    }
    await clock.advance(30)
    expect(fired).toEqual([
      ['first', 1010],
      ['second', 1010],
      ['late', 1020]
    ])
    expect(clock.now()).toBe(1030)
  })

  it('a fake clock lets all promises settle between two timers', async () => {
    const clock = new FakeClock()
    const order: string[] = []
    clock.schedule(10, () => void Promise.resolve().then(() => order.push('a promise of the first')))
    clock.schedule(10, () => order.push('the second'))
    await clock.advance(10)
    expect(order).toEqual(['a promise of the first', 'the second'])
  })

  it('a fake clock runs nothing while it sleeps, and then everything that is due', async () => {
    const clock = new FakeClock()
    let isDone = false
    clock.schedule(10, () => (isDone = true))
    clock.sleep(50)
    expect(isDone).toBe(false)
    await clock.advance(0)
    expect(isDone).toBe(true)
    expect(clock.now()).toBe(50)
  })

  it('a fake clock cancels a timer', async () => {
    const clock = new FakeClock()
    const cancel = clock.schedule(10, () => expect.unreachable())
    expect(clock.pending).toBe(1)
    cancel()
    expect(clock.pending).toBe(0)
    await clock.advance(20)
  })

  it('a fake clock stops as soon as a condition holds, and says so', async () => {
    const clock = new FakeClock()
    let ticks = 0
    for (let i = 1; i <= 5; i++) clock.schedule(10 * i, () => ticks++)
    expect(await clock.until(() => ticks === 3, 100)).toBe(true)
    expect(clock.now()).toBe(30)
    expect(await clock.until(() => ticks === 9, 100)).toBe(false)
    expect(clock.now()).toBe(130)
  })
})
