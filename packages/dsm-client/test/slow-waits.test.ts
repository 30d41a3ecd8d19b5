import type { LeaderMessage } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { SlowWaits } from '../src/session/slow-waits.js'

const GRANT = { type: 'grant', pages: [{}] } as LeaderMessage

function waiting(waits: SlowWaits, ahead: number) {
  const facts = { moved: 0, resolve: () => {}, withdraw: () => {} }
  const slow = waits.begin<void>((resolve) => {
    facts.resolve = resolve
    return () => {}
  }, ahead)
  facts.withdraw = slow.start(
    () => {},
    () => {},
    () => facts.moved++
  )
  return { facts, watch: () => slow.watch() }
}

describe('a slow wait', () => {
  it('a slow wait makes progress with each answer to an earlier request, and with no other', () => {
    const waits = new SlowWaits()
    const { facts, watch } = waiting(waits, 2)
    watch()
    for (let i = 0; i < 5; i++) waits.served(GRANT)
    expect(facts.moved).toBe(2)
  })

  it('a slow wait does not count answers from the first half of its time again', () => {
    const waits = new SlowWaits()
    const { facts, watch } = waiting(waits, 2)
    waits.served(GRANT)
    waits.served(GRANT)
    watch()
    waits.served(GRANT)
    expect(facts.moved).toBe(0)
  })

  it('a slow wait makes no progress by keep-alives, demotions and receipts', () => {
    const waits = new SlowWaits()
    const { facts, watch } = waiting(waits, 2)
    watch()
    for (const type of ['keepAliveAck', 'pong', 'bulkReceived', 'revoke'] as const)
      waits.served({ type } as LeaderMessage)
    expect(facts.moved).toBe(0)
  })

  it('a slow wait is forgotten when it ends', () => {
    const waits = new SlowWaits()
    const [ended, withdrawn] = [waiting(waits, 9), waiting(waits, 9)]
    ended.watch()
    withdrawn.watch()
    ended.facts.resolve()
    withdrawn.facts.withdraw()
    waits.served(GRANT)
    expect([ended.facts.moved, withdrawn.facts.moved]).toEqual([0, 0])
  })
})
