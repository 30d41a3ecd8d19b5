import { describe, expect, it } from 'vitest'
import { isZeros } from '../src/state/zeros.js'

describe('the detection of pages of zeros', () => {
  it.each([4096, 65_536])('a page of %i zeros is one, wherever it begins in its buffer', (length) => {
    const buffer = new Uint8Array(length + 16).fill(0xff)
    for (let at = 0; at <= 16; at++) {
      const page = buffer.subarray(at, at + length)
      page.fill(0)
      expect(isZeros(page), `at ${at}`).toBe(true)
      buffer.fill(0xff)
    }
  })

  it('a page with a single bit is no page of zeros, wherever the bit is', () => {
    const page = new Uint8Array(4096)
    for (let bit = 0; bit < page.length * 8; bit++) {
      page[bit >> 3] = 1 << (bit & 7)
      if (isZeros(page)) expect.fail(`bit ${bit} is overlooked`)
      page[bit >> 3] = 0
    }
    expect(isZeros(page)).toBe(true)
  })
})
