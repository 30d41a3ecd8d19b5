import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { firstAnswer, type FirstAnswer } from '../src/portable/first-answer.js'

interface Attempt {
  readonly signal: AbortSignal
  readonly gotOn: () => void
  readonly answer: (value: string) => void
  readonly fail: (error: Error) => void
}

const DELAY_MS = 250
let attempts: Map<string, Attempt>
let ended: FirstAnswer<string> | Error | undefined

beforeEach(() => {
  vi.useFakeTimers()
  attempts = new Map()
  ended = undefined
})
afterEach(() => {
  vi.useRealTimers()
})

function start(addresses: readonly string[], signal?: AbortSignal): void {
  const attempt = (address: string, ownSignal: AbortSignal, gotOn: () => void): Promise<string> =>
    new Promise((answer, fail) => attempts.set(address, { signal: ownSignal, gotOn, answer, fail }))
  firstAnswer(addresses, { delayMs: DELAY_MS, maxAtOnce: 3, signal, attempt }).then(
    (answer) => (ended = answer),
    (error: Error) => (ended = error)
  )
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const begun = () => [...attempts.keys()].join('')

describe('staggered attempts (RFC 8305)', () => {
  it('staggered attempts start with the next address beside those that have not answered within the delay', async () => {
    start(['a', 'b', 'c'])
    expect(begun()).toBe('a')
    await pass(DELAY_MS - 1)
    expect(begun()).toBe('a')
    await pass(1)
    expect(begun()).toBe('ab')
    await pass(DELAY_MS)
    expect(begun()).toBe('abc')
    attempts.get('b')!.answer('yes')
    await pass(0)
    expect(ended).toEqual({ address: 'b', value: 'yes' })
  })

  it('staggered attempts end with the first answer: the others are aborted, and no further one starts', async () => {
    start(['a', 'b', 'c'])
    await pass(DELAY_MS)
    attempts.get('a')!.answer('late, and first')
    await pass(0)
    expect(attempts.get('b')!.signal.aborted).toBe(true)
    attempts.get('b')!.fail(new Error('aborted'))
    await pass(10 * DELAY_MS)
    expect(begun()).toBe('ab')
    expect(ended).toEqual({ address: 'a', value: 'late, and first' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('staggered attempts continue with the next address at once when one fails, and reject when all have failed', async () => {
    start(['a', 'b'])
    attempts.get('a')!.fail(new Error('refused'))
    await pass(0)
    expect(begun()).toBe('ab')
    attempts.get('b')!.fail(new Error('unreachable'))
    await pass(0)
    expect((ended as AggregateError).errors.map((error: Error) => error.message)).toEqual(['refused', 'unreachable'])
    start(['c'])
    attempts.get('c')!.fail(new Error('the only one'))
    await pass(0)
    expect(ended).toEqual(new Error('the only one'))
  })

  it('staggered attempts restart the delay when the remote shows a first sign of life', async () => {
    start(['a', 'b'])
    await pass(DELAY_MS - 1)
    attempts.get('a')!.gotOn()
    await pass(DELAY_MS - 1)
    expect(begun()).toBe('a')
    await pass(1)
    expect(begun()).toBe('ab')
  })

  it('staggered attempts are limited in number, and continue when one of them fails', async () => {
    start(['a', 'b', 'c', 'd', 'e'])
    await pass(20 * DELAY_MS)
    expect(begun()).toBe('abc')
    attempts.get('b')!.fail(new Error('no answer'))
    await pass(20 * DELAY_MS)
    expect(begun()).toBe('abcd')
  })

  it('staggered attempts end when their signal aborts, with its reason', async () => {
    const controller = new AbortController()
    start(['a', 'b', 'c'], controller.signal)
    await pass(DELAY_MS)
    controller.abort(new Error('changed my mind'))
    await pass(10 * DELAY_MS)
    expect(ended).toEqual(new Error('changed my mind'))
    expect(begun()).toBe('ab')
    expect([...attempts.values()].every(({ signal }) => signal.aborted)).toBe(true)
    start(['d'], controller.signal)
    await pass(DELAY_MS)
    expect(begun()).toBe('ab')
  })
})
