import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { QuorumRounds } from '../src/server/quorum-rounds.js'

function setUp() {
  const rounds: { resolve: (index: number) => void; reject: (error: Error) => void }[] = []
  const quorum = new QuorumRounds({
    readIndex: () => new Promise((resolve, reject) => rounds.push({ resolve, reject }))
  })
  return { rounds, quorum }
}

describe('quorum rounds', () => {
  it('a quorum round confirms, together and in order, only the waiters that asked before the round began', async () => {
    const { rounds, quorum } = setUp()
    const heard: string[] = []
    const [a, b] = [{}, {}]
    quorum.confirm(a, (confirmed) => heard.push(`a1 ${confirmed}`))
    quorum.confirm(b, (confirmed) => heard.push(`b1 ${confirmed}`))
    quorum.confirm(b, (confirmed) => heard.push(`b2 ${confirmed}`))
    expect(rounds).toHaveLength(1)
    rounds[0]!.resolve(1)
    await settle()
    expect(heard).toEqual(['a1 true'])
    expect(rounds).toHaveLength(2)
    rounds[1]!.reject(new Error('deposed'))
    await settle()
    expect(heard).toEqual(['a1 true', 'b1 false', 'b2 false'])
    expect([rounds.length, quorum.size]).toEqual([2, 0])
  })

  it('quorum rounds hold no waiter of an owner that has gone while no majority answers', async () => {
    const { rounds, quorum } = setUp()
    for (let i = 0; i < 1000; i++) {
      const owner = {}
      quorum.confirm(owner, () => expect.unreachable())
      quorum.forget(owner)
    }
    expect([rounds.length, quorum.size]).toEqual([1, 0])
    let confirmed = 0
    quorum.confirm({}, () => confirmed++)
    rounds[0]!.resolve(1)
    await settle()
    rounds[1]!.resolve(1)
    await settle()
    expect(confirmed).toBe(1)
  })

  it('quorum rounds call no waiter after they were stopped', async () => {
    const { rounds, quorum } = setUp()
    quorum.confirm({}, () => expect.unreachable())
    quorum.confirm({}, () => expect.unreachable())
    quorum.stop()
    rounds[0]!.resolve(1)
    await settle()
    expect([rounds.length, quorum.size]).toEqual([1, 0])
  })
})
