import { describe, expect, it } from 'vitest'
import { createLeases } from '../src/server/leases.js'

const TICK = 100
const session = (id: number, ttlMs = 1000) => ({ id, ttlMs })

/** Ticks regularly up to `toMs`. Returns the sessions that expired, with the times of their expiry. */
function run(leases: ReturnType<typeof createLeases>, fromMs: number, toMs: number): [number, number][] {
  const out: [number, number][] = []
  for (let now = fromMs + TICK; now <= toMs; now += TICK) for (const id of leases.tick(now)) out.push([id, now])
  return out
}

describe('leases', () => {
  it('a session expires one TTL after its last acknowledged keep-alive', () => {
    const leases = createLeases({ tickMs: TICK, nowMs: 0, sessions: [] })
    leases.opened(session(7), 0)
    expect(run(leases, 0, 600)).toEqual([])
    expect(leases.renewed(7, 600)).toBe(true)
    expect(run(leases, 600, 1500)).toEqual([])
    expect(run(leases, 1500, 2000)).toEqual([[7, 1600]])
  })

  it('every session has a full TTL from an election on', () => {
    const leases = createLeases({ tickMs: TICK, nowMs: 5000, sessions: [session(1), session(2, 2000)] })
    expect(run(leases, 5000, 5900)).toEqual([])
    expect(run(leases, 5900, 8000)).toEqual([
      [1, 6000],
      [2, 7000]
    ])
  })

  it('the renewal of a lease is rejected once the expiry of its session is proposed', () => {
    const leases = createLeases({ tickMs: TICK, nowMs: 0, sessions: [session(1)] })
    expect(run(leases, 0, 1000)).toEqual([[1, 1000]])
    expect(leases.expiring(1)).toBe(true)
    expect(leases.renewed(1, 1001)).toBe(false)
    expect(run(leases, 1000, 5000)).toEqual([])
    leases.ended(1)
    expect(leases.size).toBe(0)
  })

  it('no session expires on the first tick after a stall', () => {
    const leases = createLeases({ tickMs: TICK, nowMs: 0, sessions: [session(1), session(2)] })
    expect(leases.tick(100)).toEqual([])
    // The process was stopped for ten seconds, and the keep-alive of session 1 waits in the inbox.
    expect(leases.tick(10_100)).toEqual([])
    expect(leases.renewed(1, 10_101)).toBe(true)
    expect(leases.tick(10_200)).toEqual([2])
  })

  it('a renewal never moves the deadline of a lease back', () => {
    const leases = createLeases({ tickMs: TICK, nowMs: 0, sessions: [session(1)] })
    leases.renewed(1, 500)
    leases.renewed(1, 200)
    expect(run(leases, 0, 2000)).toEqual([[1, 1500]])
  })
})
