/** What mappings do at their limits: read-only, at the end of the file, pinned, and after munmap. */
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

describe('a mapping for reading', () => {
  it('refuses writes and pins for writing, and names the file', async () => {
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

  it('reads, pins for reading and syncs', async () => {
    expect(await reading.read(0, 1)).toEqual(bytes(1, 0))
    ;(await reading.pin(0, 1, 'read')).release()
    await reading.msync()
  })
})

describe('the end of the file', () => {
  it('makes a file read shorter, down to nothing', async () => {
    expect(await file.read(SIZE - 2, 10)).toHaveLength(2)
    expect(await file.read(SIZE, 10)).toHaveLength(0)
    expect(await file.read(SIZE * 100, 10)).toHaveLength(0)
    expect(await file.read(0, 0)).toHaveLength(0)
  })

  it('is a PastEndError through a mapping, with the first offset that is not there and the size', async () => {
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

  it('is one through a private mapping as well, which takes no frame for it', async () => {
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

  it('is a false for tryRead and tryWrite, which ask nobody', async () => {
    expect(mapping.tryRead(SIZE, bytes(1))).toBe(false)
    expect(mapping.tryWrite(SIZE, bytes(1))).toBe(false)
    expect(world.leader.received.length).toBe(sentBefore)
  })

  it('counts from the start of the file, whatever the offset of the mapping', async () => {
    const second = await file.mmap({ offset: PAGE, length: PAGE })
    expect(await failure(second.read(SIZE - PAGE, 1))).toMatchObject({ offset: SIZE, size: SIZE })
  })

  it('is where the file has grown to at another client', async () => {
    const stat = world.cluster.files.get('/f')!
    world.cluster.files.set('/f', { ...stat, size: 3 * PAGE })
    expect(await mapping.read(2 * PAGE, 1)).toEqual(bytes(1, 0))
    expect(await file.read(3 * PAGE - 1, 10)).toHaveLength(1)
  })

  it('is moved by a write to the file, not by one of no bytes', async () => {
    await file.write(SIZE * 2, bytes(0))
    expect((await file.stat()).size).toBe(SIZE)
    await file.write(SIZE, bytes(10))
    expect((await file.stat()).size).toBe(SIZE + 10)
    expect(await file.read(SIZE - 1, 3)).toEqual(new Uint8Array([0, 7, 7]))
  })

  it('that the leader names for a page is looked at again; if it stays with it, it is the error', async () => {
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
  it('across a page boundary that cannot be laid out beside a live pin is a PinConflictError', async () => {
    // Page 1 comes first and lies at the beginning of its memory: page 0 does not fit before it.
    const live = await mapping.pin(PAGE, 1, 'read')
    const error = await failure(mapping.pin(PAGE - 1, 2, 'read'))
    expect(error).toBeInstanceOf(PinConflictError)
    expect(error).toMatchObject({ code: 'ERR_PIN_CONFLICT', path: '/f', offset: 0, length: 2 * PAGE })
    live.release()
  })

  it('of a private mapping, for reading, over pages of both kinds is a PinConflictError', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, bytes(1))
    const error = await failure(copy.pin(8, PAGE, 'read'))
    expect(error).toBeInstanceOf(PinConflictError)
    expect(error).toMatchObject({ code: 'ERR_PIN_CONFLICT', path: '/f', offset: 8, length: PAGE })
    expectNothingLeft()
  })

  it('that is larger than the cache is a CacheFullError, also of a private mapping', async () => {
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

  it('of nothing, or for neither reading nor writing, is refused', async () => {
    await refused(() => mapping.pin(0, 0, 'read'), 'length', 0)
    await refused(() => mapping.pin(0, 1, bad('readwrite')), 'access', 'readwrite')
    await refused(() => mapping.pin(0, 1, bad(undefined)), 'access', 'undefined')
  })

  it('is released once, however often it is said', async () => {
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

  it('that somebody waits for says so, and no longer when it is released', async () => {
    const pin = await mapping.pin(0, 1, 'write')
    expect(pin.wanted).toBe(false)
    world.leader.send({ type: 'revoke', term: 1, op: 4, file: Number(file.id), page: 0, after: 0 })
    await world.clock.advance(1)
    expect(pin.wanted).toBe(true)
    pin.release()
    expect(pin.wanted).toBe(false)
    await world.clock.advance(1)
    expect(world.leader.last('ownerAckDirty').op).toBe(4)
  })

  it('of one page too many is a CacheFullError', async () => {
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

  it("outlives its file: its memory is nobody else's until it is released", async () => {
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

describe('after munmap', () => {
  it('every use of the mapping is a ClosedError; another mapping goes on', async () => {
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

  it('every use of a private mapping is a ClosedError, and its copies are gone', async () => {
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

  it('what was written is durable', async () => {
    await mapping.write(0, bytes(1))
    await mapping.munmap()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })

  it('that failed the mapping is still there, and can be unmapped again', async () => {
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
