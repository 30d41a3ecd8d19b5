/** The judges of the workloads notice what they are there for. */
import { describe, expect, it } from 'vitest'
import { bank } from './src/workloads/bank.js'
import { counters } from './src/workloads/counters.js'
import { FsxModel } from './src/workloads/fsx-model.js'
import { judgeNames, names } from './src/workloads/names.js'
import { factsOfQueue, judgeQueue } from './src/workloads/queue.js'

describe('the judge of the counters', () => {
  const facts = [
    { flushed: [3, 0, 0, 0], tried: [5, 0, 0, 0] },
    { flushed: [2, 1, 0, 0], tried: [2, 1, 0, 0] }
  ]

  it('a counter may have any value from the flushed increments to the tried ones', () => {
    for (const value of [5, 6, 7]) expect(counters.judge(facts, [value, 1, 0, 0])).toEqual([])
  })

  it('a counter without a flushed increment, or with one that nobody tried, is a problem', () => {
    expect(counters.judge(facts, [4, 1, 0, 0])).toEqual(['counter 0 is 4, but 5 increments were flushed and 7 tried'])
    expect(counters.judge(facts, [5, 2, 0, 0])).toEqual(['counter 1 is 2, but 1 increments were flushed and 1 tried'])
  })
})

it('the judge of the bank misses money', () => {
  expect(bank.judge([], [16_000, 16_000])).toEqual([])
  expect(bank.judge([], [16_000, 15_999])).toEqual(['branch 1 holds 15999 instead of 16000'])
})

describe('the judge of the queue', () => {
  const one = { put: ['1:1', '1:2', '1:3'], taken: ['1:1'], maybeTaken: [] }
  const two = { put: [], taken: ['1:2'], maybeTaken: [] }

  it('each item is taken once, or left', () => {
    expect(judgeQueue([one, two], ['1:3'])).toEqual([])
  })

  it('an item that is taken twice, or taken and left, is a problem', () => {
    expect(judgeQueue([one, { ...two, taken: ['1:1', '1:2'] }], ['1:3'])).toEqual([
      'item 1:1 is there twice: taken, or left'
    ])
    expect(judgeQueue([one, two], ['1:2', '1:3'])).toEqual(['item 1:2 is there twice: taken, or left'])
  })

  it('an item that was put and is nowhere is a problem, unless a client may have taken it', () => {
    expect(judgeQueue([one, two], [])).toEqual(['item 1:3 was put and flushed, and is gone'])
    expect(judgeQueue([one, { ...two, maybeTaken: ['1:3'] }], [])).toEqual([])
  })

  it('a client that takes the items of another one out of order is a problem', () => {
    expect(
      judgeQueue(
        [
          { ...one, taken: [] },
          { ...two, taken: ['1:2', '1:1'] }
        ],
        ['1:3']
      )
    ).toEqual(['item 1:1 was taken behind a later one'])
  })
})

describe('the judge of the names', () => {
  const facts = { known: { '/a': 4096, '/b': 'absent', '/c': 'unknown' }, won: ['/race/1'] } as const
  const listed = (...paths: readonly string[]): { path: string; size: number }[] =>
    paths.map((path) => ({ path, size: 4096 }))

  it('what was created is there with its size, and what was removed is not', () => {
    expect(judgeNames([facts], listed('/a', '/race/1'))).toEqual([])
    expect(judgeNames([facts], listed('/a', '/c', '/race/1'))).toEqual([])
    expect(judgeNames([facts], listed('/b', '/race/1'))).toEqual([
      '/a was created, and is gone',
      '/b was removed, and is back'
    ])
    expect(judgeNames([{ ...facts, known: { '/a': 100 } }], listed('/a', '/race/1'))).toEqual([
      '/a has 4096 bytes instead of 100'
    ])
  })

  it('a name that two clients have created, or that is gone, is a problem', () => {
    expect(judgeNames([facts, { known: {}, won: ['/race/1'] }], listed('/a', '/race/1'))).toEqual([
      '/race/1 was created by two clients'
    ])
    expect(judgeNames([facts], listed('/a'))).toEqual(['/race/1 was created, and is gone'])
  })
})

describe('the model of fsx', () => {
  const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)
  const written = (): FsxModel => {
    const model = new FsxModel(3 * 4096)
    model.truncate(8)
    model.mayWrite(0, bytes(1, 2, 3))
    model.write(0, bytes(1, 2, 3))
    return model
  }
  const flushed = (): FsxModel => {
    const model = written()
    model.flushed()
    return model
  }

  it('a read must give what was written last, up to the end', () => {
    const model = written()
    expect(model.whyNot(bytes(1, 2, 3, 0), 0, 4)).toBeUndefined()
    expect(model.whyNot(bytes(0, 0), 6, 4)).toBeUndefined()
    expect(model.whyNot(bytes(1, 9, 3), 0, 3)).toBe('byte 1 is 9, 2 was written')
    expect(model.whyNot(bytes(1, 2), 0, 3)).toBe('2 bytes were read at 0, 3 are there')
  })

  it('after a loss, a byte may have any value since the last flush, and no other', () => {
    const model = flushed()
    model.mayWrite(1, bytes(7))
    model.write(1, bytes(7))
    expect(model.adopt(bytes(1, 2, 3, 0, 0, 0, 0, 0), 8, true)).toBeUndefined()
    expect(model.whyNot(bytes(1, 2, 3), 0, 3)).toBeUndefined()
    expect(written().adopt(bytes(0, 2, 0, 0, 0, 0, 0, 0), 8, true)).toBeUndefined()
    expect(flushed().adopt(bytes(1, 0, 3, 0, 0, 0, 0, 0), 8, true)).toBe('byte 1 is 0, it can be 2')
  })

  it('after a loss, no byte has a value from before a truncation, or from before a hole of its whole page', () => {
    const truncated = written()
    truncated.mayTruncate(1)
    truncated.truncate(1)
    truncated.mayTruncate(3)
    truncated.truncate(3)
    expect(truncated.adopt(bytes(1, 2, 0), 3, true)).toBe('byte 1 is 2, it can be 0')
    expect(truncated.adopt(bytes(0, 0, 0), 3, true)).toBeUndefined()

    const page = new Uint8Array(2 * 4096).fill(5)
    const punched = new FsxModel(3 * 4096)
    punched.mayWrite(0, page)
    punched.write(0, page)
    punched.mayWrite(0, new Uint8Array(4097))
    punched.punch(0, 4097)
    const left = page.slice().fill(0, 0, 4097)
    left[4096] = 5
    expect(punched.adopt(left, 2 * 4096, true)).toBeUndefined()
    left[0] = 5
    expect(punched.adopt(left, 2 * 4096, true)).toBe('byte 0 is 5, it can be 0')
  })

  it('after a call without an outcome, the bytes of that call may be as before it, and no other', () => {
    const uncertain = (): FsxModel => {
      const model = written()
      model.mayWrite(1, bytes(7, 8))
      return model
    }
    const rest = [0, 0, 0, 0, 0]
    expect(flushed().isUncertain).toBe(false)
    expect(uncertain().isUncertain).toBe(true)
    for (const read of [bytes(1, 2, 3, ...rest), bytes(1, 7, 3, ...rest), bytes(1, 7, 8, ...rest)])
      expect(uncertain().adopt(read, 8, false)).toBeUndefined()
    expect(uncertain().adopt(bytes(0, 7, 8, ...rest), 8, false)).toBe('byte 0 is 0, it can be 1')
    expect(uncertain().adopt(bytes(1, 0, 8, ...rest), 8, false)).toBe('byte 1 is 0, it can be 2 or 7')
    expect(uncertain().adopt(bytes(1, 0, 8, ...rest), 8, true)).toBeUndefined()
  })

  it('the size of a call without an outcome may be in force, and no other', () => {
    const model = written()
    model.mayTruncate(4)
    expect(model.adopt(bytes(1, 2, 3, 0), 4, false)).toBeUndefined()
    const sized = written()
    sized.truncate(4)
    expect(sized.adopt(bytes(1, 2, 3, 0, 0), 5, true)).toBe('the file has 5 bytes, and had 4')
  })
})

describe('the notes of a client that was killed', () => {
  it('an increment without a flush counts as tried only', () => {
    expect(counters.facts([{ tried: 1 }, { tried: 1 }, { flushed: [0, 1, 0, 0] }, { tried: 0 }])).toEqual({
      flushed: [0, 1, 0, 0],
      tried: [1, 2, 0, 0]
    })
  })

  it('an item is put, or taken, when that is flushed; one that was taken without a flush may be back', () => {
    const facts = factsOfQueue([
      { puts: ['1:1', '1:2'], takes: ['2:1'] },
      { flushed: { puts: 1, takes: 1 } },
      { puts: [], takes: ['2:2'] }
    ])
    expect(facts).toEqual({ put: ['1:1'], taken: ['2:1'], maybeTaken: ['2:2'] })
    const lost = factsOfQueue([{ puts: ['1:1'], takes: ['2:1'] }, { isLost: true }, { flushed: { puts: 0, takes: 0 } }])
    expect(lost).toEqual({ put: [], taken: [], maybeTaken: ['2:1'] })
  })

  it('a name has the state that the client has learned last', () => {
    const facts = names.facts([
      { path: '/a', state: 'unknown' },
      { path: '/a', state: 4096 },
      { path: '/b', state: 'unknown' },
      { won: '/race/1' }
    ])
    expect(facts).toEqual({ known: { '/a': 4096, '/b': 'unknown' }, won: ['/race/1'] })
  })
})
