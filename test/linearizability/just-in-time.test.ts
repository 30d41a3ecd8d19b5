import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isLinearizable } from './brute-force.js'
import type { Operation } from './src/checker.js'
import { checkJustInTime } from './src/just-in-time.js'
import { sizeModel, type SizeInput } from './src/size-model.js'

const MODEL = sizeModel(0)

const size = fc.nat(3)
const input: fc.Arbitrary<SizeInput> = fc.oneof(
  fc.record({ op: fc.constant('read' as const), size }),
  fc.record({ op: fc.constant('reaches' as const), end: size }),
  fc.record({ op: fc.constant('endsBy' as const), size }),
  fc.record({ op: fc.constant('set' as const), size }),
  fc.record({ op: fc.constant('extend' as const), end: size })
)
const operation: fc.Arbitrary<Operation<SizeInput>> = fc
  .record({
    input,
    call: fc.nat(12),
    length: fc.oneof(fc.nat(6), fc.constant(Infinity)),
    isOptional: fc.nat(4).map((n) => n === 0)
  })
  .map(({ input: each, call, length, isOptional }) => ({ input: each, call, return: call + length, isOptional }))

const set = (to: number, call: number, end: number): Operation<SizeInput> => ({
  input: { op: 'set', size: to },
  call,
  return: end
})
const read = (found: number, call: number): Operation<SizeInput> => ({
  input: { op: 'read', size: found },
  call,
  return: call + 1
})

describe('the search forward in time', () => {
  it('the search forward in time finds what trying every order finds, of the sizes of a file', () => {
    const results = { linearizable: 0, violation: 0, undecided: 0 }
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
        const { result } = checkJustInTime(operations, MODEL)
        results[result]++
        expect(result).toBe(isLinearizable(operations, MODEL) ? 'linearizable' : 'violation')
      }),
      { numRuns: 5000 }
    )
    expect(Math.min(results.linearizable, results.violation)).toBeGreaterThan(500)
  })

  it('the search forward in time returns an order that respects time and the object', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
        const verdict = checkJustInTime(operations, MODEL)
        if (verdict.result !== 'linearizable') return
        let state = 0
        for (const [i, each] of verdict.order.entries()) {
          expect(verdict.order.slice(i + 1).every((later) => later.return >= each.call)).toBe(true)
          const after = MODEL.step(state, each.input)
          expect(after).toBeDefined()
          state = after!
        }
        const left = operations.filter((each) => !verdict.order.includes(each))
        expect(left.every((each) => each.return === Infinity || each.isOptional)).toBe(true)
      })
    )
  })

  it('the search forward in time is quick if many truncations of killed clients may happen at any time (chaos seed 30114003)', () => {
    const operations: Operation<SizeInput>[] = []
    for (let i = 0; i < 60; i++) operations.push(set(1000 + i, 10 * i, Infinity))
    // Each truncation happens late, and is found by one read; in between another client sets the size again and again.
    for (let i = 0; i < 60; i++)
      operations.push(read(1000 + i, 10_000 + 10 * i), set(7, 10_002 + 10 * i, 10_003 + 10 * i))
    expect(checkJustInTime(operations, MODEL, 200_000).result).toBe('linearizable')
    const twice = [...operations, read(1007, 20_000), read(7, 20_002), read(1007, 20_004)]
    expect(checkJustInTime(twice, MODEL, 200_000)).toMatchObject({
      result: 'violation',
      stuck: { input: { op: 'read', size: 1007 } }
    })
  })

  it('the search forward in time gives up after the given steps, and says so', () => {
    const operations = [set(1, 0, Infinity), set(2, 0, Infinity), read(1, 5), read(2, 10)]
    expect(checkJustInTime(operations, MODEL, 2)).toEqual({ result: 'undecided', steps: 2 })
    expect(checkJustInTime(operations, MODEL).result).toBe('linearizable')
  })
})
