/** Calls that share one AbortSignal. */
import { getEventListeners } from 'node:events'
import { settle } from '@quire/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DsmClient, DsmFile, Mapping } from '../src/types.js'
import { World } from './support/client.js'
import { PAGE } from './support/local.js'

const PAGES = 64
const warnings: Error[] = []
const keep = (warning: Error): unknown => warnings.push(warning)

beforeEach(() => {
  warnings.length = 0
  process.on('warning', keep)
})

afterEach(() => {
  process.off('warning', keep)
})

const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

interface Opened {
  readonly world: World
  readonly client: DsmClient
  readonly file: DsmFile
  readonly mapping: Mapping
}

async function open(): Promise<Opened> {
  const world = new World()
  const client = await world.until(world.create())
  const file = await client.open('/f', { create: true, size: PAGES * PAGE })
  const mapping = await file.mmap()
  return { world, client, file, mapping }
}

type Call = (opened: Opened, index: number, signal: AbortSignal) => Promise<unknown>

/** Each call waits for an answer that the leader holds back. */
const CALLS: Record<string, Call> = {
  read: ({ mapping }, i, signal) => mapping.read((i % PAGES) * PAGE, 1, { signal }),
  write: ({ mapping }, i, signal) => mapping.write((i % PAGES) * PAGE, new Uint8Array(1), { signal }),
  pin: ({ mapping }, i, signal) => mapping.pin((i % PAGES) * PAGE, 1, 'read', { signal }),
  open: ({ client }, i, signal) => client.open(`/other-${i}`, { create: true, signal }),
  stat: ({ client }, i, signal) => client.stat(`/${i}`, { signal }),
  unlink: ({ client }, i, signal) => client.unlink(`/${i}`, { signal }),
  'file.stat': ({ file }, _, signal) => file.stat({ signal })
}

describe.each([11, 1000])('%i waiting calls with one signal', (count) => {
  it.each(Object.keys(CALLS))(
    'waiting calls with one signal share one listener, which is removed with the last call: %s',
    async (name) => {
      const opened = await open()
      const { world, client } = opened
      for (const type of ['fault', 'open', 'stat', 'unlink', 'statFile'] as const) world.leader.holding.add(type)
      const controller = new AbortController()
      const reason = new Error('enough')
      const calls = Array.from({ length: count }, (_, index) => CALLS[name]!(opened, index, controller.signal))
      const failures = Promise.all(calls.map((call) => call.catch((error: unknown) => error)))
      await settle()
      expect(listeners(controller.signal)).toBe(1)
      controller.abort(reason)
      expect(await failures).toEqual(calls.map(() => reason))
      expect(listeners(controller.signal)).toBe(0)
      for (const type of world.leader.holding) world.leader.release(type)
      await world.until(client.close())
      expect(warnings).toEqual([])
    }
  )

  it('waiting calls with one signal leave no listener when they end without an abort', async () => {
    const { world, client, mapping } = await open()
    world.leader.holding.add('fault')
    const { signal } = new AbortController()
    const reads = Promise.all(Array.from({ length: count }, (_, i) => mapping.read((i % PAGES) * PAGE, 1, { signal })))
    await settle()
    expect(listeners(signal)).toBe(1)
    world.leader.release('fault')
    expect(await world.until(reads)).toHaveLength(count)
    expect(listeners(signal)).toBe(0)
    await world.until(client.close({ signal }))
    expect(listeners(signal)).toBe(0)
    expect(warnings).toEqual([])
  })
})

it('closing a client with many files, which share one internal signal, causes no MaxListeners warning', async () => {
  const { world, client } = await open()
  for (let i = 0; i < 20; i++) {
    const file = await client.open(`/more-${i}`, { create: true, size: PAGE })
    await file.write(0, new Uint8Array([1]))
  }
  world.leader.holding.add('writeback')
  const { signal } = new AbortController()
  const closes = Array.from({ length: 20 }, () => client.close({ signal }))
  await settle()
  expect(listeners(signal)).toBe(1)
  world.leader.release('writeback')
  await world.until(Promise.all(closes))
  expect(listeners(signal)).toBe(0)
  expect(warnings).toEqual([])
})
