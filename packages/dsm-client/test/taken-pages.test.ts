import { describe, expect, it } from 'vitest'
import { TakenPages } from '../src/core/taken-pages.js'

const FILES = new Set([1, 2])

describe('pages that others take', () => {
  it('are listed by how often, if that was more than once', () => {
    const pages = new TakenPages()
    for (const [file, page] of [
      [1, 5],
      [1, 6],
      [2, 5],
      [1, 6],
      [2, 5],
      [1, 6]
    ] as const)
      pages.add(file, page)
    expect(pages.top(8, FILES)).toEqual([
      { file: 1, page: 6, taken: 3 },
      { file: 2, page: 5, taken: 2 }
    ])
    expect(pages.top(1, FILES)).toEqual([{ file: 1, page: 6, taken: 3 }])
  })

  it('of other files do not hide those of the given files', () => {
    const pages = new TakenPages()
    for (let page = 0; page < 8; page++) for (let i = 0; i < 100; i++) pages.add(1, page)
    for (let i = 0; i < 50; i++) pages.add(2, 0)
    expect(pages.top(8, new Set([2]))).toEqual([{ file: 2, page: 0, taken: 50 }])
  })

  it('are found among many others, and no count is too high', () => {
    const pages = new TakenPages()
    const often = [7, 8]
    for (let i = 0; i < 10_000; i++) {
      pages.add(1, 1000 + ((i * 7919) % 5000))
      if (i % 10 === 0) for (const page of often) pages.add(1, page)
    }
    const [first, second, ...others] = pages.top(8, FILES)
    expect(new Set([first!.page, second!.page])).toEqual(new Set(often))
    for (const { taken } of [first!, second!]) expect(taken).toBeGreaterThan(800)
    for (const { taken } of [first!, second!]) expect(taken).toBeLessThanOrEqual(1000)
    for (const { taken } of others) expect(taken).toBeLessThanOrEqual(2)
  })
})
