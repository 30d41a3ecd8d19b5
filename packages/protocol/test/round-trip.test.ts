import { describe, expect, it } from 'vitest'
import {
  DEFAULT_ROUND_TRIP_MS,
  FAR_CLIENT_ROUND_TRIP_MS,
  MAX_ROUND_TRIP_MS,
  MIN_ROUND_TRIP_MS,
  sessionTtlAt,
  timingOf
} from '../src/index.js'

const LAWFUL = [MIN_ROUND_TRIP_MS, DEFAULT_ROUND_TRIP_MS, 400, FAR_CLIENT_ROUND_TRIP_MS, MAX_ROUND_TRIP_MS]

describe('timingOf', () => {
  it('timingOf starts an election after 320 ms of silence with the default round trip', () => {
    expect(timingOf(DEFAULT_ROUND_TRIP_MS)).toMatchObject({ tickMs: 20, electionTicks: 16, heartbeatTicks: 4 })
  })

  it.each(LAWFUL)(
    'timingOf allows ten round trips before an election and more than two between heartbeats: %d ms',
    (roundTripMs) => {
      const { tickMs, electionTicks, heartbeatTicks, electionMs, stepMs, minSessionTtlMs } = timingOf(roundTripMs)
      expect(electionTicks * tickMs).toBeCloseTo(10 * roundTripMs)
      expect(electionMs).toBeCloseTo(10 * roundTripMs)
      expect(heartbeatTicks * tickMs).toBeGreaterThan(2 * roundTripMs)
      // A follower may miss several heartbeats before it starts an election.
      expect(electionTicks).toBeGreaterThanOrEqual(4 * heartbeatTicks)
      // A register takes a round trip of the client and two between the peers.
      expect(stepMs).toBeGreaterThan(Math.max(FAR_CLIENT_ROUND_TRIP_MS, roundTripMs) + 2 * roundTripMs)
      // A keep-alive takes a round trip of the client and two between the peers, and is overdue after a third. The rest
      // is for a new connection.
      expect(minSessionTtlMs / 3).toBeGreaterThan(3 * roundTripMs)
      expect((2 / 3) * minSessionTtlMs).toBeGreaterThan(10 * roundTripMs)
    }
  )

  it.each([0, 9, 1001, 32.5, -32, Number.NaN, Infinity])(
    'timingOf throws an error that names roundTripMs for %d ms',
    (roundTripMs) => {
      expect(() => timingOf(roundTripMs)).toThrow(
        expect.objectContaining({ name: 'InvalidArgumentError', argument: 'roundTripMs', value: roundTripMs }) as Error
      )
    }
  )
})

describe('sessionTtlAt', () => {
  it('sessionTtlAt keeps a time to live within which keep-alives can be answered', () => {
    expect(sessionTtlAt(600, 32, 2656)).toBe(2656)
    expect(sessionTtlAt(1, 32, 500)).toBe(500)
  })

  it('sessionTtlAt raises a shorter time to live to sixteen round trips, each counted up to the longest permitted one', () => {
    expect(sessionTtlAt(600, 32, 2655)).toBe(9600)
    expect(sessionTtlAt(5, 400, 500)).toBe(6400)
    expect(sessionTtlAt(60_000, 32, 500)).toBe(16_000)
    expect(sessionTtlAt(60_000, 32, 20_000)).toBe(20_000)
  })
})
