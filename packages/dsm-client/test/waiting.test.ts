/** Each way in which `waitFor` ends, in virtual time. */
import { FakeClock } from '@quire/testing'
import { expect, it } from 'vitest'
import { waitFor, type Start, type WaitInit } from '../src/waiting.js'

interface Calls {
  resolve(this: void, value: number): void
  reject(this: void, error: Error): void
  moved(this: void): void
}

function begin(init: Partial<WaitInit> = {}, atOnce: (calls: Calls) => void = () => {}) {
  const clock = new FakeClock()
  const seen: string[] = []
  let calls!: Calls
  const begins: Start<number> = (resolve, reject, moved) => {
    calls = { resolve, reject, moved }
    atOnce(calls)
    return () => seen.push('withdrawn')
  }
  const began = clock.now()
  const waiting = waitFor(begins, {
    clock,
    timeoutMs: 100,
    signal: undefined,
    onHalfway: () => seen.push(`halfway ${clock.now() - began}`),
    onTimeout: (since) => new Error(`since ${since - began}, up ${clock.now() - began}`),
    ...init
  })
  waiting.catch(() => {})
  return { clock, seen, waiting, ...calls }
}

it('waitFor resolves with the result, and cancels its timer', async () => {
  const { clock, seen, waiting, resolve } = begin()
  resolve(7)
  expect(await waiting).toBe(7)
  expect(clock.pending).toBe(0)
  expect(seen).toEqual([])
})

it('waitFor starts no timer for a result that is available at once', async () => {
  const { clock, waiting } = begin({}, ({ resolve, moved }) => {
    moved()
    resolve(7)
  })
  expect(clock.pending).toBe(0)
  expect(await waiting).toBe(7)
})

it('waitFor times out: calls onHalfway after half of the time, and withdraws at the end', async () => {
  const { clock, seen, waiting } = begin()
  await clock.advance(1000)
  await expect(waiting).rejects.toThrow('since 0, up 100')
  expect(seen).toEqual(['halfway 50', 'withdrawn'])
  expect(clock.pending).toBe(0)
})

it('waitFor restarts its time at each progress, in either half', async () => {
  const { clock, seen, waiting, moved } = begin()
  await clock.advance(30)
  moved()
  await clock.advance(60)
  moved()
  await clock.advance(1000)
  await expect(waiting).rejects.toThrow('since 90, up 190')
  expect(seen).toEqual(['halfway 80', 'halfway 140', 'withdrawn'])
})

it('waitFor still has the second half of its time after a suspension of the process', async () => {
  const { clock, waiting, resolve } = begin()
  clock.sleep(500)
  await clock.advance(40)
  resolve(7)
  expect(await waiting).toBe(7)
})

it('waitFor rejects with the reason of its signal, before and after its start', async () => {
  const aborted = AbortSignal.abort(new Error('enough'))
  await expect(begin({ signal: aborted }).waiting).rejects.toThrow('enough')
  const controller = new AbortController()
  const { clock, seen, waiting } = begin({ signal: controller.signal })
  controller.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  expect(seen).toEqual(['withdrawn'])
  expect(clock.pending).toBe(0)
})
