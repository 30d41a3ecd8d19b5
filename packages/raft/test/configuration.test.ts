import { MAX_MEMBERS } from '@quire/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyChanges, ConfigurationHistory, isJoint, isVoter, leaveJoint, members } from '../src/core/configuration.js'
import type { Configuration, MembershipChange } from '../src/core/index.js'
import { hasQuorum } from '../src/core/quorum.js'
import { configurationEntry } from './support/hand-storage.js'

const IDS = ['a', 'b', 'c', 'd', 'e']

function configuration(voters: readonly string[], learners: readonly string[] = []): Configuration {
  return { voters: [...voters], learners: [...learners], outgoing: [], learnersNext: [] }
}

const change = (type: MembershipChange['type'], id: string): MembershipChange => ({ type, id })

/** All subsets of the ids, by the bits of a number. */
const SETS = Array.from({ length: 1 << IDS.length }, (_, bits) => IDS.filter((_id, i) => bits & (1 << i)))

/** Whether every quorum of one configuration shares a node with every quorum of the other. */
function overlap(one: Configuration, other: Configuration): boolean {
  const isQuorum = (of: Configuration, set: readonly string[]): boolean => hasQuorum(of, (id) => set.includes(id))
  // Only disjoint pairs could contradict. Among those the largest second set holds all other nodes.
  return SETS.every(
    (set) =>
      !isQuorum(one, set) ||
      !isQuorum(
        other,
        IDS.filter((id) => !set.includes(id))
      )
  )
}

const starts = fc
  .tuple(fc.uniqueArray(fc.constantFrom(...IDS), { minLength: 1 }), fc.subarray(IDS))
  .map(([voters, others]) =>
    configuration(
      voters,
      others.filter((id) => !voters.includes(id))
    )
  )
const changes = fc.uniqueArray(
  fc.record({ type: fc.constantFrom('voter', 'learner', 'removed'), id: fc.constantFrom(...IDS) }),
  { minLength: 1, selector: ({ id }) => id }
)

describe('changes of the configuration', () => {
  it('a change of the configuration passes only through configurations whose quorums overlap, one step at a time (§6, thesis §4.2.1)', () => {
    const property = fc.property(starts, changes, (before, wanted) => {
      const next = applyChanges(before, wanted)
      if (typeof next === 'string') return
      expect(overlap(before, next)).toBe(true)
      if (isJoint(next)) expect(overlap(next, leaveJoint(next))).toBe(true)
    })
    fc.assert(property, { numRuns: 300 })
  })

  it('a change of the configuration leads to the requested members, and leaves the others as they are', () => {
    const property = fc.property(starts, changes, (before, wanted) => {
      const next = applyChanges(before, wanted)
      if (typeof next === 'string') return
      const after = isJoint(next) ? leaveJoint(next) : next
      for (const id of IDS) {
        const asked = wanted.find((each) => each.id === id)?.type
        const was = before.voters.includes(id) ? 'voter' : before.learners.includes(id) ? 'learner' : 'removed'
        const is = after.voters.includes(id) ? 'voter' : after.learners.includes(id) ? 'learner' : 'removed'
        expect([id, is]).toEqual([id, asked ?? was])
      }
      expect(after.voters.filter((id) => after.learners.includes(id))).toEqual([])
    })
    fc.assert(property)
  })

  it('one step could not change two voters, because the quorums need not overlap (thesis §4.1, Figure 4.3)', () => {
    expect(overlap(configuration(['a', 'b', 'c']), configuration(['a', 'b', 'c', 'd', 'e']))).toBe(false)
    expect(overlap(configuration(['a', 'b', 'c']), configuration(['a', 'b', 'c', 'd']))).toBe(true)
  })

  it('a change of the configuration takes one step if at most one voter is added or removed, with any number of learners (thesis §4.2.1)', () => {
    const before = configuration(['a', 'b', 'c'], ['d'])
    const steps = [
      [change('voter', 'd')],
      [change('removed', 'a')],
      [change('learner', 'a')],
      [change('learner', 'e'), change('removed', 'd'), change('voter', 'f')]
    ]
    for (const each of steps) expect(applyChanges(before, each)).toMatchObject({ outgoing: [] })
    expect(applyChanges(before, [change('voter', 'd'), change('removed', 'a')])).toEqual({
      voters: ['b', 'c', 'd'],
      learners: [],
      outgoing: ['a', 'b', 'c'],
      learnersNext: []
    })
  })

  it('an outgoing voter keeps its vote until it becomes a learner (§6)', () => {
    const joint = applyChanges(configuration(['a', 'b', 'c']), [change('learner', 'a'), change('voter', 'd')])
    if (typeof joint === 'string') throw new Error(joint)
    expect(joint).toMatchObject({ voters: ['b', 'c', 'd'], learners: [], learnersNext: ['a'] })
    expect(isVoter(joint, 'a')).toBe(true)
    expect(members(joint)).toEqual(new Set(['a', 'b', 'c', 'd']))
    expect(leaveJoint(joint)).toMatchObject({ voters: ['b', 'c', 'd'], learners: ['a'], learnersNext: [] })
  })

  it('a change of the configuration is rejected with a reason if it is invalid', () => {
    const before = configuration(['a'], ['b'])
    expect(applyChanges(before, [])).toMatch(/changes nothing/)
    expect(applyChanges(before, [change('voter', 'a'), change('learner', 'b'), change('removed', 'z')])).toMatch(
      /changes nothing/
    )
    expect(applyChanges(before, [change('removed', 'a')])).toMatch(/no voter would be left/)
    expect(applyChanges(before, [change('voter', 'c'), change('removed', 'c')])).toMatch(/c is named twice/)
    const many = Array.from({ length: MAX_MEMBERS }, (_, i) => change('learner', `n${i}`))
    expect(applyChanges(before, many)).toMatch(/more than/)
  })
})

describe('the configurations of a log', () => {
  const entry = (index: number, voters: readonly string[]) => configurationEntry(index, 1, { voters })

  function history(): ConfigurationHistory {
    const known = new ConfigurationHistory()
    for (const [i, index] of [1, 5, 9].entries()) known.append(entry(index, IDS.slice(0, i + 1)))
    return known
  }

  it('a log has no members before its first configuration', () => {
    const known = new ConfigurationHistory()
    expect(known.current.voters).toEqual([])
    expect(known.index).toBe(0)
    expect(() => known.entryAt(1)).toThrow(/no configuration/)
  })

  it('a configuration that is truncated from the log gives way to the one before (§6)', () => {
    const known = history()
    expect(known.current.voters).toEqual(['a', 'b', 'c'])
    known.truncate(10)
    expect(known.index).toBe(9)
    known.truncate(5)
    expect(known).toMatchObject({ index: 1, current: { voters: ['a'] } })
  })

  it('a configuration is in force from its index on (§7)', () => {
    const known = history()
    expect([1, 4, 5, 8, 9, 99].map((index) => known.entryAt(index).index)).toEqual([1, 1, 5, 5, 9, 9])
    expect(known.since(6).map(({ voters }) => voters.length)).toEqual([2, 3])
    expect(known.since(9).map(({ voters }) => voters.length)).toEqual([3])
  })

  it('a compacted log forgets the configurations before the one that is in force there', () => {
    const known = history()
    known.compact(8)
    expect(known.entryAt(8).index).toBe(5)
    expect(() => known.entryAt(4)).toThrow(/no configuration/)
    known.compact(0)
    expect(known.index).toBe(9)
  })

  it('the configurations of a log start anew with a snapshot', () => {
    const known = history()
    known.reset(entry(7, ['d']))
    expect(known).toMatchObject({ index: 7, current: { voters: ['d'] } })
    expect(() => known.append(entry(7, ['e']))).toThrow(/after the one at 7/)
  })
})
