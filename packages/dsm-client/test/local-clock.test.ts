/** The waits of an address space follow the clock on which it was created. */
import { FakeClock } from '@quire/testing'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createAddressSpaceOn } from '../src/local/local-space.js'
import type { LocalAddressSpace } from '../src/local-types.js'
import { outcome } from './support/client.js'
import { BufferOperations, PAGE, bytes, gate } from './support/local.js'

let clock: FakeClock
let ops: BufferOperations
let space: LocalAddressSpace

beforeEach(() => {
  clock = new FakeClock()
  ops = new BufferOperations(8 * PAGE)
  space = createAddressSpaceOn(clock, { size: 8 * PAGE, ops, faultTimeoutMs: 5000 })
})

afterEach(async () => {
  await space.close()
  expect(clock.pending).toBe(0)
})

it('a read rejects with UnavailableError when the injected clock reaches the time-out of its hook', async () => {
  const { promise, open } = gate()
  ops.hold = promise
  const mapping = space.mmap()
  const reading = mapping.read(0, 1)
  await clock.advance(4999)
  expect(await outcome(reading)).toBe('waiting')
  await clock.advance(1)
  expect(await outcome(reading)).toMatchObject({
    name: 'UnavailableError',
    reason: "the address space's hooks have not answered (waited 5000 ms)"
  })
  open()
  expect(await mapping.read(0, 1)).toEqual(bytes(0))
})

it('an eviction waits for a pin until the injected clock reaches the time-out, and rejects with BusyError', async () => {
  const pin = await space.mmap().pin(0, 1, 'read')
  const evicting = space.evictMappingRange(0, PAGE)
  await clock.advance(4999)
  expect(await outcome(evicting)).toBe('waiting')
  await clock.advance(1)
  expect(await outcome(evicting)).toMatchObject({ name: 'BusyError', offset: 0 })
  pin.release()
})
