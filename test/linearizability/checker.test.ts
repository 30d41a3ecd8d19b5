import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { withoutUnseen } from './src/unseen.js'
import { isLinearizable } from './brute-force.js'
import { check, type Model, type Operation } from './src/checker.js'
import { pageModel, type PageInput } from './src/page-model.js'

const write = (bytes: string, call: number, end: number, offset = 0): Operation<PageInput> => ({
  input: { op: 'write', offset, bytes },
  call,
  return: end
})
const read = (bytes: string, call: number, end: number, offset = 0): Operation<PageInput> => ({
  input: { op: 'read', offset, bytes },
  call,
  return: end
})

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

function result(...operations: Operation<PageInput>[]): string {
  return check(operations, pageModel(operations.map(({ input }) => input))).result
}

describe('linearizable histories', () => {
  it('a history is linearizable when a read sees the last write before it', () => {
    expect(result(write('01', 0, 1), read('01', 2, 3))).toBe('linearizable')
  })

  it('a history is linearizable when a read that overlaps a write sees the old or the new bytes', () => {
    expect(result(write('01', 0, 10), read('00', 2, 3))).toBe('linearizable')
    expect(result(write('01', 0, 10), read('01', 2, 3))).toBe('linearizable')
  })

  it('a history is linearizable when two writes overlap, and readers agree on their order', () => {
    const writes = [write('01', 0, 10), write('02', 0, 10)]
    expect(result(...writes, read('01', 11, 12), read('01', 13, 14))).toBe('linearizable')
    expect(result(...writes, read('02', 11, 12), read('02', 13, 14))).toBe('linearizable')
  })

  it('a history is linearizable when a write without an answer becomes visible late, or never', () => {
    expect(result(write('01', 0, Infinity), read('00', 5, 6), read('01', 7, 8))).toBe('linearizable')
    expect(result(write('01', 0, Infinity), read('00', 5, 6))).toBe('linearizable')
  })

  it('a history is linearizable when a write that may have happened becomes visible while it runs, or never', () => {
    const maybe = { ...write('01', 0, 3), isOptional: true }
    expect(result(maybe, read('00', 1, 2), read('01', 4, 5))).toBe('linearizable')
    expect(result(maybe, read('00', 4, 5))).toBe('linearizable')
    expect(result(maybe, read('00', 4, 5), read('01', 6, 7))).toBe('violation')
  })

  it('a history is linearizable when nothing happened', () => {
    expect(result()).toBe('linearizable')
  })

  it('a history is linearizable when writes of parts meet in a read of the whole', () => {
    expect(result(write('aa', 0, 1, 0), write('bb', 0, 1, 1), read('aabb', 2, 3, 0))).toBe('linearizable')
  })

  it('a history is linearizable when updates follow one another', () => {
    const add = (from: string, to: string, call: number, end: number): Operation<PageInput> => ({
      input: { op: 'update', offset: 0, from, to },
      call,
      return: end
    })
    expect(result(add('00', '01', 0, 10), add('01', '02', 0, 10))).toBe('linearizable')
    expect(result(add('00', '01', 0, 10), add('00', '01', 0, 10))).toBe('violation')
  })
})

describe('refused histories', () => {
  it('a history is refused when a read sees bytes that were overwritten before it began (stale read)', () => {
    expect(result(write('01', 0, 1), write('02', 2, 3), read('01', 4, 5))).toBe('violation')
  })

  it('a history is refused when a read sees bytes that no operation wrote', () => {
    expect(result(write('01', 0, 1), read('03', 2, 3))).toBe('violation')
  })

  it('a history is refused when a later read goes back behind an earlier one (new, then old)', () => {
    expect(result(write('01', 0, 100), read('01', 2, 3), read('00', 4, 5))).toBe('violation')
  })

  it('a history is refused when two readers disagree on the order of two writes', () => {
    const writes = [write('01', 0, 1), write('02', 0, 1)]
    expect(result(...writes, read('01', 2, 3), read('02', 4, 5))).toBe('violation')
  })

  it('a history is refused when a write is lost', () => {
    expect(result(write('01', 0, 1), read('00', 2, 3))).toBe('violation')
  })

  it('a history is refused when a read of the whole sees a later part without an earlier one (a torn read)', () => {
    expect(result(write('aa', 0, 1, 0), write('bb', 2, 3, 1), read('00bb', 4, 5, 0))).toBe('violation')
  })

  it('a history is refused when a write without an answer is visible before its call', () => {
    expect(result(read('01', 0, 1), write('01', 2, Infinity))).toBe('violation')
  })

  it('a history is refused when a write is undone and a later one that would be undone with it is not', () => {
    const one = { ...write('01', 0, 1, 0), isOptional: true, undoneWith: 'lost' }
    const two = { ...write('02', 2, 3, 1), isOptional: true, undoneWith: 'lost' }
    expect(result(one, two, read('0000', 4, 5))).toBe('linearizable')
    expect(result(one, two, read('0100', 4, 5))).toBe('linearizable')
    expect(result(one, two, read('0102', 4, 5))).toBe('linearizable')
    expect(result(one, two, read('0002', 4, 5))).toBe('violation')
    expect(result(one, { ...two, undoneWith: 'another' }, read('0002', 4, 5))).toBe('linearizable')
  })

  it('a history is refused when no order exists, and the refusal names the operation that has no place', () => {
    const operations = [write('01', 0, 1), write('02', 2, 3), read('01', 4, 5)]
    const verdict = check(operations, pageModel(operations.map(({ input }) => input)))
    expect(verdict).toMatchObject({ result: 'violation', stuck: operations[2], reached: operations.slice(0, 2) })
  })
})

describe('the search for an order', () => {
  it('the search for an order gives up after the given steps, and says so', () => {
    const bytes = Array.from({ length: 12 }, (_, i) => `0${i.toString(16)}`)
    // A reader has seen each of the writes.
    const operations = bytes.flatMap((each) => [write(each, 0, 100), read(each, 0, 100)])
    operations.push(read('ff', 101, 102))
    expect(check(operations, pageModel(operations.map(({ input }) => input)), 50)).toMatchObject({
      result: 'undecided'
    })
  })

  it('the search for an order is quick if many writes overlap and reads see only the last', () => {
    const operations = Array.from({ length: 40 }, (_, i) => write((i + 16).toString(16), 0, 100))
    const end = read('1c', 101, 102)
    expect(check([...operations, end], pageModel([...operations, end].map(({ input }) => input)), 5000)).toMatchObject({
      result: 'linearizable'
    })
    const never = read('ff', 101, 102)
    expect(
      check([...operations, never], pageModel([...operations, never].map(({ input }) => input)), 5000)
    ).toMatchObject({ result: 'violation' })
  })

  it('the search for an order is quick if a lost session has written much that may be undone (cluster seed 31002076)', () => {
    const undoneWith = 'lost'
    const operations = Array.from({ length: 60 }, (_, i): Operation<PageInput> => {
      const [from, to] = [hex(Math.floor(i / 4)), hex(Math.floor(i / 4) + 1)]
      return {
        input: { op: 'update', offset: i % 4, from, to },
        call: 2 * i,
        return: 2 * i + 1,
        isOptional: true,
        undoneWith
      }
    })
    const end = read('01010100', 200, 201)
    const model = pageModel([...operations, end].map(({ input: each }) => each))
    expect(check([...operations, end], model, 50_000).result).toBe('linearizable')
  })

  it('the search for an order is quick if many operations follow one another', () => {
    const operations = Array.from({ length: 20_000 }, (_, i) =>
      write((i % 256).toString(16).padStart(2, '0'), 2 * i, 2 * i + 3)
    )
    expect(result(...operations)).toBe('linearizable')
  })

  const byte = fc.constantFrom('00', '01', '02')
  /** The object itself, without the shortcuts of the model. Inputs have one byte, except for zeros. */
  const TWO_BYTES: Model<readonly number[], PageInput> = {
    initial: [0, 0],
    key: (state) => state.join(),
    step: (state, each) => {
      const now = state[each.offset]!
      const put = (value: number) => state.with(each.offset, value & 0xff)
      const number = (hex: string) => Number.parseInt(hex, 16)
      switch (each.op) {
        case 'read':
          return now === number(each.bytes) ? state : undefined
        case 'write':
          return put(number(each.bytes))
        case 'zero':
          return state.map((value, i) => (i >= each.offset && i < each.end ? 0 : value))
        case 'add':
          return put(now + number(each.bytes))
        case 'update':
          if (now !== number(each.from)) return undefined
          return each.to === undefined ? state : put(number(each.to))
        case 'compareExchange':
          return now === number(each.expected) ? put(number(each.bytes)) : state
      }
    }
  }
  const input: fc.Arbitrary<PageInput> = fc.oneof(
    fc.record({ op: fc.constant('read' as const), offset: fc.nat(1), bytes: byte }),
    fc.record({ op: fc.constant('write' as const), offset: fc.nat(1), bytes: byte }),
    fc.record({ op: fc.constant('zero' as const), offset: fc.constant(0), end: fc.constantFrom(1, 2) }),
    fc.record({ op: fc.constant('add' as const), offset: fc.constant(0), bytes: fc.constantFrom('01', 'ff') }),
    fc.record({
      op: fc.constant('update' as const),
      offset: fc.nat(1),
      from: byte,
      to: fc.option(byte, { nil: undefined })
    }),
    fc.record({ op: fc.constant('compareExchange' as const), offset: fc.nat(1), expected: byte, bytes: byte })
  )
  const operation: fc.Arbitrary<Operation<PageInput>> = fc
    .record({
      input,
      call: fc.nat(12),
      length: fc.oneof(fc.nat(6), fc.constant(Infinity)),
      isOptional: fc.nat(4).map((n) => n === 0),
      undoneWith: fc.constantFrom(undefined, 'one', 'two')
    })
    .map(({ input: each, call, length, isOptional, undoneWith }) => ({
      input: each,
      call,
      return: call + length,
      isOptional,
      ...(isOptional && undoneWith !== undefined && { undoneWith })
    }))

  it.each([
    ['of all kinds', () => true],
    ['whose finds are known', ({ op }: PageInput) => op !== 'add' && op !== 'compareExchange']
  ])('the search finds what trying every order finds, of operations %s', (_, isMeant) => {
    let refused = 0
    let accepted = 0
    const meant = operation.filter((each) => isMeant(each.input))
    fc.assert(
      fc.property(fc.array(meant, { maxLength: 6 }), (operations) => {
        const model = pageModel(operations.map((each) => each.input))
        const expected = isLinearizable(operations, TWO_BYTES)
        if (expected) accepted++
        else refused++
        expect(check(operations, model).result).toBe(expected ? 'linearizable' : 'violation')
        const needed = withoutUnseen(operations)
        const smaller = pageModel(needed.map((each) => each.input))
        expect(check(needed, smaller).result, 'without what nobody has seen').toBe(
          expected ? 'linearizable' : 'violation'
        )
      }),
      { numRuns: 3000 }
    )
    // Otherwise the comparison would prove little.
    expect(Math.min(refused, accepted)).toBeGreaterThan(500)
  })

  it('the search returns an order that respects time and the object', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
        const model = pageModel(operations.map((each) => each.input))
        const verdict = check(operations, model)
        if (verdict.result !== 'linearizable') return
        let state = model.initial
        for (const [i, each] of verdict.order.entries()) {
          expect(verdict.order.slice(i + 1).every((later) => later.return >= each.call)).toBe(true)
          state = model.step(state, each.input)!
          expect(state).toBeDefined()
        }
        const left = operations.filter((each) => !verdict.order.includes(each))
        expect(left.every((each) => each.return === Infinity || each.isOptional)).toBe(true)
      })
    )
  })
})
