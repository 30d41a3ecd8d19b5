import { createRandomSource } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { FAULTS, OWN_FAULTS } from './src/faults/index.js'
import { schedule } from './src/schedule.js'

const ALL = [...FAULTS, ...OWN_FAULTS]

describe('the schedule of a run', () => {
  const counted = (minutes: number, seed: number): Map<string, number> => {
    const counts = new Map<string, number>()
    for (const { processes, lines } of schedule(ALL, minutes, createRandomSource(seed)))
      for (const { name } of [...processes, ...lines]) counts.set(name, (counts.get(name) ?? 0) + 1)
    return counts
  }

  it('a schedule of 20 minutes has 20 kills of leaders, 5 changes of members, 2 rolling restarts and 3 forced snapshots', () => {
    for (let seed = 0; seed < 50; seed++) {
      const counts = counted(20, seed)
      expect(counts.get('leader killed')).toBeGreaterThanOrEqual(20)
      const changes = ['members changed', 'voter replaced', 'disk lost'].map((name) => counts.get(name) ?? 0)
      expect(changes.reduce((sum, count) => sum + count)).toBeGreaterThanOrEqual(5)
      expect(counts.get('rolling restart')).toBeGreaterThanOrEqual(2)
      expect(counts.get('snapshot forced')).toBeGreaterThanOrEqual(3)
      expect(counts.size).toBe(ALL.length)
    }
  })

  it('a schedule depends on the seed alone, and other seeds give other schedules', () => {
    const names = (seed: number): string =>
      JSON.stringify(
        schedule(ALL, 5, createRandomSource(seed)).map(({ processes }) => processes.map((each) => each.name))
      )
    expect(names(7)).toBe(names(7))
    expect(new Set([1, 2, 3, 4].map((seed) => names(seed))).size).toBe(4)
  })

  it('a schedule has at least one round, and puts faults of each lane in their own lane', () => {
    for (const minutes of [0.1, 1, 20]) {
      const rounds = schedule(ALL, minutes, createRandomSource(1))
      expect(rounds).toHaveLength(Math.max(1, minutes / 1.25))
      for (const round of rounds) {
        expect(round.processes.every(({ lane }) => lane === 'processes')).toBe(true)
        expect(round.lines.every(({ lane }) => lane === 'lines')).toBe(true)
      }
    }
  })
})
