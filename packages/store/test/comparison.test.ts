import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CompareSchedule } from '../src/peer/compare-schedule.js'
import { Comparison } from '../src/peer/comparison.js'

/** The verdict of the first peer at entry 5, after each of these has reported; an empty hash is an incomplete walk. */
function verdictOf(hashes: Readonly<Record<string, string>>, voters: readonly string[], self = voters[0]!) {
  const comparison = new Comparison(self)
  comparison.begin(5)
  for (const [member, hash] of Object.entries(hashes)) comparison.reported(member, { index: 5, hash })
  return comparison.judge(voters)!
}

const THREE = ['a', 'b', 'c']
const FOUR = ['a', 'b', 'c', 'd']

describe('Comparison', () => {
  it('there is no verdict before a compare entry is applied, whatever others report', () => {
    const comparison = new Comparison('a')
    comparison.reported('b', { index: 5, hash: 'x' })
    expect(comparison.judge(THREE)).toBeUndefined()
  })

  it.each([
    ['pending', { b: 'x', c: 'x' }, undefined],
    ['pending', { a: 'x', b: 'x' }, undefined],
    ['pending', { a: 'x', b: '' }, undefined],
    ['equal', { a: 'x', b: 'x', c: 'x' }, undefined],
    ['incomplete', { a: 'x', b: 'x', c: '' }, undefined],
    ['incomplete', { a: '', b: '', c: '' }, undefined],
    ['incomplete', { a: '', b: 'x', c: 'x' }, undefined],
    ['differs', { a: 'x', b: 'x', c: 'y' }, undefined],
    ['differs', { a: 'y', b: 'x', c: 'x' }, 'y'],
    ['differs', { a: 'y', b: 'x' }, undefined],
    ['differs', { a: 'y', b: 'x', c: '' }, undefined],
    ['differs', { a: 'x', b: 'y', c: 'z' }, undefined]
  ])(
    'of three voters, the outcome at the first is %s after the reports %o, and its wrong hash is %s',
    (outcome, hashes, wrong) => {
      expect(verdictOf(hashes, THREE)).toMatchObject({ outcome, wrong })
    }
  )

  it('two against two of four voters agree on nothing, so no peer is wrong', () => {
    const verdict = verdictOf({ a: 'x', b: 'x', c: 'y', d: 'y' }, FOUR)
    expect(verdict).toMatchObject({ outcome: 'differs', agreed: undefined, wrong: undefined, isComplete: true })
    expect([...verdict.hashes]).toEqual([
      ['a', 'x'],
      ['b', 'x'],
      ['c', 'y'],
      ['d', 'y']
    ])
  })

  it('a learner is wrong if a majority of the voters has another hash, and does not count in that majority', () => {
    expect(verdictOf({ l: 'y', a: 'x', b: 'x' }, THREE, 'l')).toMatchObject({ outcome: 'differs', wrong: 'y' })
    expect(verdictOf({ l: 'x', a: 'x', b: 'y' }, THREE, 'l')).toMatchObject({ agreed: undefined, wrong: undefined })
    expect(verdictOf({ l: 'x', a: 'x', b: 'x', c: 'x' }, THREE, 'l')).toMatchObject({
      outcome: 'equal',
      wrong: undefined
    })
    expect(verdictOf({ a: 'x', b: 'x', c: 'x' }, THREE, 'l')).toMatchObject({ outcome: 'pending', wrong: undefined })
  })

  it('reports of peers that do not vote count for nothing', () => {
    expect(verdictOf({ a: 'x', b: 'x', c: 'x', d: 'y', e: 'y', f: 'y', g: 'y' }, THREE)).toMatchObject({
      outcome: 'equal'
    })
  })

  it('a report for an earlier entry than the newest here is dropped, and one for a later entry waits', () => {
    const comparison = new Comparison('a')
    comparison.begin(5)
    comparison.reported('a', { index: 5, hash: 'x' })
    comparison.reported('b', { index: 4, hash: 'x' })
    comparison.reported('c', { index: 9, hash: 'z' })
    expect(comparison.judge(THREE)).toMatchObject({ index: 5, outcome: 'pending', hashes: new Map([['a', 'x']]) })
    comparison.begin(9)
    comparison.reported('b', { index: 9, hash: 'z' })
    comparison.reported('a', { index: 5, hash: 'x' })
    expect(comparison.judge(THREE)).toMatchObject({ index: 9, outcome: 'pending' })
    comparison.reported('a', { index: 9, hash: 'z' })
    expect(comparison.judge(THREE)).toMatchObject({ index: 9, outcome: 'equal' })
  })

  it('a member that repeats an older report does not undo its newer one', () => {
    const comparison = new Comparison('a')
    comparison.begin(5)
    comparison.reported('b', { index: 9, hash: 'z' })
    comparison.reported('b', { index: 5, hash: 'x' })
    comparison.begin(9)
    expect(comparison.judge(THREE)!.hashes).toEqual(new Map([['b', 'z']]))
  })

  it('whatever the voters report, those that find themselves wrong are a minority, and all see the same majority', () => {
    const reports = fc.array(fc.constantFrom('x', 'y', 'z', '', undefined), { minLength: 1, maxLength: 7 })
    fc.assert(
      fc.property(reports, (hashes) => {
        const voters = hashes.map((_, i) => `${i}`)
        const known = Object.fromEntries(
          voters.flatMap((voter, i) => (hashes[i] === undefined ? [] : [[voter, hashes[i]]]))
        )
        const verdicts = voters.map((voter) => verdictOf(known, voters, voter))
        expect(new Set(verdicts.map(({ agreed }) => agreed)).size).toBe(1)
        const wrong = verdicts.filter((verdict) => verdict.wrong !== undefined)
        expect(2 * wrong.length).toBeLessThan(voters.length)
        for (const { outcome } of wrong) expect(outcome).toBe('differs')
      })
    )
  })
})

describe('CompareSchedule', () => {
  it('a comparison is due one interval after the start, and one interval after each comparison', () => {
    const schedule = new CompareSchedule(1_000, 500)
    expect([schedule.isDue(1_499), schedule.isDue(1_500), schedule.isDue(9_000)]).toEqual([false, true, true])
    schedule.compared(1_600)
    expect([schedule.isDue(2_599), schedule.isDue(2_600)]).toEqual([false, true])
  })
})
