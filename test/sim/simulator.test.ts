import { describe, expect, it } from 'vitest'
import { carelessDirectory, forgetfulDirectory, hastyDirectory, lyingDisk } from './src/sabotage.js'
import { simulate } from './src/simulation.js'
import { firstFailure } from './support.js'

const SEEDS = 12

describe('the simulator', { timeout: 60_000 }, () => {
  it('does the same again with the same seed', async () => {
    const first = await simulate({ seed: 7 })
    const second = await simulate({ seed: 7 })
    expect(first.events).toBeGreaterThan(1000)
    expect(second.traceHash).toBe(first.traceHash)
    expect(second.events).toBe(first.events)
    expect([...second.coverage.counts]).toEqual([...first.coverage.counts])
    const other = await simulate({ seed: 8 })
    expect(other.traceHash).not.toBe(first.traceHash)
  })

  it('notices a disk that acknowledges before it flushes', async () => {
    // Slow enough for a crash to come between the lie and the truth.
    const failure = await firstFailure({ disk: lyingDisk }, SEEDS, (drawn) => ({
      ...drawn,
      peer: { ...drawn.peer, diskLatencyMs: 40 }
    }))
    expect(failure?.message).toMatch(/durability|leader completeness|peer. stopped/)
  })

  it('notices an invalidation that is never sent', async () => {
    const failure = await firstFailure({ createDirectory: forgetfulDirectory }, SEEDS)
    expect(failure?.message).toMatch(/one writer or many readers|clean copies/)
  })

  it("notices an owner's bytes that are not handed over", async () => {
    const failure = await firstFailure({ createDirectory: carelessDirectory }, SEEDS)
    expect(failure?.message).toMatch(/visible means durable|clean copies|no update is lost|equal copies|linearizable/)
  })

  it('notices a new leader that forgets who holds copies', async () => {
    const failure = await firstFailure({ createDirectory: hastyDirectory }, SEEDS)
    expect(failure?.message).toMatch(/one writer or many readers|clean copies|visible means durable/)
  })
})
