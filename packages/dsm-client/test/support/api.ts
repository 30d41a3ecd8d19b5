/** A client with an open file and two mappings, for tests of the public calls. */
import { InvalidArgumentError } from '@quire/protocol'
import { afterEach, beforeEach, expect } from 'vitest'
import type { DsmClient, DsmFile, Mapping } from '../../src/types.js'
import { World, failure, view } from './client.js'

export const PAGE = 4096
/** The size of the test file in bytes: a full page and part of the next. */
export const SIZE = 5000

export let world: World
export let client: DsmClient
export let file: DsmFile
export let mapping: Mapping
export let reading: Mapping
/** The number of timers of an idle client. */
export let idleTimers: number
export let sentBefore: number

/** Registers hooks that create the client before each test and close it afterwards. */
export function setUpClient(): void {
  beforeEach(async () => {
    world = new World()
    client = await world.create({ cacheBytes: 65_536, faultTimeoutMs: 5000 })
    file = await client.open('/f', { create: true, size: SIZE })
    mapping = await file.mmap({ length: 4 * PAGE })
    reading = await file.mmap({ prot: 'read' })
    idleTimers = world.clock.pending
    sentBefore = world.leader.received.length
  })

  afterEach(async () => {
    await world.until(client.close().catch(() => {}))
    expect(world.clock.pending).toBe(0)
  })
}

/** Makes the current number of timers the one that `expectNothingLeft` expects. */
export function countIdleTimers(): void {
  idleTimers = world.clock.pending
}

/** Expects no pending request, waiter or pin, and no timer beyond those of an idle client. */
export function expectNothingLeft(): void {
  // The client acknowledges received messages after a short delay.
  world.clock.fire(20)
  expect(world.clock.pending).toBe(idleTimers)
  expect(view(client).pendingRequests).toBe(0)
  for (const page of view(client).pages) {
    expect(page.waiters).toEqual([])
    expect([page.pinned, page.queuedForFault]).toEqual([false, false])
  }
}

/** Expects an InvalidArgumentError that names the argument and its value, from a call that sends nothing. */
export async function refused(call: () => Promise<unknown>, argument: string, value: unknown): Promise<void> {
  const error = await failure(call())
  expect(error).toBeInstanceOf(InvalidArgumentError)
  expect(error).toMatchObject({ name: 'InvalidArgumentError', code: 'ERR_INVALID_ARGUMENT', argument, value })
  expect(error.message).toContain(argument)
  expect(world.leader.received.length).toBe(sentBefore)
  expectNothingLeft()
}

/** Turns a synchronous call into one that returns a promise. */
export const at = async (call: () => unknown): Promise<unknown> => call()
export const bytes = (length: number, value = 7) => new Uint8Array(length).fill(value)
export const bad = (value: unknown) => value as never

export const NO_COUNTS = [-1, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 53]
export const NO_NUMBERS: [unknown, unknown][] = [
  ['1', '1'],
  [1n, '1'],
  [null, 'null'],
  [{}, 'Object']
]
