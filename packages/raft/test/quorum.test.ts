import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Configuration } from '../src/core/index.js'
import { hasQuorum, quorumIndex, voteResult } from '../src/core/quorum.js'

const IDS = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

const some = fc.uniqueArray(fc.constantFrom(...IDS), { minLength: 1 })
/** A configuration, joint or not. */
const configurations = fc
  .tuple(some, fc.oneof(fc.constant<string[]>([]), some))
  .map(([voters, outgoing]): Configuration => ({ voters, outgoing, learners: [], learnersNext: [] }))

/** Counts as §6 says: more than half of the voters, and of the outgoing ones if there are any. */
function agree({ voters, outgoing }: Configuration, has: (id: string) => boolean): boolean {
  const more = (of: readonly string[]): boolean => of.filter(has).length * 2 > of.length
  return more(voters) && (outgoing.length === 0 || more(outgoing))
}

describe('quorums', () => {
  it('a quorum is a majority of the voters, and in a joint configuration also one of the outgoing voters (§6)', () => {
    const property = fc.property(configurations, fc.subarray(IDS), (configuration, ids) => {
      const has = (id: string): boolean => ids.includes(id)
      expect(hasQuorum(configuration, has)).toBe(agree(configuration, has))
    })
    fc.assert(property)
  })

  it('a quorum determines the highest index that it has reached (Figure 2, Leaders 5)', () => {
    const indexes = fc.array(fc.nat(9), { minLength: IDS.length, maxLength: IDS.length })
    const property = fc.property(configurations, indexes, (configuration, matches) => {
      const matchOf = (id: string): number => matches[IDS.indexOf(id)]!
      const reached = [...Array(10).keys()].filter((index) => agree(configuration, (id) => matchOf(id) >= index))
      expect(quorumIndex(configuration, matchOf)).toBe(Math.max(...reached))
    })
    fc.assert(property)
  })

  it('a quorum of votes wins an election, and the election is lost once no quorum can grant (§5.2, §6)', () => {
    const answers = fc.array(fc.constantFrom(true, false, undefined), { minLength: 7, maxLength: 7 })
    const property = fc.property(configurations, answers, (configuration, given) => {
      const votes = new Map(IDS.flatMap((id, i) => (given[i] === undefined ? [] : [[id, given[i]] as const])))
      const isWon = agree(configuration, (id) => votes.get(id) === true)
      const isPossible = agree(configuration, (id) => votes.get(id) !== false)
      expect(voteResult(configuration, votes)).toBe(isWon ? 'won' : isPossible ? 'pending' : 'lost')
    })
    fc.assert(property)
  })

  it('a quorum does not exist without voters, so that nothing is won, committed or read', () => {
    const nobody = { voters: [], outgoing: [], learners: ['x'], learnersNext: [] }
    expect(hasQuorum(nobody, () => true)).toBe(false)
    expect(quorumIndex(nobody, () => 9)).toBe(0)
    expect(voteResult(nobody, new Map([['x', true]]))).not.toBe('won')
  })
})
