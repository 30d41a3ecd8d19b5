/** Calls during and after a close of a file or client. */
import { NoSpaceError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import {
  PAGE,
  world,
  client,
  file,
  mapping,
  reading,
  expectNothingLeft,
  at,
  bytes,
  setUpClient
} from './support/api.js'
import { failure, outcome } from './support/client.js'

setUpClient()

describe('close', () => {
  const uses = (): [string, () => Promise<unknown>][] => [
    ['stat', () => file.stat()],
    ['read', () => file.read(0, 1)],
    ['write', () => file.write(0, bytes(1))],
    ['sync', () => file.sync()],
    ['mmap', () => file.mmap()],
    ['truncate', () => file.truncate(0)],
    ['punchHole', () => file.punchHole(0, 1)],
    ['unmapMappingRange', () => at(() => file.addressSpace.unmapMappingRange(0, 0))],
    ['writeMappingRange', () => file.addressSpace.writeMappingRange(0, 0)],
    ['evictMappingRange', () => file.addressSpace.evictMappingRange(0, 0)]
  ]

  it('every call on a closed file fails with ClosedError', async () => {
    await file.close()
    for (const [, call] of [...uses(), ['mapping', () => reading.read(0, 1)] as const]) {
      expect(await failure(call())).toMatchObject({ name: 'ClosedError', what: '/f' })
    }
    await file.close()
    await file[Symbol.asyncDispose]()
    expect(world.cluster.mapped.size).toBe(0)
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('closing one handle leaves other handles open, and the last close closes the file at the cluster', async () => {
    const other = await client.open('/f')
    await file.close()
    for (const [, call] of uses()) expect(await failure(call())).toMatchObject({ name: 'ClosedError', what: '/f' })
    expect(await failure(mapping.read(0, 1))).toMatchObject({ what: 'the mapping of /f' })
    expect(await other.read(0, 1)).toEqual(bytes(1, 0))
    expect(world.leader.of('close')).toEqual([])
    await other.close()
    expect(world.leader.of('close')).toHaveLength(1)
  })

  it.each(['shared', 'private'] as const)(
    'closing a handle fails its pending mmap (%s), because no later call would unmap the mapping',
    async (flags) => {
      const other = await client.open('/f')
      world.leader.holding.add('statFile')
      const mapped = failure(file.mmap({ flags }))
      await world.clock.advance(1)
      await file.close()
      world.leader.release('statFile')
      expect(await mapped).toMatchObject({ name: 'ClosedError', what: '/f' })
      await other.close()
      expect(client.stats().frameBytesUsed).toBe(0)
    }
  )

  it('every call on a closed client and its files fails with ClosedError', async () => {
    await client.close()
    const calls = [
      ...uses().map(([, call]) => call),
      () => mapping.read(0, 1),
      () => mapping.pin(0, 1, 'write'),
      () => client.open('/f'),
      () => client.stat('/f'),
      () => client.rename('/f', '/g'),
      () => client.unlink('/f'),
      () => client.list()[Symbol.asyncIterator]().next()
    ]
    for (const call of calls) expect(await failure(call())).toMatchObject({ name: 'ClosedError', what: 'the client' })
    expect(client.session.state).toBe('expired')
    await mapping.munmap()
    await file.close()
    await client[Symbol.asyncDispose]()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('closing a file fails its waiting calls', async () => {
    world.leader.holding.add('fault')
    const waiting = failure(mapping.write(0, bytes(1)))
    await world.clock.advance(1)
    await file.close()
    expect(await waiting).toMatchObject({ name: 'ClosedError', what: '/f' })
    expectNothingLeft()
  })

  it('a write that is granted during the flush of a close fails, because the flush may miss its bytes', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('fault')
    world.leader.holding.add('writeback')
    const late = outcome(mapping.write(PAGE, bytes(1)))
    const closing = file.close()
    await world.clock.advance(1)
    // The grant for the waiting write arrives during the flush of the file.
    world.leader.release('fault')
    await world.clock.advance(1)
    expect(await late).toMatchObject({ name: 'ClosedError' })
    world.leader.release('writeback')
    await world.until(closing)
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })

  it('a failed close leaves the file open, and a second close succeeds', async () => {
    await file.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const closing = file.close()
    await world.clock.advance(1)
    const { req } = world.leader.last('writeback')
    world.leader.send({ type: 'writebackFailed', term: 1, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(await failure(closing)).toMatchObject({ name: 'NoSpaceError', where: 'peer' })
    expect(await file.read(0, 1)).toEqual(bytes(1))
    world.leader.holding.clear()
    await file.close()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
    expect(world.cluster.mapped.size).toBe(0)
  })
})
