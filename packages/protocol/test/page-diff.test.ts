import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../src/codec.js'
import { pageWrite } from '../src/files.js'
import { diffPage, isDiffOf, patchPage, type ByteRange } from '../src/page-diff.js'

const PAGE = 512

function page(...changes: readonly (readonly [offset: number, value: number])[]): Uint8Array {
  const bytes = new Uint8Array(PAGE)
  for (const [offset, value] of changes) bytes[offset] = value
  return bytes
}

describe('the diff of two pages', () => {
  it('the diff of two pages turns the one into the other', () => {
    const change = fc.tuple(fc.nat(PAGE - 1), fc.nat(255))
    let found = 0
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), fc.array(change, { maxLength: 40 }), (first, second) => {
        const before = page(...first)
        const after = before.slice()
        for (const [offset, value] of second) after[offset] = value
        const diff = diffPage(before, after)
        if (diff === undefined) return
        found++
        expect(isDiffOf(PAGE, diff)).toBe(true)
        expect(diff.bytes.length + 4 * diff.ranges.length).toBeLessThanOrEqual(PAGE / 2)
        patchPage(before, diff)
        expect(before).toEqual(after)
      })
    )
    expect(found).toBeGreaterThan(50)
  })

  it('the diff of two pages has the changed bytes alone, and no range for bytes that are equal at its ends', () => {
    expect(diffPage(page(), page([5, 1], [6, 2]))).toEqual({
      ranges: [{ offset: 5, length: 2 }],
      bytes: Uint8Array.of(1, 2)
    })
    expect(diffPage(page(), page([0, 1], [PAGE - 1, 2]))?.ranges).toEqual([
      { offset: 0, length: 1 },
      { offset: PAGE - 1, length: 1 }
    ])
  })

  it('the diff of two pages has one range for changes that are close together', () => {
    expect(diffPage(page(), page([8, 1], [16, 2]))?.ranges).toEqual([{ offset: 8, length: 9 }])
    expect(diffPage(page(), page([8, 1], [17, 2]))?.ranges).toEqual([
      { offset: 8, length: 1 },
      { offset: 17, length: 1 }
    ])
  })

  it('the diff of equal pages has no range', () => {
    expect(diffPage(page([7, 7]), page([7, 7]))).toEqual({ ranges: [], bytes: new Uint8Array(0) })
  })

  it('the diff of two pages is refused if it would be more than half as large as a page', () => {
    expect(diffPage(page(), page().fill(1))).toBeUndefined()
    const half = page().fill(1, 0, PAGE / 2 - 4)
    expect(diffPage(page(), half)?.bytes).toHaveLength(PAGE / 2 - 4)
    half[PAGE / 2 - 4] = 1
    expect(diffPage(page(), half)).toBeUndefined()
  })

  it.each([4096, 65_536])(
    'the diff of two pages of %i bytes has as many ranges as a message may have, or is refused',
    (size) => {
      const scattered = (ranges: number): Uint8Array => {
        const bytes = new Uint8Array(size)
        for (let i = 0; i < ranges; i++) bytes[i * 15] = 1
        return bytes
      }
      const diff = diffPage(new Uint8Array(size), scattered(256))!
      expect(diff.ranges).toHaveLength(256)
      const write = { file: 1, page: 1, epoch: 1, seq: 1, ...diff }
      expect(decode(pageWrite, encode(pageWrite, write))).toEqual(write)
      expect(diffPage(new Uint8Array(size), scattered(257))).toBeUndefined()
    }
  )

  it('the diff of two pages sees a value that has the same bits as another in floating point', () => {
    // NaNs and the two zeros: a comparison of floats would take them for equal, or for different.
    const before = new Uint8Array(PAGE)
    const after = new Uint8Array(PAGE)
    new DataView(after.buffer).setFloat64(8, -0)
    expect(diffPage(before, after)?.ranges).toHaveLength(1)
    const nan = new Uint8Array(PAGE).fill(0xff)
    expect(diffPage(nan, nan.slice())?.ranges).toHaveLength(0)
  })
})

describe('a diff from elsewhere', () => {
  const WRONG: Readonly<Record<string, readonly [ranges: readonly ByteRange[], bytes: number]>> = {
    'ends beyond the page': [[{ offset: PAGE - 1, length: 2 }], 2],
    'begins beyond the page': [[{ offset: PAGE + 1, length: 0 }], 0],
    'has ranges that overlap': [
      [
        { offset: 0, length: 2 },
        { offset: 1, length: 2 }
      ],
      4
    ],
    'has ranges in another order': [
      [
        { offset: 9, length: 1 },
        { offset: 0, length: 1 }
      ],
      2
    ],
    'has too few bytes': [[{ offset: 0, length: 2 }], 1],
    'has too many bytes': [[{ offset: 0, length: 2 }], 3],
    'has the largest numbers': [[{ offset: Number.MAX_SAFE_INTEGER, length: Number.MAX_SAFE_INTEGER }], 0]
  }

  it.each(Object.entries(WRONG))('a diff from elsewhere that %s is no diff of the page', (_, [ranges, bytes]) => {
    expect(isDiffOf(PAGE, { ranges, bytes: new Uint8Array(bytes) })).toBe(false)
  })

  it('a diff from elsewhere may touch every byte, and none', () => {
    expect(isDiffOf(PAGE, { ranges: [{ offset: 0, length: PAGE }], bytes: new Uint8Array(PAGE) })).toBe(true)
    expect(isDiffOf(PAGE, { ranges: [], bytes: new Uint8Array(0) })).toBe(true)
  })
})
