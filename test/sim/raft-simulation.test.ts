import { describe, expect, it } from 'vitest'
import { FLOORS } from './src/raft/floors.js'
import type { Sabotage } from './src/raft/node.js'
import type { RaftSettings } from './src/raft/settings.js'
import { minimize } from './src/minimize.js'
import { simulateRaft } from './src/raft/simulation.js'
import { expectSoundRaft } from './raft-support.js'

type Sabotaged = Parameters<Sabotage>[0]

describe('Raft on simulated machines', { timeout: 60_000 }, () => {
  it('Raft keeps all guarantees in 150 seeds of crashes, partitions, bad disks and membership changes', async () => {
    const coverage = await expectSoundRaft(1, 150)
    // Expect half of the command's floors from these few seeds.
    for (const [met, floor] of FLOORS) expect(coverage.get(met), met).toBeGreaterThan((floor * 150) / 1000 / 2)
    for (const met of ['damage found: CorruptionError', 'wiped nodes that are voters again', 'joint configurations']) {
      expect(coverage.get(met), met).toBeGreaterThan(0)
    }
  })

  it('36 a retried proposal applies once, across snapshot and failover', async () => {
    const coverage = await expectSoundRaft(1001, 20, (drawn) => ({
      ...drawn,
      application: { ...drawn.application, snapshotEntries: 5 },
      client: { ...drawn.client, patienceMs: 40 },
      weights: withWeights({ crashLeader: 3, isolateLeader: 3, outage: 3 })
    }))
    for (const met of ['commands twice in the log', 'snapshots installed', 'crashes of a leader']) {
      expect(coverage.get(met), met).toBeGreaterThan(0)
    }
  })

  it('40 a replica whose state hash differs is found and named', async () => {
    const { failure } = await simulateRaft({ seed: 3, sabotage: ({ node, index }) => node === 'n2' && index === 9 })
    expect(failure?.message).toMatch(/^applied sequences are prefixes: n\d differs from others after entry (9|\d\d+)$/)
  })

  function withWeights(some: Partial<RaftSettings['weights']>): RaftSettings['weights'] {
    return new Proxy({ ...some } as RaftSettings['weights'], { get: (target, kind) => Reflect.get(target, kind) ?? 0 })
  }
})

describe('the Raft simulator', { timeout: 60_000 }, () => {
  it('the Raft simulator behaves the same for the same seed', async () => {
    const first = await simulateRaft({ seed: 7, isHashed: true })
    const second = await simulateRaft({ seed: 7, isHashed: true })
    expect(first.events).toBeGreaterThan(500)
    expect(first.hash).toMatch(/^[0-9a-f]{16}$/)
    expect(second.hash).toBe(first.hash)
    expect([...second.coverage.counts]).toEqual([...first.coverage.counts])
    const traced = await simulateRaft({ seed: 7, isHashed: true, trace: () => {} })
    expect(traced.hash).toBe(first.hash)
    const other = await simulateRaft({ seed: 8, isHashed: true })
    expect(other.hash).not.toBe(first.hash)
  })

  it('the Raft simulator leaves out given faults without changing the others', async () => {
    const whole = await simulateRaft({ seed: 7 })
    const [first, second, ...rest] = whole.injected
    expect(first).toEqual({ number: 0, kind: 'noise' })
    const part = await simulateRaft({ seed: 7, without: new Set([first!.number, second!.number]) })
    expect(part.injected).toEqual(rest)
    const only = await simulateRaft({ seed: 7, only: new Set([second!.number]) })
    expect(only.injected).toEqual([second])
    expect(only.failure).toBeUndefined()
  })

  it('the Raft simulator finds the fewest faults that make a seed fail', async () => {
    // n2 fails after its second restart. Without faults it restarts at most once.
    const init = { seed: 12, sabotage: ({ node, life }: Sabotaged) => node === 'n2' && life === 3 }
    const { needed, all } = await minimize((selection) => simulateRaft({ ...init, ...selection }))
    expect(all).toBeGreaterThan(5)
    expect(needed.length).toBeLessThanOrEqual(4)
    expect(needed.length).toBeGreaterThan(0)
  })
})
