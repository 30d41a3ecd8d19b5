import type { RaftStatus } from '@quire/raft'
import { beforeEach, describe, expect, it } from 'vitest'
import { LeaderTenure } from './src/raft/leader-tenure.js'
import type { RaftSettings } from './src/raft/settings.js'
import type { Scheduler } from './src/scheduler.js'

const TICK_MS = 40
const ELECTION_TICKS = 5
const SETTINGS = { tickMs: TICK_MS, slowestTicks: 1, electionTicks: ELECTION_TICKS, skew: 0 } as RaftSettings
const LEADER = { id: 'n1', term: 2, voters: ['n1', 'n2', 'n3'], outgoing: [] as string[] } as unknown as RaftStatus

describe('a leader that hears from no majority (thesis §6.2)', () => {
  let now = 0
  let tenure: LeaderTenure

  beforeEach(() => {
    now = 0
    tenure = new LeaderTenure(
      {
        get now() {
          return now
        }
      } as Scheduler,
      SETTINGS
    )
    tenure.check(LEADER)
  })

  function pass(ms: number, stepMs: number): void {
    for (const end = now + ms; now < end;) {
      now += stepMs
      tenure.check(LEADER)
    }
  }

  it('a leader that hears from no majority must have stepped down after two and a half election timeouts (thesis §6.2)', () => {
    pass(2 * ELECTION_TICKS * TICK_MS, TICK_MS)
    expect(() => pass(ELECTION_TICKS * TICK_MS, TICK_MS)).toThrow(/^a leader without a majority steps down/)
  })

  it('a leader that hears from no majority may lead longer if it is stalled, because a stall fires its timer once (raft seed 2026610685)', () => {
    expect(() => pass(5 * ELECTION_TICKS * TICK_MS, 2.9 * TICK_MS)).not.toThrow()
  })

  it('a leader may lead as long as a majority answers', () => {
    for (let i = 0; i < 5 * ELECTION_TICKS; i++) {
      tenure.delivered('n1', 'n2')
      pass(TICK_MS, TICK_MS)
    }
  })
})
