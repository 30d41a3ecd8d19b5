import { getEventListeners } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { createDeadline } from '../src/portable/deadline.js'
import { onAbort } from '../src/index.js'

const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

it('onAbort adds one listener for any number of callbacks, and removes it with the last', () => {
  const { signal } = new AbortController()
  const withdrawals = Array.from({ length: 1000 }, () => onAbort(signal, () => {}))
  expect(listeners(signal)).toBe(1)
  for (const withdraw of withdrawals.slice(1)) withdraw()
  expect(listeners(signal)).toBe(1)
  withdrawals[0]!()
  expect(listeners(signal)).toBe(0)
})

it('onAbort calls each callback once, in order, except those that an earlier one withdraws', () => {
  const controller = new AbortController()
  const seen: string[] = []
  onAbort(controller.signal, () => {
    seen.push('first')
    withdraw()
  })
  const withdraw = onAbort(controller.signal, () => seen.push('withdrawn'))
  onAbort(controller.signal, () => seen.push('last'))
  controller.abort()
  controller.abort()
  expect(seen).toEqual(['first', 'last'])
  expect(listeners(controller.signal)).toBe(0)
})

it('onAbort keeps a new callback although an earlier one is withdrawn twice', () => {
  const controller = new AbortController()
  const early = onAbort(controller.signal, () => {})
  early()
  const called = vi.fn()
  onAbort(controller.signal, called)
  early()
  controller.abort()
  expect(called).toHaveBeenCalledTimes(1)
})

it('onAbort calls the other callbacks although one throws', async () => {
  const controller = new AbortController()
  const called = vi.fn()
  onAbort(controller.signal, () => {
    throw new Error('a fault of the first')
  })
  onAbort(controller.signal, called)
  const before = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve))
  try {
    controller.abort()
    expect(called).toHaveBeenCalledTimes(1)
    expect(await uncaught).toMatchObject({ message: 'a fault of the first' })
  } finally {
    for (const listener of before) process.on('uncaughtException', listener)
  }
})

it('the deadlines of many dials share one listener on their signal', () => {
  const controller = new AbortController()
  const deadlines = Array.from({ length: 20 }, () => createDeadline(60_000, controller.signal))
  expect(listeners(controller.signal)).toBe(1)
  for (const deadline of deadlines.slice(10)) deadline.clear()
  controller.abort(new Error('enough'))
  expect(deadlines.map((deadline) => deadline.signal.aborted)).toEqual(deadlines.map((_, index) => index < 10))
  for (const deadline of deadlines) deadline.clear()
  expect(listeners(controller.signal)).toBe(0)
})

it('no module of the client and the network but abort.ts adds an abort listener', async () => {
  const packages = join(import.meta.dirname, '../..')
  const found: string[] = []
  for (const name of ['net', 'dsm-client']) {
    const folder = join(packages, name, 'src')
    for (const file of await readdir(folder, { recursive: true })) {
      if (!file.endsWith('.ts')) continue
      if (/addEventListener\(\s*'abort'/.test(await readFile(join(folder, file), 'utf8'))) found.push(`${name}/${file}`)
    }
  }
  expect(found).toEqual(['net/portable/abort.ts'])
})
