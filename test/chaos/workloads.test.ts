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
  expect(bank.judge([], 16_000)).toEqual([])
  expect(bank.judge([], 15_999)).toEqual(['the accounts hold 15999 instead of 16000'])
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
  const facts = { known: { '/a': 'there', '/b': 'absent' }, won: ['/race/1'] } as const

  it('what was created is there, and what was removed is not', () => {
    expect(judgeNames([facts], ['/a', '/race/1'])).toEqual([])
    expect(judgeNames([facts], ['/b', '/race/1'])).toEqual([
      '/a was created, and is gone',
      '/b was removed, and is back'
    ])
  })

  it('a name that two clients have created, or that is gone, is a problem', () => {
    expect(judgeNames([facts, { known: {}, won: ['/race/1'] }], ['/a', '/race/1'])).toEqual([
      '/race/1 was created by two clients'
    ])
    expect(judgeNames([facts], ['/a'])).toEqual(['/race/1 was created, and is gone'])
  })
})

describe('the model of fsx', () => {
  const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)
  const written = (): FsxModel => {
    const model = new FsxModel(16)
    model.truncate(8)
    model.mayWrite(0, bytes(1, 2, 3))
    model.write(0, bytes(1, 2, 3))
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
    const model = written()
    model.flushed()
    model.mayWrite(1, bytes(7))
    model.write(1, bytes(7))
    expect(model.adopt(bytes(1, 2, 3, 0, 0, 0, 0, 0), 8)).toBeUndefined()
    expect(model.whyNot(bytes(1, 2, 3), 0, 3)).toBeUndefined()
    expect(written().adopt(bytes(0, 2, 0, 0, 0, 0, 0, 0), 8)).toBeUndefined()
    const flushed = written()
    flushed.flushed()
    expect(flushed.adopt(bytes(1, 0, 3, 0, 0, 0, 0, 0), 8)).toBe(
      'byte 1 is 0 after a loss; it was 2, and nothing else since the last flush'
    )
  })

  it('after a loss, the size of a call without an outcome may be in force, and no other', () => {
    const model = written()
    model.mayTruncate(4)
    expect(model.adopt(bytes(1, 2, 3, 0), 4)).toBeUndefined()
    const sized = written()
    sized.truncate(4)
    expect(sized.adopt(bytes(1, 2, 3, 0, 0), 5)).toBe('the file has 5 bytes after a loss, and had 4')
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
      { path: '/a', state: 'there' },
      { path: '/b', state: 'unknown' },
      { won: '/race/1' }
    ])
    expect(facts).toEqual({ known: { '/a': 'there', '/b': 'unknown' }, won: ['/race/1'] })
  })
})
