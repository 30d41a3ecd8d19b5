import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RangeSet } from '../src/pages/range-set.js'

describe('RangeSet', () => {
  it('a RangeSet holds the same numbers as a set of single numbers, in the fewest possible ranges', () => {
    const ranges = fc.array(fc.tuple(fc.nat(40), fc.nat(8)), { maxLength: 20 })
    fc.assert(
      fc.property(ranges, (list) => {
        const set = new RangeSet()
        const plain = new Set<number>()
        for (const [first, length] of list) {
          set.add(first, first + length)
          for (let value = first; value < first + length; value++) plain.add(value)
        }
        for (let value = 0; value < 60; value++) expect(set.has(value)).toBe(plain.has(value))
        const starts = [...plain].filter((value) => !plain.has(value - 1)).sort((a, b) => a - b)
        expect([...set].map(({ first }) => first)).toEqual(starts)
        expect(set.size).toBe(starts.length)
      })
    )
  })
})
