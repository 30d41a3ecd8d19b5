import { describe, expect, it } from 'vitest'
import { ReadAhead, type PageRun } from '../src/core/read-ahead.js'

const MAX = 64

/** Reads pages one at a time, and returns what each read asks for. */
function reads(ahead: ReadAhead, firsts: readonly number[], count = 1): (readonly PageRun[])[] {
  return firsts.map((first) => ahead.read(first, first + count))
}

/** The pages that reads of a mapping ask for, in the order in which they are asked for. */
function pagesOf(runs: readonly (readonly PageRun[])[]): number[] {
  return runs.flat().flatMap(({ first, end }) => Array.from({ length: end - first }, (_, at) => first + at))
}

function upTo(end: number, step = 1, from = 0): number[] {
  const numbers: number[] = []
  for (let at = from; step > 0 ? at < end : at > end; at += step) numbers.push(at)
  return numbers
}

describe('read-ahead', () => {
  it('read-ahead asks for each page of a sequential stream once, and always before the program reads it', () => {
    const ahead = new ReadAhead(MAX)
    const asked = new Set<number>()
    for (const page of upTo(500)) {
      // The first two reads are not a stream yet.
      if (page > 1) expect(asked.has(page)).toBe(true)
      for (const next of pagesOf([ahead.read(page, page + 1)])) {
        expect([next > page, asked.has(next)]).toEqual([true, false])
        asked.add(next)
      }
    }
    expect(Math.max(...asked)).toBeLessThan(500 + MAX)
  })

  it('read-ahead doubles its window up to the limit', () => {
    const runs = reads(new ReadAhead(16), upTo(60))
    const windows = runs.map((run, page) => (run.length === 0 ? undefined : run[0]!.end - page - 1))
    expect(windows.filter((window) => window !== undefined).slice(0, 5)).toEqual([4, 8, 16, 16, 16])
  })

  it('read-ahead asks for the next pages when half of the window is left', () => {
    const runs = reads(new ReadAhead(16), upTo(60))
    const asks = runs.flatMap((run, page) => (run.length === 0 ? [] : [page]))
    expect(asks.at(-1)! - asks.at(-2)!).toBe(8)
  })

  it('read-ahead follows reads of several pages that overlap by a page, because they are not aligned', () => {
    const runs = reads(new ReadAhead(MAX), upTo(100, 3), 4)
    const asked = pagesOf(runs)
    expect(new Set(asked).size).toBe(asked.length)
    expect(asked.slice(0, 4)).toEqual([7, 8, 9, 10])
  })

  it('read-ahead asks again for what found no room', () => {
    const ahead = new ReadAhead(MAX)
    expect(reads(ahead, [0, 1])).toEqual([[], [{ first: 2, end: 6 }]])
    // Page 2 is on its way.
    ahead.stopped(3)
    expect(reads(ahead, [2])).toEqual([[{ first: 3, end: 7 }]])
    ahead.stopped(3)
    expect(reads(ahead, [3])).toEqual([[{ first: 4, end: 8 }]])
    expect(reads(ahead, [4, 5])).toEqual([[], [{ first: 8, end: 14 }]])
  })

  it('read-ahead asks again for reads with gaps that found no room', () => {
    const ahead = new ReadAhead(MAX)
    reads(ahead, [0, 10])
    expect(pagesOf(reads(ahead, [20]))).toEqual([30, 40, 50, 60])
    ahead.stopped(50)
    expect(pagesOf(reads(ahead, [30]))).toEqual([50, 60, 70])
  })

  it('read-ahead asks again for what found no room in a stream backwards', () => {
    const ahead = new ReadAhead(MAX)
    const asked = pagesOf(reads(ahead, [100, 99, 98]))
    ahead.stopped(asked[1]!)
    expect(pagesOf(reads(ahead, [97]))).toEqual([93, 94, 95, 96])
  })

  it('read-ahead follows a stream backwards, down to the first page', () => {
    const asked = pagesOf(reads(new ReadAhead(MAX), upTo(-1, -1, 100)))
    expect([...asked].sort((a, b) => a - b)).toEqual(upTo(98))
  })

  it('read-ahead follows a stream with gaps from its third read on, and leaves the gaps out', () => {
    const runs = reads(new ReadAhead(MAX), upTo(2000, 10))
    expect(runs.slice(0, 2)).toEqual([[], []])
    expect(pagesOf(runs).every((page) => page % 10 === 0)).toBe(true)
    expect(pagesOf(runs).slice(0, 3)).toEqual([30, 40, 50])
  })

  it('read-ahead asks for nothing between random reads, nor for a repeated one', () => {
    const ahead = new ReadAhead(MAX)
    expect(pagesOf(reads(ahead, [5, 5, 90, 7, 33, 33, 12, 70, 2]))).toEqual([])
  })

  it('read-ahead counts reads within the same pages as one', () => {
    const ahead = new ReadAhead(MAX)
    reads(ahead, [1, 1, 1])
    expect(pagesOf(reads(ahead, [2, 2]))).toEqual([3, 4, 5, 6])
  })

  it('read-ahead starts anew when the stream jumps', () => {
    const ahead = new ReadAhead(MAX)
    reads(ahead, upTo(50))
    expect(pagesOf(reads(ahead, [1000]))).toEqual([])
    expect(pagesOf(reads(ahead, [1001]))).toEqual([1002, 1003, 1004, 1005])
  })

  it('read-ahead gets less when its pages go unread, down to nothing, and more again when they are read', () => {
    const ahead = new ReadAhead(MAX)
    reads(ahead, upTo(50))
    for (let page = 0; page < 8; page++) ahead.wasted()
    expect(pagesOf(reads(ahead, upTo(60, 1, 50)))).toEqual([])
    for (let page = 0; page < 32; page++) ahead.used()
    expect(pagesOf(reads(ahead, upTo(150, 1, 60))).length).toBeGreaterThan(0)
  })

  it('read-ahead tries again after a while, although nothing is left that could be read', () => {
    const ahead = new ReadAhead(MAX)
    for (let page = 0; page < 12; page++) ahead.wasted()
    expect(pagesOf(reads(ahead, upTo(300))).length).toBeGreaterThan(0)
  })

  it('read-ahead follows the advice: everything at once for a sequential reader, nothing for a random one', () => {
    const sequential = new ReadAhead(MAX)
    sequential.pattern = 'sequential'
    expect(pagesOf(reads(sequential, [0, 1]))).toEqual(upTo(2 + MAX, 1, 2))
    const random = new ReadAhead(MAX)
    random.pattern = 'random'
    expect(pagesOf(reads(random, upTo(50)))).toEqual([])
  })
})
