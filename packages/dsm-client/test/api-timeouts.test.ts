/** The errors of calls that time out. */
import { BusyError, NoSuchFileError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import {
  PAGE,
  SIZE,
  world,
  client,
  file,
  mapping,
  expectNothingLeft,
  bytes,
  countIdleTimers,
  setUpClient
} from './support/api.js'
import { failure, view } from './support/client.js'

setUpClient()

describe('time-outs', () => {
  it('a read fails with BusyError, path and offset if another client holds the page until the time-out', async () => {
    world.leader.holding.add('fault')
    const waiting = failure(mapping.read(PAGE, 1))
    await world.clock.advance(5000)
    const error = await waiting
    expect(error).toBeInstanceOf(BusyError)
    expect(error).toMatchObject({ code: 'ERR_BUSY', path: '/f', offset: PAGE })
    world.leader.release('fault')
    await world.clock.advance(1)
    expectNothingLeft()
  })

  it('a read fails with UnavailableError at the time-out if the leader has confirmed no keep-alive', async () => {
    world.leader.holding.add('fault')
    world.leader.holding.add('keepAlive')
    const waiting = failure(mapping.read(PAGE, 1))
    await world.clock.advance(5000)
    expect(await waiting).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
  })

  it('every call on a page fails with BusyError at the time-out and frees its frames', async () => {
    const copy = await file.mmap({ flags: 'private' })
    countIdleTimers()
    world.leader.holding.add('fault')
    const calls: [Promise<unknown>, number][] = [
      [file.read(1, 1), 1],
      [file.write(2, bytes(1)), 2],
      [file.punchHole(3, 1), 3],
      [mapping.readInto(4, bytes(1)), 4],
      [mapping.write(5, bytes(1)), 5],
      [mapping.pin(6, 1, 'write'), 0],
      [copy.read(7, 1), 7],
      [copy.write(8, bytes(1)), 0],
      [copy.pin(PAGE + 9, 1, 'write'), PAGE]
    ]
    const errors = calls.map(([call]) => failure(call))
    await world.clock.advance(5000)
    for (const [i, [, offset]] of calls.entries()) {
      expect(await errors[i]).toMatchObject({ name: 'BusyError', code: 'ERR_BUSY', path: '/f', offset })
    }
    world.leader.release('fault')
    await world.clock.advance(1)
    await file.addressSpace.evictMappingRange(0, 0)
    expectNothingLeft()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('an eviction that waits for a pin times out with BusyError and the offset of its first page', async () => {
    const pin = await mapping.pin(PAGE, 1, 'read')
    const evicting = failure(file.addressSpace.evictMappingRange(PAGE, PAGE))
    await world.clock.advance(5000)
    expect(await evicting).toMatchObject({ name: 'BusyError', code: 'ERR_BUSY', path: '/f', offset: PAGE })
    pin.release()
    expectNothingLeft()
  })

  it('every call fails with UnavailableError at the time-out if the client reaches no peer', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await mapping.write(0, bytes(1))
    for (const peer of world.peers) world.net.down.add(peer.id)
    world.leader.cut()
    // The lease has run out, so the client may no longer use its cached pages.
    await world.clock.advance(10_000)
    const calls = [
      () => client.open('/f'),
      () => client.stat('/f'),
      () => client.list()[Symbol.asyncIterator]().next(),
      () => client.rename('/f', '/g'),
      () => client.unlink('/f'),
      () => file.stat(),
      () => file.read(0, 1),
      () => file.write(0, bytes(1)),
      () => file.write(SIZE, bytes(1)),
      () => file.truncate(0),
      () => file.punchHole(0, PAGE),
      () => file.punchHole(0, 1),
      () => file.sync(),
      () => file.mmap(),
      () => file.addressSpace.evictMappingRange(0, 0),
      () => mapping.read(0, 1),
      () => mapping.readInto(0, bytes(1)),
      () => mapping.write(0, bytes(1)),
      () => mapping.pin(0, 1, 'read'),
      () => mapping.msync(),
      () => copy.read(0, 1),
      () => copy.write(0, bytes(1)),
      () => copy.pin(0, 1, 'write')
    ]
    expect(mapping.tryRead(0, bytes(1))).toBe(false)
    expect(mapping.tryWrite(0, bytes(1))).toBe(false)
    const errors = await world.until(Promise.all(calls.map((call) => failure(call()))))
    // munmap and close come last, because they fail the other calls at once.
    for (const call of [() => mapping.munmap(), () => file.close()]) errors.push(await world.until(failure(call())))
    for (const error of errors) {
      expect(error).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
      expect((error as { reason?: string }).reason).toMatch(/cannot reach .* \(waited 5000 ms\)$/)
    }
    world.net.down.clear()
    expect(await world.until(mapping.read(0, 1))).toEqual(bytes(1))
    await world.clock.advance(1000)
    // The client repeats rename and unlink although no caller waits, because the leader may have carried them out.
    for (const type of ['rename', 'unlink'] as const) {
      world.leader.fail(world.leader.last(type).seq, new NoSuchFileError('/f'))
    }
    await world.clock.advance(1)
    expect(view(client).pendingRequests).toBe(0)
  })

  it('a timed-out open makes the client close the file if the cluster opens it later', async () => {
    world.leader.holding.add('open')
    const opening = failure(client.open('/g', { create: true }))
    await world.clock.advance(5000)
    expect(await opening).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
    world.leader.release('open')
    await world.clock.advance(1)
    expect([...world.cluster.mapped]).toEqual([Number(file.id)])
  })
})
