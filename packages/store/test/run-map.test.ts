import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RunMap, type Run } from '../src/state/run-map.js'

const newMap = (): RunMap<string> => new RunMap<string>((a, b) => a === b)
const ignore = (): void => {}

describe('a map of runs', () => {
  it('joins neighbors with equal values, and splits a run that is changed in the middle', () => {
    const map = newMap()
    map.set(0, 4, 'a', ignore)
    map.set(4, 8, 'a', ignore)
    map.set(8, 9, 'b', ignore)
    expect([...map.runs()]).toEqual([run(0, 8, 'a'), run(8, 9, 'b')])
    map.set(2, 3, undefined, ignore)
    expect([...map.runs()]).toEqual([run(0, 2, 'a'), run(3, 8, 'a'), run(8, 9, 'b')])
    map.set(2, 3, 'a', ignore)
    expect([...map.runs()]).toEqual([run(0, 8, 'a'), run(8, 9, 'b')])
    expect(map.get(7)).toBe('a')
    expect(map.get(9)).toBeUndefined()
  })

  it('an empty range changes nothing', () => {
    const map = newMap()
    map.set(3, 3, 'a', () => expect.unreachable())
    expect(map.size).toBe(0)
  })

  it('has the same content as a plain map, in the fewest runs, and reports each run that comes and goes', () => {
    const change = fc.tuple(fc.nat(900), fc.oneof(fc.nat(2), fc.nat(40)), fc.constantFrom('a', 'b', 'c', undefined))
    // Many changes, so that blocks split and disappear.
    fc.assert(
      fc.property(fc.array(change, { maxLength: 1500, size: 'max' }), (changes) => {
        const map = newMap()
        const plain = new Map<number, string>()
        const reported = new Map<number, Run<string>>()
        for (const [first, length, value] of changes) {
          map.set(first, first + length, value, (gone, came) => {
            if (gone !== undefined) {
              expect(reported.get(gone.first)).toEqual(gone)
              reported.delete(gone.first)
            }
            if (came !== undefined) reported.set(came.first, came)
          })
          for (let at = first; at < first + length; at++) {
            if (value === undefined) plain.delete(at)
            else plain.set(at, value)
          }
        }
        const expected = runsOf(plain)
        expect([...map.runs()]).toEqual(expected)
        expect(map.withValue((value) => value === 'a')).toEqual(expected.filter(({ value }) => value === 'a'))
        expect(map.size).toBe(expected.length)
        expect([...reported.values()].sort((a, b) => a.first - b.first)).toEqual(expected)
        for (let at = 0; at < 950; at += 7) expect(map.get(at)).toBe(plain.get(at))
        const part = new Map([...plain].filter(([at]) => at >= 100 && at < 500))
        expect([...map.within(100, 500)]).toEqual(runsOf(part))
      }),
      { numRuns: 60 }
    )
  })

  it('keeps many runs in order', () => {
    const map = newMap()
    const numbers = Array.from({ length: 2000 }, (_, i) => (i * 7919) % 2000)
    for (const at of numbers) map.set(2 * at, 2 * at + 1, 'a', ignore)
    expect([...map.runs()].map(({ first }) => first)).toEqual(Array.from({ length: 2000 }, (_, i) => 2 * i))
    map.set(1, 3999, undefined, ignore)
    expect([...map.runs()]).toEqual([run(0, 1, 'a')])
  })
})

function run(first: number, end: number, value: string): Run<string> {
  return { first, end, value }
}

function runsOf(plain: ReadonlyMap<number, string>): Run<string>[] {
  const runs: Run<string>[] = []
  for (const [at, value] of [...plain].sort(([a], [b]) => a - b)) {
    const last = runs.at(-1)
    if (last !== undefined && last.end === at && last.value === value) runs[runs.length - 1] = { ...last, end: at + 1 }
    else runs.push(run(at, at + 1, value))
  }
  return runs
}
