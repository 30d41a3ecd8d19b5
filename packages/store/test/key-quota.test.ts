import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { KeyQuota, MAX_KEYS } from '../src/observability/key-quota.js'

describe('a quota of log lines for each key', () => {
  it('a key that has used up its quota has a whole one after the window, which tells how many events were too many', () => {
    const clock = new FakeClock()
    const quota = new KeyQuota(clock)
    for (let i = 0; i < 7; i++) expect(quota.count('a')).toBe(0)
    expect([quota.isUsedUp('a'), quota.isUsedUp('b')]).toEqual([true, false])
    clock.sleep(600_000)
    expect(quota.isUsedUp('a')).toBe(false)
    expect(quota.count('a')).toBe(3)
  })

  it('a quota forgets the oldest key when it has as many as it may keep', () => {
    const quota = new KeyQuota(new FakeClock())
    for (const key of ['oldest', 'next']) for (let i = 0; i < 4; i++) quota.count(key)
    for (let i = 0; i < MAX_KEYS - 1; i++) quota.count(`${i}`)
    expect([quota.isUsedUp('oldest'), quota.isUsedUp('next')]).toEqual([false, true])
  })
})
