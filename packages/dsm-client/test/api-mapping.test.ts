/** The limits of mappings: read-only protection, the end of the file, pins, and munmap. */
import {
  CacheFullError,
  ClosedError,
  NoSpaceError,
  PastEndError,
  PinConflictError,
  ReadOnlyMappingError,
  errorToWire
} from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import {
  PAGE,
  SIZE,
  world,
  client,
  file,
  mapping,
  reading,
  sentBefore,
  expectNothingLeft,
  refused,
  at,
  bytes,
  bad,
  setUpClient
} from './support/api.js'
import { failure, view } from './support/client.js'

setUpClient()

describe('a read-only mapping', () => {
  it('a read-only mapping refuses writes and pins for writing, and the error names the file', async () => {
    const copy = await file.mmap({ prot: 'read', flags: 'private', length: PAGE })
    const calls = [reading, copy].flatMap((map) => [
      () => map.write(0, bytes(1)),
      () => map.pin(0, 1, 'write'),
      () => at(() => map.tryWrite(0, bytes(1)))
    ])
    for (const call of calls) {
      const error = await failure(call())
      expect(error).toBeInstanceOf(ReadOnlyMappingError)
      expect(error).toMatchObject({ code: 'ERR_READ_ONLY', path: '/f' })
    }
    expectNothingLeft()
    expect([...view(client).pages]).toEqual([])
  })

  it('a read-only mapping reads, pins for reading and syncs', async () => {
    expect(await reading.read(0, 1)).toEqual(bytes(1, 0))
    ;(await reading.pin(0, 1, 'read')).release()
    await reading.msync()
  })
})

describe('the end of the file', () => {
  it('a read that reaches beyond the end of the file is shorter, down to no bytes', async () => {
    expect(await file.read(SIZE - 2, 10)).toHaveLength(2)
    expect(await file.read(SIZE, 10)).toHaveLength(0)
    expect(await file.read(SIZE * 100, 10)).toHaveLength(0)
    expect(await file.read(0, 0)).toHaveLength(0)
  })

  it('a PastEndError of a mapping states the first offset beyond the end of the file and the size', async () => {
    const calls: [() => Promise<unknown>, number][] = [
      [() => mapping.read(SIZE - 1, 2), SIZE],
      [() => mapping.read(2 * PAGE, 1), 2 * PAGE],
      [() => mapping.readInto(SIZE, bytes(1)), SIZE],
      [() => mapping.write(SIZE - 1, bytes(2)), SIZE],
      [() => mapping.pin(SIZE - 1, 2, 'write'), SIZE],
      [() => mapping.pin(3 * PAGE, 1, 'read'), 3 * PAGE]
    ]
    for (const [call, offset] of calls) {
      const error = await failure(call())
      expect(error).toBeInstanceOf(PastEndError)
      expect(error).toMatchObject({ code: 'ERR_PAST_END', path: '/f', offset, size: SIZE })
    }
    expectNothingLeft()
    expect([...view(client).pages]).toEqual([])
  })

  it('a private mapping beyond the end of the file fails with PastEndError and takes no frame', async () => {
    const copy = await file.mmap({ flags: 'private', length: 4 * PAGE })
    const calls: [() => Promise<unknown>, number][] = [
      [() => copy.read(SIZE - 1, 2), SIZE],
      [() => copy.readInto(2 * PAGE, bytes(1)), 2 * PAGE],
      [() => copy.write(SIZE - 1, bytes(2)), SIZE],
      [() => copy.pin(SIZE, 1, 'write'), SIZE],
      [() => copy.pin(SIZE, 1, 'read'), SIZE]
    ]
    for (const [call, offset] of calls) {
      expect(await failure(call())).toMatchObject({ name: 'PastEndError', path: '/f', offset, size: SIZE })
    }
    expectNothingLeft()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('tryRead and tryWrite beyond the end of the file return false and send nothing', async () => {
    expect(mapping.tryRead(SIZE, bytes(1))).toBe(false)
    expect(mapping.tryWrite(SIZE, bytes(1))).toBe(false)
    expect(world.leader.received.length).toBe(sentBefore)
  })

  it('a PastEndError states its offset from the start of the file, also through a mapping with an offset', async () => {
    const second = await file.mmap({ offset: PAGE, length: PAGE })
    expect(await failure(second.read(SIZE - PAGE, 1))).toMatchObject({ offset: SIZE, size: SIZE })
  })

  it('a client accesses the bytes that another client has added to the file', async () => {
    const stat = world.cluster.files.get('/f')!
    world.cluster.files.set('/f', { ...stat, size: 3 * PAGE })
    expect(await mapping.read(2 * PAGE, 1)).toEqual(bytes(1, 0))
    expect(await file.read(3 * PAGE - 1, 10)).toHaveLength(1)
  })

  it('a file write beyond the end grows the file, and an empty write does not', async () => {
    await file.write(SIZE * 2, bytes(0))
    expect((await file.stat()).size).toBe(SIZE)
    await file.write(SIZE, bytes(10))
    expect((await file.stat()).size).toBe(SIZE + 10)
    expect(await file.read(SIZE - 1, 3)).toEqual(new Uint8Array([0, 7, 7]))
  })

  it('a call retries a fault that the leader answers with PastEndError, and fails if the answer persists', async () => {
    world.leader.holding.add('fault')
    const [first, second] = [failure(mapping.read(0, 1)), failure(mapping.read(1, 1))]
    const error = errorToWire(new PastEndError('/f', 0, 0))
    for (let refusals = 0; refusals < 100; refusals++) {
      await world.clock.advance(1)
      const { req, file: id, page } = world.leader.last('fault')
      world.leader.send({ type: 'faultFailed', term: 1, req, file: id, page, error })
    }
    await world.clock.advance(1)
    expect(await first).toMatchObject({ name: 'PastEndError', size: 0 })
    expect(await second).toMatchObject({ name: 'PastEndError', size: 0 })
    expectNothingLeft()
  })
})

describe('a pin', () => {
  it('a pin of two pages fails with PinConflictError if a live pin prevents a contiguous layout', async () => {
    // Page 1 is pinned first and lies at the beginning of its memory, so page 0 does not fit before it.
    const live = await mapping.pin(PAGE, 1, 'read')
    const error = await failure(mapping.pin(PAGE - 1, 2, 'read'))
    expect(error).toBeInstanceOf(PinConflictError)
    expect(error).toMatchObject({ code: 'ERR_PIN_CONFLICT', path: '/f', offset: 0, length: 2 * PAGE })
    live.release()
  })

  it('a pin for reading over copied and shared pages of a private mapping fails with PinConflictError', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, bytes(1))
    const error = await failure(copy.pin(8, PAGE, 'read'))
    expect(error).toBeInstanceOf(PinConflictError)
    expect(error).toMatchObject({ code: 'ERR_PIN_CONFLICT', path: '/f', offset: 8, length: PAGE })
    expectNothingLeft()
  })

  it('a pin larger than the cache fails with CacheFullError, for shared and private mappings', async () => {
    const large = await client.open('/large', { create: true, size: 20 * PAGE })
    for (const flags of ['shared', 'private'] as const) {
      const map = await large.mmap({ flags })
      const error = await failure(map.pin(0, 17 * PAGE, 'write'))
      expect(error).toBeInstanceOf(CacheFullError)
      expect(error).toMatchObject({
        code: 'ERR_CACHE_FULL',
        cacheBytes: 65_536,
        wantedBytes: 17 * PAGE,
        message: '69632 bytes cannot be pinned in a cache of 65536 bytes: raise cacheBytes'
      })
      expectNothingLeft()
      expect(client.stats().frameBytesUsed).toBe(0)
    }
  })

  it('pin refuses an empty range and an unknown access', async () => {
    await refused(() => mapping.pin(0, 0, 'read'), 'length', 0)
    await refused(() => mapping.pin(0, 1, bad('readwrite')), 'access', 'readwrite')
    await refused(() => mapping.pin(0, 1, bad(undefined)), 'access', 'undefined')
  })

  it('repeated releases of a pin have the effect of a single release', async () => {
    const pin = await mapping.pin(8, 16, 'write')
    const other = await mapping.pin(8, 16, 'read')
    expect(pin.bytes).toHaveLength(16)
    expect(pin.bytes.byteOffset % 8).toBe(0)
    pin.bytes.fill(3)
    pin.release()
    pin.release()
    pin[Symbol.dispose]()
    expect(other.bytes).toEqual(bytes(16, 3))
    other.release()
    expectNothingLeft()
  })

  it('a pin is wanted from the revoke of its page until its release', async () => {
    const pin = await mapping.pin(0, 1, 'write')
    expect(pin.wanted).toBe(false)
    world.leader.send({ type: 'revoke', term: 1, op: 4, file: Number(file.id), page: 0, count: 1, after: 0 })
    await world.clock.advance(1)
    expect(pin.wanted).toBe(true)
    pin.release()
    expect(pin.wanted).toBe(false)
    await world.clock.advance(1)
    expect(world.leader.last('ownerAckDirty').op).toBe(4)
  })

  it.each([
    ['goes at once after pins that leave it as it is', 4, () => {}, true],
    ['goes at once after pins that write the same bytes again', 4, (pinned: Uint8Array) => pinned.fill(7), true],
    ['stays for a moment after pins that change it', 4, (pinned: Uint8Array, i: number) => pinned.fill(i), false],
    ['stays for a moment after pins of more bytes than the client compares', 257, () => {}, false]
  ])('a page that another client wants %s', async (_, length, use, isGone) => {
    await mapping.write(0, bytes(length, 7))
    for (let i = 0; i < 10; i++) {
      using pin = await mapping.pin(0, length, 'write')
      use(pin.bytes, i)
    }
    world.leader.send({ type: 'revoke', term: 1, op: 4, file: Number(file.id), page: 0, count: 1, after: 0 })
    await world.clock.advance(0.1)
    expect(world.leader.of('ownerAckDirty')).toHaveLength(isGone ? 1 : 0)
    await world.clock.advance(10)
    expect(world.leader.of('ownerAckDirty')).toHaveLength(1)
  })

  it('a pin fails with CacheFullError if other pins fill the cache', async () => {
    const large = await client.open('/large', { create: true, size: 20 * PAGE })
    const map = await large.mmap()
    const pins = []
    for (let page = 0; page < 16; page++) pins.push(await map.pin(page * PAGE, 1, 'read'))
    const error = await failure(map.pin(16 * PAGE, 1, 'read'))
    expect(error).toBeInstanceOf(CacheFullError)
    expect(error).toMatchObject({
      code: 'ERR_CACHE_FULL',
      cacheBytes: 65_536,
      message: 'no room for 4096 bytes in the cache (65536 bytes): pins or private copies are in the way'
    })
    expect(await failure(map.read(17 * PAGE, 1))).toBeInstanceOf(CacheFullError)
    for (const pin of pins) pin.release()
    expect(await map.read(17 * PAGE, 1)).toEqual(bytes(1, 0))
    expectNothingLeft()
  })

  it('a pin outlives the close of its file, and its memory is not reused before its release', async () => {
    const pin = await mapping.pin(0, 1, 'write')
    await file.close()
    const reopened = await client.open('/f')
    const fresh = await reopened.mmap({ length: 4 * PAGE })
    pin.bytes.fill(66)
    expect(await fresh.read(0, 1)).toEqual(bytes(1, 0))
    const again = await fresh.pin(0, 1, 'read')
    pin.release()
    expect(again.bytes).toEqual(bytes(1, 0))
    again.release()
    expectNothingLeft()
  })
})

describe('munmap', () => {
  it('every call on an unmapped mapping fails with ClosedError, and other mappings stay usable', async () => {
    await mapping.munmap()
    const calls = [
      () => mapping.read(0, 1),
      () => mapping.readInto(0, bytes(1)),
      () => mapping.write(0, bytes(1)),
      () => mapping.pin(0, 1, 'read'),
      () => mapping.msync(),
      () => at(() => mapping.tryRead(0, bytes(1))),
      () => at(() => mapping.tryWrite(0, bytes(1)))
    ]
    for (const call of calls) {
      const error = await failure(call())
      expect(error).toBeInstanceOf(ClosedError)
      expect(error).toMatchObject({ code: 'ERR_CLOSED', what: 'the mapping of /f' })
    }
    await mapping.munmap()
    await mapping[Symbol.asyncDispose]()
    expect(await reading.read(0, 1)).toEqual(bytes(1, 0))
  })

  it('munmap of a private mapping frees its copies, and every later call on it fails with ClosedError', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, bytes(1))
    const used = client.stats().frameBytesUsed
    await copy.munmap()
    expect(client.stats().frameBytesUsed).toBe(used - PAGE)
    const calls = [
      () => copy.read(0, 1),
      () => copy.readInto(0, bytes(1)),
      () => copy.write(0, bytes(1)),
      () => copy.pin(0, 1, 'write'),
      () => copy.msync(),
      () => at(() => copy.tryRead(0, bytes(1))),
      () => at(() => copy.tryWrite(0, bytes(1)))
    ]
    for (const call of calls) {
      expect(await failure(call())).toMatchObject({ name: 'ClosedError', what: 'the mapping of /f' })
    }
  })

  it('munmap makes the writes of the mapping durable', async () => {
    await mapping.write(0, bytes(1))
    await mapping.munmap()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })

  it('a failed munmap leaves the mapping usable, and a second munmap succeeds', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const unmapping = mapping.munmap()
    const using = failure(mapping.read(0, 1))
    await world.clock.advance(1)
    const { req } = world.leader.last('writeback')
    world.leader.send({ type: 'writebackFailed', term: 1, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(await failure(unmapping)).toMatchObject({ name: 'NoSpaceError' })
    expect(await using).toBeInstanceOf(ClosedError)
    expect(await mapping.read(0, 1)).toEqual(bytes(1))
    world.leader.holding.clear()
    await mapping.munmap()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })
})
