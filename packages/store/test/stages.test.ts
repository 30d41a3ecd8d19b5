import { describe, expect, it } from 'vitest'
import { STAGES, createStages, stagePercentile } from '../src/observability/stages.js'

function recorded(...durationsMs: number[]) {
  const stages = createStages({ now: () => 0 })
  for (const ms of durationsMs) stages.record('log.flush', ms)
  return stages.report().find(({ name }) => name === 'log.flush')!.buckets
}

describe('stage histograms', () => {
  it.each([1, 2, 17, 166, 4_000, 1_000_000])('a stage histogram gives %i µs back to within 9 %%', (us) => {
    const buckets = recorded(us / 1000, us / 1000, us / 1000)
    for (const percent of [1, 50, 99, 100]) {
      expect(Math.abs(Math.log(stagePercentile(buckets, percent) / us))).toBeLessThan(Math.log(1.09))
    }
  })

  it('stage histograms keep percentiles in order', () => {
    const buckets = recorded(...Array.from({ length: 100 }, (_, i) => i + 1))
    expect(stagePercentile(buckets, 50) / 50_000).toBeCloseTo(1, 0)
    expect(stagePercentile(buckets, 99)).toBeGreaterThan(90_000)
    expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(100)
  })

  it('a stage histogram puts durations that are too short or too long into the first and the last bucket', () => {
    expect(recorded(0, 1e-9, 0.001, 1e300)).toEqual([
      { index: 0, count: 3 },
      { index: 255, count: 1 }
    ])
    expect(stagePercentile([], 50)).toBe(0)
  })

  it('a stage histogram times work up to the end of its promise, and counts no failure', async () => {
    let now = 0
    const stages = createStages({ now: () => now })
    let finish = (): void => {}
    const work = stages.time('entries.apply', () => new Promise<void>((resolve) => (finish = resolve)))
    now = 8
    finish()
    await work
    await expect(stages.time('log.flush', () => Promise.reject(new Error('disk')))).rejects.toThrow('disk')
    const report = new Map(stages.report().map(({ name, buckets }) => [name, buckets]))
    expect([...report.keys()]).toEqual([...STAGES])
    expect(stagePercentile(report.get('entries.apply')!, 50) / 8000).toBeCloseTo(1, 0)
    expect(report.get('log.flush')).toEqual([])
  })
})
