/** Public calls reject with the errors of the leader. */
import { CorruptionError, NoSpaceError, QuireError, QuotaExceededError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import {
  PAGE,
  SIZE,
  world,
  client,
  file,
  mapping,
  reading,
  expectNothingLeft,
  bytes,
  countIdleTimers,
  setUpClient
} from './support/api.js'
import { failure } from './support/client.js'

setUpClient()

describe('an error of the leader about a page', () => {
  const damaged = new CorruptionError('pages.lmdb, file 100', 0, 'checksum of a record does not match')

  it('a failed fault fails every waiting call with its error, and the next call sends a new fault', async () => {
    const copy = await file.mmap({ flags: 'private' })
    countIdleTimers()
    world.leader.holding.add('fault')
    const calls = [
      file.read(0, 1),
      file.write(0, bytes(1)),
      mapping.read(0, 1),
      mapping.readInto(0, bytes(1)),
      mapping.write(0, bytes(1)),
      mapping.pin(0, 1, 'write'),
      copy.read(0, 1),
      copy.write(0, bytes(1)),
      copy.pin(0, 1, 'write')
    ]
    const errors = calls.map((call) => failure(call))
    await world.clock.advance(1)
    const { req, file: id, page } = world.leader.last('fault')
    world.leader.send({ type: 'faultFailed', term: 1, req, file: id, page, error: errorToWire(damaged) })
    for (const error of errors) {
      expect(await error).toBeInstanceOf(CorruptionError)
      expect(await error).toMatchObject({ code: 'ERR_CORRUPT', where: 'pages.lmdb, file 100', offset: 0 })
    }
    expectNothingLeft()
    expect(client.stats().frameBytesUsed).toBe(0)
    world.leader.holding.clear()
    expect(await mapping.read(0, 1)).toEqual(bytes(1, 0))
  })

  it('a failed writeback fails every flush with its error, and the page keeps its bytes', async () => {
    await mapping.write(0, bytes(1))
    const calls = [
      () => file.sync(),
      () => mapping.msync(),
      () => file.addressSpace.evictMappingRange(0, 0),
      () => mapping.munmap(),
      () => file.close()
    ]
    world.leader.holding.add('writeback')
    for (const call of calls) {
      const failing = failure(call())
      await world.clock.advance(1)
      const { req } = world.leader.last('writeback')
      world.leader.send({ type: 'writebackFailed', term: 1, req, error: errorToWire(new NoSpaceError('peer')) })
      const error = await failing
      expect(error).toBeInstanceOf(NoSpaceError)
      expect(error).toMatchObject({ code: 'ERR_NO_SPACE', where: 'peer' })
      expect(await mapping.read(0, 1)).toEqual(bytes(1))
      expectNothingLeft()
    }
    world.leader.holding.clear()
    await file.sync()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })
})

describe('an error of the leader about a request', () => {
  const requests = (): [string, () => Promise<unknown>][] => [
    ['open', () => client.open('/g')],
    ['stat', () => client.stat('/f')],
    ['list', () => client.list()[Symbol.asyncIterator]().next()],
    ['rename', () => client.rename('/f', '/g')],
    ['unlink', () => client.unlink('/f')],
    ['statFile', () => file.stat()],
    ['extend', () => file.write(SIZE, bytes(1))],
    ['truncate', () => file.truncate(0)],
    ['punch', () => file.punchHole(0, PAGE)]
  ]

  it('a failed request rejects with the class and facts of its error, and no request stays pending', async () => {
    for (const [type, call] of requests()) {
      world.leader.holding.add(type as 'open')
      const failing = failure(call())
      await world.clock.advance(1)
      world.leader.fail(world.leader.last(type as 'open').seq, new QuotaExceededError('requests', 3))
      const error = await failing
      expect(error).toBeInstanceOf(QuotaExceededError)
      expect(error).toMatchObject({ code: 'ERR_QUOTA', quota: 'requests', limit: 3 })
      expectNothingLeft()
    }
    expect([...world.cluster.mapped]).toEqual([Number(file.id)])
  })

  it('an error with a code unknown to this version rejects with RemoteError and that code', async () => {
    for (const [type, call] of requests()) {
      world.leader.holding.add(type as 'open')
      const failing = failure(call())
      await world.clock.advance(1)
      const { seq } = world.leader.last(type as 'open')
      world.leader.send({ type: 'failed', seq, error: { code: 'ERR_OF_TOMORROW', facts: ['x'] } })
      expect(await failing).toMatchObject({ name: 'RemoteError', code: 'ERR_OF_TOMORROW' })
      expectNothingLeft()
    }
  })

  it('an answer of the wrong type rejects with UnavailableError and names the type', async () => {
    for (const [type, call] of requests().slice(0, 3)) {
      world.leader.holding.add(type as 'open')
      const failing = failure(call())
      await world.clock.advance(1)
      world.leader.send({ type: 'done', seq: world.leader.last(type as 'open').seq })
      expect(await failing).toMatchObject({
        name: 'UnavailableError',
        reason: `the leader answered ${type} with done`
      })
      expectNothingLeft()
    }
  })
})

it('every error of a public call is a QuireError with a code', async () => {
  for (const error of [
    await failure(client.open('x')),
    await failure(file.read(-1, 1)),
    await failure(mapping.read(3 * PAGE, 1)),
    await failure(reading.write(0, bytes(1)))
  ]) {
    expect(error).toBeInstanceOf(QuireError)
    expect((error as QuireError).code).toMatch(/^ERR_[A-Z_]+$/)
    expect(error.name).toBe(error.constructor.name)
  }
})
