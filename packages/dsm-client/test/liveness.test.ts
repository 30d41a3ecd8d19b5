import { PING_INTERVAL_MS, SILENCE_LIMIT_MS } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { Liveness } from '../src/core/liveness.js'

function begun(ttlMs: number, at = 1000): Liveness {
  const liveness = new Liveness()
  liveness.begin(at, ttlMs)
  return liveness
}

describe('the liveness of a leader', () => {
  it('the liveness of a leader requires a ping after a second without a frame', () => {
    const liveness = begun(600_000)
    expect(liveness.isDue(1000 + PING_INTERVAL_MS - 1)).toBe(false)
    expect(liveness.isDue(1000 + PING_INTERVAL_MS)).toBe(true)
    liveness.asked(2000)
    expect(liveness.isDue(10_000)).toBe(false)
    liveness.heard(2100)
    expect(liveness.isDue(2100 + PING_INTERVAL_MS)).toBe(true)
  })

  it.each([10_000, 60_000, 600_000])(
    'the liveness of a leader ends after the same silence with a TTL of %d ms',
    (ttlMs) => {
      const liveness = begun(ttlMs)
      liveness.asked(2000)
      expect(liveness.isSilent(2000 + SILENCE_LIMIT_MS)).toBe(false)
      expect(liveness.isSilent(2000 + SILENCE_LIMIT_MS + 1)).toBe(true)
    }
  )

  it('the liveness of a leader ends sooner with a short TTL, because the client must find another leader within its lease', () => {
    const liveness = begun(900)
    liveness.asked(2000)
    expect(liveness.isSilent(2300)).toBe(false)
    expect(liveness.isSilent(2301)).toBe(true)
  })

  it('the liveness of a leader does not end while frames of any kind arrive', () => {
    const liveness = begun(10_000)
    for (let now = 2000; now < 60_000; now += SILENCE_LIMIT_MS) {
      liveness.asked(now)
      expect(liveness.isSilent(now + SILENCE_LIMIT_MS)).toBe(false)
      liveness.heard(now + SILENCE_LIMIT_MS)
    }
  })

  it('the liveness of a leader does not end while the client expects no frame', () => {
    expect(begun(10_000).isSilent(1_000_000)).toBe(false)
  })

  it('the liveness of a leader requires no ping during an unanswered keep-alive, because a leader without a majority would answer it', () => {
    const liveness = begun(10_000)
    liveness.asked(1500)
    expect(liveness.isDue(4000)).toBe(false)
    expect(liveness.isSilent(1500 + SILENCE_LIMIT_MS + 1)).toBe(true)
  })
})
