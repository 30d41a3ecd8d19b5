/** What the public functions do with bad input, at the end of files, after a close, and when a signal aborts. */
import {
  BusyError,
  CacheFullError,
  ClosedError,
  CorruptionError,
  InvalidArgumentError,
  MAX_FILE_BYTES,
  MAX_PATH_BYTES,
  NoSpaceError,
  NoSuchFileError,
  PastEndError,
  PinConflictError,
  QuireError,
  QuotaExceededError,
  ReadOnlyMappingError,
  errorToWire
} from '@quire/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDsmClient } from '../src/api/create-client.js'
import type { DsmClient, DsmClientInit, DsmFile, Mapping, MmapOptions, OpenOptions } from '../src/types.js'
import { World, failure, outcome, view } from './support/client.js'
import { PEERS, addressOf } from './support/leader.js'

const PAGE = 4096
/** A page and a bit. */
const SIZE = 5000

let world: World
let client: DsmClient
let file: DsmFile
let mapping: Mapping
let reading: Mapping
/** Timers of a client that does nothing. */
let idleTimers: number
let sentBefore: number

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

/** Nothing waits, nothing is pinned, no timer runs. */
function expectNothingLeft(): void {
  // What has arrived is acknowledged a moment later.
  world.clock.fire(20)
  expect(world.clock.pending).toBe(idleTimers)
  expect(view(client).pendingRequests).toBe(0)
  for (const page of view(client).pages) {
    expect(page.waiters).toEqual([])
    expect([page.pinned, page.queuedForFault]).toEqual([false, false])
  }
}

/** The error, which must be of the class and name the value; nothing was sent for it, and nothing is left of it. */
async function refused(call: () => Promise<unknown>, argument: string, value: unknown): Promise<void> {
  const error = await failure(call())
  expect(error).toBeInstanceOf(InvalidArgumentError)
  expect(error).toMatchObject({ name: 'InvalidArgumentError', code: 'ERR_INVALID_ARGUMENT', argument, value })
  expect(error.message).toContain(argument)
  expect(world.leader.received.length).toBe(sentBefore)
  expectNothingLeft()
}

/** A call that throws, or gives its result, at once. */
const at = async (call: () => unknown): Promise<unknown> => call()
const bytes = (length: number, value = 7) => new Uint8Array(length).fill(value)
const bad = (value: unknown) => value as never

const NO_COUNTS = [-1, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 53]
const NO_NUMBERS: [unknown, unknown][] = [
  ['1', '1'],
  [1n, '1'],
  [null, 'null'],
  [{}, 'Object']
]

describe('createDsmClient', () => {
  it.each([
    ['cacheBytes', 65_535],
    ['cacheBytes', Number.NaN],
    ['sessionTtlMs', 499],
    ['sessionTtlMs', 600_001],
    ['sessionTtlMs', 1000.5],
    ['faultTimeoutMs', 0],
    ['faultTimeoutMs', -5]
  ])('rejects %s %d', async (argument, value) => {
    await refused(() => world.create({ [argument]: value }), argument, value)
  })

  it.each([
    '',
    'nonsense',
    '/ip4/127.0.0.1/tcp/4001',
    `/p2p/${PEERS[0]}`,
    '/ip4/127.0.0.1/tcp/4001/p2p/xyz',
    `/ip4/0.0.0.0/tcp/4001/p2p/${PEERS[0]}`,
    `/ip6/::/tcp/4001/p2p/${PEERS[0]}`,
    `/ip4/127.0.0.1/tcp/0/p2p/${PEERS[0]}`,
    `/ip4/127.0.0.1/udp/4001/quic-v1/p2p/${PEERS[0]}`,
    `/ip4/127.0.0.1/tcp/4001/ws/p2p/${PEERS[0]}`,
    `${addressOf(PEERS[0])} ${addressOf(PEERS[1])}`
  ])('rejects the peer %j at once, before it dials another', async (peer) => {
    const dialed = world.net.dialed.length
    await refused(() => world.create({ peers: [peer] }), 'peers', peer)
    await refused(() => world.create({ peers: [addressOf(PEERS[0]), peer] }), 'peers', peer)
    if (peer !== '' && !peer.includes(' ')) {
      await refused(() => world.create({ peers: `${addressOf(PEERS[0])},${peer}` }), 'peers', peer)
    }
    expect(world.net.dialed).toHaveLength(dialed)
  })

  it.each([',', ' ', '\n', ', '])('takes peers in one text, separated by %j', async (between) => {
    const other = await world.until(world.create({ peers: PEERS.map(addressOf).join(between) }))
    expect(other.session.state).toBe('active')
    await world.until(other.close())
  })

  it('rejects when no peer is given', async () => {
    await refused(() => world.create({ peers: [] }), 'peers', '')
    const shared = addressOf(PEERS[0]).replace(PEERS[0], PEERS[1])
    await refused(() => world.create({ peers: [addressOf(PEERS[0]), shared] }), 'peers', shared)
    await refused(() => world.create({ peers: bad(undefined) }), 'peers', 'undefined')
    await refused(() => world.create({ peers: '/ip4/1.2.3.4/tcp/1' }), 'peers', '/ip4/1.2.3.4/tcp/1')
    await refused(() => world.create({ peers: ' ' }), 'peers', ' ')
  })

  it.each(NO_NUMBERS)('rejects a peer that is no text, and a history that is no function: %s', async (value, named) => {
    if (typeof value !== 'string') await refused(() => world.create({ peers: [bad(value)] }), 'peers', named)
    await refused(() => world.create({ history: bad(value) }), 'history', named)
  })

  it('rejects what is no object before it makes a network', async () => {
    for (const init of [undefined, null, 'peers']) {
      await refused(() => createDsmClient(bad(init)), 'createDsmClient', init === 'peers' ? init : String(init))
    }
    await refused(() => createDsmClient({ peers: [], cacheBytes: 1 }), 'peers', '')
    const peers = [addressOf(PEERS[0])]
    await refused(() => createDsmClient({ peers, privateKey: bad('key') }), 'privateKey', 'key')
    await refused(() => createDsmClient({ peers, logger: bad({}) }), 'logger', 'Object')
  })

  it('over real connections rejects when nobody is there, with the reason, and keeps nothing that could run on', async () => {
    const peer = addressOf(PEERS[0]).replace(/^.*tcp\/4001/, '/ip4/127.0.0.1/tcp/1')
    const error = await failure(createDsmClient({ peers: [peer], faultTimeoutMs: 200 }))
    expect(error).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
    expect(error.message).toMatch(/ECONNREFUSED.*\(waited 200 ms\)$/)
  })
})

describe('paths', () => {
  const long = `/${'x'.repeat(MAX_PATH_BYTES)}`
  const wide = `/${'é'.repeat(MAX_PATH_BYTES / 2)}`
  const paths = [
    '',
    'f',
    'a/b',
    '//',
    '/a//b',
    '/a/',
    '/',
    '/.',
    '/a/..',
    '/../a',
    '/a\0b',
    '/\ud800',
    '/e\u0301',
    long,
    wide
  ]

  it.each(paths)('%j is refused by open and stat', async (path) => {
    await refused(() => client.open(path, { create: true }), 'path', path.slice(0, 256))
    await refused(() => client.stat(path), 'path', path.slice(0, 256))
  })

  it.each(paths)('%j is refused by rename, on either side, and by unlink', async (path) => {
    await refused(() => client.rename(path, '/g'), 'path', path.slice(0, 256))
    await refused(() => client.rename('/f', path), 'path', path.slice(0, 256))
    await refused(() => client.unlink(path), 'path', path.slice(0, 256))
  })

  it('that are no strings are refused', async () => {
    await refused(() => client.open(bad(undefined)), 'path', 'undefined')
    await refused(() => client.stat(bad(5)), 'path', 5)
    await refused(() => client.rename('/f', bad(null)), 'path', 'null')
    await refused(() => client.unlink(bad({})), 'path', 'Object')
    await refused(() => list(bad(['/'])), 'prefix', 'Array')
  })

  it('of the greatest length, with parts of dots, are taken', async () => {
    for (const path of [long.slice(0, MAX_PATH_BYTES), '/...', '/.a/b..', '/é']) {
      expect((await client.open(path, { create: true })).path).toBe(path)
    }
  })

  it.each(['a', long, '/\udc00', '/cafe\u0301', '/\u212b', '/a\0', '//', '/a//', '/../a', '/./'])(
    '%j can begin no path, and list refuses it',
    async (prefix) => {
      await refused(() => list(prefix), 'prefix', prefix.slice(0, 256))
    }
  )

  it('may be listed by any beginning', async () => {
    await client.open('/dir/a', { create: true })
    for (const prefix of ['/dir/', '/di', '/dir/a']) expect(await list(prefix)).toEqual(['/dir/a'])
    for (const prefix of ['/.', '/..', '/dir/.', '/caf\u00e9']) expect(await list(prefix)).toEqual([])
    for (const prefix of ['', '/', undefined]) expect(await list(prefix)).toEqual(['/dir/a', '/f'])
  })

  async function list(prefix?: string): Promise<string[]> {
    const found: string[] = []
    for await (const { path } of client.list(prefix)) found.push(path)
    return found
  }
})

describe('open', () => {
  it.each([0, 1, 2048, 4095, 5000, 131_072, -4096, Number.NaN, 4096 + 1e-12, 65_536 - 1e-11])(
    'refuses pages of %d bytes',
    async (pageSize) => {
      await refused(() => client.open('/g', { create: true, pageSize }), 'pageSize', pageSize)
    }
  )

  it.each([['4096', '4096'], [4096n, '4096'], ...NO_NUMBERS.slice(2)])(
    'refuses a page size that is no number (%s), and the session goes on over a new connection',
    async (pageSize, named) => {
      await refused(() => client.open('/g', { create: true, pageSize: bad(pageSize) }), 'pageSize', named)
      world.leader.cut()
      expect((await world.until(client.stat('/f'))).path).toBe('/f')
    }
  )

  it('refuses a unit that there is not', async () => {
    await refused(() => client.open('/g', { create: true, unit: bad('line') }), 'unit', 'line')
  })

  it.each([...NO_COUNTS, MAX_FILE_BYTES + 1])('refuses a size of %d', async (size) => {
    await refused(() => client.open('/g', { create: true, size }), 'size', size)
  })

  it.each<[string, OpenOptions, object]>([
    ['/missing', {}, { name: 'NoSuchFileError', path: '/missing' }],
    ['/f', { create: true, exclusive: true }, { name: 'FileExistsError', path: '/f' }],
    ['/f', { pageSize: 8192 }, { name: 'InvalidArgumentError', argument: 'pageSize', value: 8192 }]
  ])('of %s with %j rejects with what the cluster says', async (path, options, expected) => {
    expect(await failure(client.open(path, options))).toMatchObject(expected)
    expectNothingLeft()
  })

  it('stat of a file that is not there says so', async () => {
    expect(await failure(client.stat('/missing'))).toMatchObject({ name: 'NoSuchFileError', path: '/missing' })
  })

  it.each<[string, () => Promise<unknown>]>([
    ['rename', () => client.rename('/missing', '/g')],
    ['unlink', () => client.unlink('/missing')]
  ])('%s of a file that is not there says so', async (type, call) => {
    const failing = failure(call())
    await world.clock.advance(1)
    world.leader.fail(world.leader.last(type as 'rename').seq, new NoSuchFileError('/missing'))
    const error = await failing
    expect(error).toBeInstanceOf(NoSuchFileError)
    expect(error).toMatchObject({ code: 'ERR_NO_ENTRY', path: '/missing' })
    expectNothingLeft()
  })
})

describe('offsets and lengths', () => {
  it.each(NO_COUNTS)('of %d are refused everywhere', async (value) => {
    await refused(() => file.read(value, 1), 'offset', value)
    await refused(() => file.read(0, value), 'length', value)
    await refused(() => file.write(value, bytes(1)), 'offset', value)
    await refused(() => file.mmap({ offset: value }), 'offset', value)
    await refused(() => file.mmap({ length: value }), 'length', value)
    await refused(() => mapping.read(value, 1), 'offset', value)
    await refused(() => mapping.read(0, value), 'length', value)
    await refused(() => mapping.readInto(value, bytes(1)), 'offset', value)
    await refused(() => mapping.write(value, bytes(1)), 'offset', value)
    await refused(() => mapping.pin(value, 1, 'read'), 'offset', value)
    await refused(() => mapping.pin(0, value, 'read'), 'length', value)
    await refused(() => mapping.msync(value, 1), 'offset', value)
    await refused(() => mapping.msync(0, value), 'length', value)
    await refused(() => file.truncate(value), 'size', value)
    await refused(() => file.punchHole(value, 1), 'offset', value)
    await refused(() => file.punchHole(0, value), 'length', value)
    await refused(() => at(() => mapping.tryRead(value, bytes(1))), 'offset', value)
    await refused(() => at(() => mapping.tryWrite(value, bytes(1))), 'offset', value)
    await refused(() => at(() => file.addressSpace.unmapMappingRange(value, 1)), 'start', value)
    await refused(() => at(() => file.addressSpace.unmapMappingRange(0, value)), 'length', value)
    await refused(() => file.addressSpace.writeMappingRange(value, 1), 'start', value)
    await refused(() => file.addressSpace.writeMappingRange(0, value), 'length', value)
    await refused(() => file.addressSpace.evictMappingRange(value, 1), 'start', value)
    await refused(() => file.addressSpace.evictMappingRange(0, value), 'length', value)
  })

  it.each(NO_NUMBERS)('that are no numbers (%s) are refused', async (value, named) => {
    await refused(() => file.read(bad(value), 1), 'offset', named)
    await refused(() => file.write(bad(value), bytes(1)), 'offset', named)
    await refused(() => file.truncate(bad(value)), 'size', named)
    await refused(() => file.punchHole(bad(value), 1), 'offset', named)
    await refused(() => file.mmap({ offset: bad(value) }), 'offset', named)
    await refused(() => file.mmap({ length: bad(value) }), 'length', named)
    await refused(() => client.open('/g', { create: true, size: bad(value) }), 'size', named)
    await refused(() => mapping.read(0, bad(value)), 'length', named)
    await refused(() => mapping.readInto(bad(value), bytes(1)), 'offset', named)
    await refused(() => mapping.write(bad(value), bytes(1)), 'offset', named)
    await refused(() => mapping.pin(bad(value), 1, 'read'), 'offset', named)
    await refused(() => mapping.msync(bad(value)), 'offset', named)
    await refused(() => mapping.msync(0, bad(value)), 'length', named)
    await refused(() => at(() => mapping.tryRead(bad(value), bytes(1))), 'offset', named)
    await refused(() => at(() => mapping.tryWrite(bad(value), bytes(1))), 'offset', named)
    await refused(() => file.addressSpace.evictMappingRange(bad(value), 1), 'start', named)
  })

  it('that reach beyond the largest file are refused', async () => {
    await refused(() => file.read(1, MAX_FILE_BYTES), 'length', MAX_FILE_BYTES)
    await refused(() => file.read(MAX_FILE_BYTES, 1), 'length', 1)
    await refused(() => file.write(MAX_FILE_BYTES - 1, bytes(2)), 'length', 2)
    await refused(() => file.mmap({ offset: PAGE, length: MAX_FILE_BYTES }), 'length', MAX_FILE_BYTES)
    await refused(() => file.mmap({ offset: MAX_FILE_BYTES, length: PAGE }), 'length', PAGE)
    await refused(() => file.truncate(MAX_FILE_BYTES + 1), 'size', MAX_FILE_BYTES + 1)
    await refused(() => file.punchHole(1, MAX_FILE_BYTES), 'length', MAX_FILE_BYTES)
    const { addressSpace } = file
    const max = Number.MAX_SAFE_INTEGER
    await refused(() => at(() => addressSpace.unmapMappingRange(max, 2)), 'length', 2)
    await refused(() => addressSpace.writeMappingRange(max, 2), 'length', 2)
    await refused(() => addressSpace.evictMappingRange(2, max), 'length', max)
  })

  it('that reach beyond the mapping are refused, each with the end that was asked for', async () => {
    const argument = 'offset + length'
    const end = 4 * PAGE
    await refused(() => mapping.read(end, 1), argument, end + 1)
    await refused(() => mapping.read(0, end + 1), argument, end + 1)
    await refused(() => mapping.readInto(end - 1, bytes(2)), argument, end + 1)
    await refused(() => mapping.write(end - 1, bytes(2)), argument, end + 1)
    await refused(() => mapping.pin(end, 1, 'read'), argument, end + 1)
    await refused(() => mapping.read(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), argument, 2 ** 54 - 2)
    await refused(() => at(() => mapping.tryRead(end, bytes(1))), argument, end + 1)
    await refused(() => at(() => mapping.tryWrite(end - 1, bytes(2))), argument, end + 1)
    await refused(() => mapping.msync(end + 1), 'offset', end + 1)
    await refused(() => mapping.msync(PAGE, end), 'length', end)
  })

  it('that no memory could hold are refused', async () => {
    const size = 2 ** 50
    const huge = await client.open('/huge', { create: true, size })
    const map = await huge.mmap()
    for (const call of [() => huge.read(0, size), () => map.read(0, size)]) {
      expect(await failure(call())).toMatchObject({ name: 'InvalidArgumentError', argument: 'length', value: size })
    }
  })
})

describe('bytes', () => {
  it.each<[string, unknown, unknown]>([
    ['a list of numbers', [1, 2], 'Array'],
    ['a string', 'ab', 'ab'],
    ['an ArrayBuffer', new ArrayBuffer(2), 'ArrayBuffer'],
    ['another view', new Uint16Array(2), 'Uint16Array'],
    ['nothing', undefined, 'undefined']
  ])('that are %s are refused before anything is touched', async (_what, value, named) => {
    await refused(() => file.write(0, bad(value)), 'bytes', named)
    await refused(() => mapping.write(0, bad(value)), 'bytes', named)
    await refused(() => mapping.readInto(0, bad(value)), 'target', named)
    await refused(() => at(() => mapping.tryRead(0, bad(value))), 'target', named)
    await refused(() => at(() => mapping.tryWrite(0, bad(value))), 'bytes', named)
    expect([...view(client).pages]).toEqual([])
  })

  it('may be a Buffer', async () => {
    await file.write(0, Buffer.from('abc'))
    const target = Buffer.alloc(3)
    await mapping.readInto(0, target)
    expect(target.toString()).toBe('abc')
  })
})

describe('mmap', () => {
  it.each([1, 2048, 4095, 4097])('refuses the offset %d, which is inside a page', async (offset) => {
    await refused(() => file.mmap({ offset, length: 1 }), 'offset', offset)
  })

  it.each(['write', 'none', undefined, null])('refuses the protection %j', async (prot) => {
    if (prot === undefined) return
    await refused(() => file.mmap({ prot: bad(prot) }), 'prot', prot ?? 'null')
  })

  it('refuses a mapping of nothing', async () => {
    await refused(() => file.mmap({ length: 0 }), 'length', 0)
    const empty = await client.open('/empty', { create: true })
    expect(await failure(empty.mmap())).toMatchObject({ name: 'InvalidArgumentError', argument: 'length', value: 0 })
  })

  it('may reach beyond the end, up to what the file grows to', async () => {
    await expect(mapping.read(PAGE, PAGE)).rejects.toBeInstanceOf(PastEndError)
    await file.write(2 * PAGE, bytes(1))
    expect(await mapping.read(PAGE, PAGE)).toHaveLength(PAGE)
  })
})

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
    file = await client.open('/f')
    const fresh = await file.mmap({ length: 4 * PAGE })
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

describe('after close', () => {
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

  it('of the file every use of it is a ClosedError', async () => {
    await file.close()
    for (const [, call] of [...uses(), ['mapping', () => reading.read(0, 1)] as const]) {
      expect(await failure(call())).toMatchObject({ name: 'ClosedError', what: '/f' })
    }
    await file.close()
    await file[Symbol.asyncDispose]()
    expect(world.cluster.mapped.size).toBe(0)
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('of one handle another goes on, and the file is given up with the last', async () => {
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
    'of the handle a mapping that was being made (%s) is not: nobody would unmap it',
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

  it('of the client every use of anything is a ClosedError', async () => {
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

  it('a file waits no more: what waited fails', async () => {
    world.leader.holding.add('fault')
    const waiting = failure(mapping.write(0, bytes(1)))
    await world.clock.advance(1)
    await file.close()
    expect(await waiting).toMatchObject({ name: 'ClosedError', what: '/f' })
    expectNothingLeft()
  })

  it('no write resolves whose bytes the flush could have missed', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('fault')
    world.leader.holding.add('writeback')
    const late = outcome(mapping.write(PAGE, bytes(1)))
    const closing = file.close()
    await world.clock.advance(1)
    // The grant that the write waited for comes while the file is being flushed.
    world.leader.release('fault')
    await world.clock.advance(1)
    expect(await late).toMatchObject({ name: 'ClosedError' })
    world.leader.release('writeback')
    await world.until(closing)
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })

  it('that failed the file is still open, and can be closed again', async () => {
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

describe('a signal', () => {
  const reason = new Error('changed my mind')

  it('that has aborted before the call rejects it with its reason, and nothing happens', async () => {
    const signal = AbortSignal.abort(reason)
    const calls = [
      () => client.open('/new', { create: true, signal }),
      () => client.stat('/f', { signal }),
      () => client.list('/', { signal })[Symbol.asyncIterator]().next(),
      () => client.rename('/f', '/g', { signal }),
      () => client.unlink('/f', { signal }),
      () => file.truncate(0, { signal }),
      () => file.punchHole(0, PAGE, { signal }),
      () => file.punchHole(1, 1, { signal }),
      () => file.punchHole(0, 0, { signal }),
      () => file.addressSpace.writeMappingRange(0, 0, { signal }),
      () => file.addressSpace.evictMappingRange(0, 0, { signal }),
      () => file.stat({ signal }),
      () => file.read(0, 1, { signal }),
      () => file.read(0, 0, { signal }),
      () => file.write(0, bytes(1), { signal }),
      () => file.write(0, bytes(0), { signal }),
      () => file.sync({ signal }),
      () => file.mmap({ signal }),
      () => file.mmap({ length: 1, signal }),
      () => mapping.read(0, 1, { signal }),
      () => mapping.read(0, 0, { signal }),
      () => mapping.readInto(0, bytes(1), { signal }),
      () => mapping.write(0, bytes(1), { signal }),
      () => mapping.pin(0, 1, 'write', { signal }),
      () => mapping.msync(0, 1, { signal }),
      () => mapping.msync(0, 0, { signal }),
      () => mapping.munmap({ signal }),
      () => file.close({ signal }),
      () => client.close({ signal })
    ]
    for (const call of calls) expect(await failure(call())).toBe(reason)
    await world.clock.advance(1)
    expect(world.leader.received.length).toBe(sentBefore)
    expect(world.cluster.files.has('/new')).toBe(false)
    expectNothingLeft()
    expect(await mapping.read(0, 1)).toEqual(bytes(1, 0))
  })

  it('that has aborted before the call rejects it also where a private mapping has all that it needs', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, bytes(1))
    const signal = AbortSignal.abort(reason)
    const calls = [
      () => copy.read(0, 1, { signal }),
      () => copy.readInto(0, bytes(1), { signal }),
      () => copy.write(0, bytes(1, 8), { signal }),
      () => copy.pin(0, 1, 'read', { signal }),
      () => copy.pin(0, 1, 'write', { signal }),
      () => copy.msync(0, 1, { signal }),
      () => copy.munmap({ signal })
    ]
    for (const call of calls) expect(await failure(call())).toBe(reason)
    expect(await copy.read(0, 1)).toEqual(bytes(1))
    expectNothingLeft()
  })

  it('that has aborted before the client is closed leaves it open, and no byte is lost', async () => {
    await mapping.write(0, bytes(1))
    expect(await failure(client.close({ signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(await mapping.read(0, 1)).toEqual(bytes(1))
    await client.close()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
    expect(world.cluster.sessions.size).toBe(0)
  })

  it.each<[string, unknown]>([
    ['AbortController', new AbortController()],
    ['Object', {}],
    ['null', null]
  ])('that is none (%s) is refused before anything waits', async (named, value) => {
    const signal = bad(value)
    world.leader.holding.add('fault')
    await refused(() => client.stat('/f', { signal }), 'signal', named)
    await refused(() => client.open('/f', { signal }), 'signal', named)
    await refused(() => file.read(0, 1, { signal }), 'signal', named)
    await refused(() => file.truncate(0, { signal }), 'signal', named)
    await refused(() => mapping.read(0, 1, { signal }), 'signal', named)
    await refused(() => mapping.pin(0, 1, 'read', { signal }), 'signal', named)
    await refused(() => mapping.msync(0, 1, { signal }), 'signal', named)
    await refused(() => file.addressSpace.evictMappingRange(0, 0, { signal }), 'signal', named)
    await refused(() => mapping.munmap({ signal }), 'signal', named)
    await refused(() => file.close({ signal }), 'signal', named)
    await refused(() => client.close({ signal }), 'signal', named)
  })

  it('during the copy of a page for a private mapping gives its frame back; the others go on', async () => {
    const copy = await file.mmap({ flags: 'private' })
    world.leader.holding.add('fault')
    const controller = new AbortController()
    const { signal } = controller
    const gone = [copy.write(0, bytes(1), { signal }), copy.pin(0, PAGE + 1, 'write', { signal })]
    const errors = gone.map((call) => failure(call))
    const staying = [copy.write(1, bytes(1)), mapping.read(0, 1)]
    await world.clock.advance(1)
    controller.abort(reason)
    for (const error of errors) expect(await error).toBe(reason)
    for (const call of staying) expect(await outcome(call)).toBe('waiting')
    world.leader.release('fault')
    await Promise.all(staying)
    expect(await copy.read(0, 2)).toEqual(new Uint8Array([0, 7]))
    await copy.munmap()
    await file.addressSpace.evictMappingRange(0, 0)
    expectNothingLeft()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('during an eviction leaves the pages usable', async () => {
    const pin = await mapping.pin(0, 1, 'write')
    const controller = new AbortController()
    const evicting = failure(file.addressSpace.evictMappingRange(0, 0, { signal: controller.signal }))
    const reading = mapping.read(0, 1)
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await evicting).toBe(reason)
    expect(await world.until(reading)).toEqual(bytes(1, 0))
    pin.release()
    expectNothingLeft()
  })

  it('whose reason is no Error rejects with an AbortError', async () => {
    expect(await failure(file.stat({ signal: AbortSignal.abort('enough') }))).toMatchObject({ name: 'AbortError' })
    expect(await failure(file.stat({ signal: AbortSignal.abort() }))).toMatchObject({ name: 'AbortError' })
  })

  it('during a fault takes one waiter away; the others go on', async () => {
    world.leader.holding.add('fault')
    const controller = new AbortController()
    const { signal } = controller
    const gone = [mapping.read(0, 1, { signal }), mapping.pin(0, 1, 'read', { signal }), file.read(0, SIZE, { signal })]
    const staying = [mapping.read(0, 1), file.read(0, 1)]
    const errors = gone.map((call) => failure(call))
    await world.clock.advance(1)
    controller.abort(reason)
    for (const error of errors) expect(await error).toBe(reason)
    for (const call of staying) expect(await outcome(call)).toBe('waiting')
    world.leader.release('fault')
    expect(await Promise.all(staying)).toEqual([bytes(1, 0), bytes(1, 0)])
    expectNothingLeft()
  })

  it('during a fault that nobody else waits for leaves a client that works', async () => {
    world.leader.holding.add('fault')
    for (let round = 0; round < 30; round++) {
      const controller = new AbortController()
      const call = failure(mapping.write((round % 2) * PAGE, bytes(1), { signal: controller.signal }))
      await world.clock.advance(1)
      controller.abort(reason)
      expect(await call).toBe(reason)
    }
    expect(world.leader.of('fault')).toHaveLength(2)
    world.leader.release('fault')
    await world.clock.advance(1)
    await mapping.write(0, bytes(1))
    expect(await mapping.read(0, 1)).toEqual(bytes(1))
    expectNothingLeft()
  })

  it('during a flush leaves it under way', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const controller = new AbortController()
    const call = failure(mapping.msync(0, 1, { signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await call).toBe(reason)
    world.leader.release('writeback')
    await world.clock.advance(1)
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
    expectNothingLeft()
  })

  it('during open gives the file up that the cluster opens all the same', async () => {
    world.leader.holding.add('open')
    const controller = new AbortController()
    const opening = failure(client.open('/g', { create: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await opening).toBe(reason)
    world.leader.release('open')
    await world.clock.advance(1)
    expect(world.cluster.files.has('/g')).toBe(true)
    expect([...world.cluster.mapped]).toEqual([Number(file.id)])
    expectNothingLeft()
  })

  it('during open does not take the file from whoever opens it next', async () => {
    world.leader.holding.add('open')
    const controller = new AbortController()
    const opening = failure(client.open('/g', { create: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    await opening
    const next = client.open('/g', { create: true })
    await world.clock.advance(1)
    world.leader.release('open')
    const other = await next
    await world.clock.advance(1)
    expect(world.cluster.mapped.has(Number(other.id))).toBe(true)
    expect(world.leader.of('close')).toEqual([])
  })

  it('of an open that waits for the close of a file rejects at once, and the file is not opened', async () => {
    world.leader.holding.add('open')
    // It may be of that file, so the close waits for it.
    const first = client.open('/g', { create: true })
    const closing = file.close()
    await world.clock.advance(1)
    const controller = new AbortController()
    const second = failure(client.open('/h', { create: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await second).toBe(reason)
    expect(await outcome(first)).toBe('waiting')
    world.leader.release('open')
    expect((await first).path).toBe('/g')
    await closing
    await world.clock.advance(1)
    expect(world.cluster.files.has('/h')).toBe(false)
  })

  it('in any step between the answer to an open and its promise leaves no handle that nobody has', async () => {
    let givenUp = 0
    for (let steps = 0; steps < 15; steps++) {
      world.leader.holding.add('open')
      const controller = new AbortController()
      const opening = client.open('/g', { create: true, signal: controller.signal })
      await world.clock.advance(1)
      world.leader.release('open')
      for (let step = 0; step < steps; step++) await Promise.resolve()
      controller.abort(reason)
      const opened = await opening.catch((error: unknown) => {
        expect(error).toBe(reason)
        givenUp++
      })
      await opened?.close()
      await world.clock.advance(1)
      expect(world.cluster.mapped.size).toBe(1)
      expect([...view(client).spaces].map(({ path }) => path)).toEqual(['/f'])
    }
    expect(givenUp).toBeGreaterThan(2)
    expect(givenUp).toBeLessThan(15)
  })

  it('of an open whose truncation fails gives the file up, whatever of it cannot be flushed', async () => {
    world.leader.holding.add('truncate')
    const other = await client.open('/g', { create: true, size: PAGE })
    await other.write(0, bytes(1))
    world.leader.refuses = () => true
    const controller = new AbortController()
    const opening = failure(client.open('/g', { truncate: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await opening).toBe(reason)
    world.leader.refuses = () => false
    await world.until(other.close())
    expect(world.cluster.mapped.size).toBe(1)
    expect([...view(client).spaces].map(({ path }) => path)).toEqual(['/f'])
  })

  it('of a close that waits for an open leaves it to be made', async () => {
    world.leader.holding.add('open')
    const opening = client.open('/g', { create: true })
    const controller = new AbortController()
    const closing = failure(file.close({ signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await closing).toBe(reason)
    expect(world.cluster.mapped.size).toBe(1)
    world.leader.release('open')
    const other = await opening
    await file.close()
    expect(world.leader.of('close')).toHaveLength(1)
    expect([...view(client).spaces].map(({ path }) => path)).toEqual(['/g'])
    expect(world.cluster.mapped.size).toBe(1)
    await other.close()
  })

  it('during the close of a file does not keep it open at the cluster', async () => {
    world.leader.holding.add('close')
    const controller = new AbortController()
    const closing = failure(file.close({ signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await closing).toBe(reason)
    // The request got lost with its connection: it is repeated though nobody waits.
    world.leader.holding.clear()
    world.leader.cut()
    await world.clock.advance(100)
    expect(world.cluster.mapped.size).toBe(0)
    expectNothingLeft()
  })

  it('of one who gives something up takes nobody else along who gives it up as well', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const controller = new AbortController()
    const gone = failure(mapping.munmap({ signal: controller.signal }))
    const staying = mapping.munmap()
    staying.catch(() => {})
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await gone).toBe(reason)
    const others = await outcome(staying)
    world.leader.release('writeback')
    await world.clock.advance(1)
    expect(others).toBe('waiting')
    expect(await outcome(staying)).toBe('resolved')
  })

  it('that never aborts keeps no listener of what is over', async () => {
    const { signal } = new AbortController()
    const listeners = new Set<unknown>()
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners.add(args[1])
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners.delete(args[1])
      remove(...args)
    }
    const other = await client.open('/g', { create: true, size: SIZE, signal })
    await other.read(0, SIZE, { signal })
    await other.write(SIZE, bytes(1), { signal })
    const map = await other.mmap({ signal })
    ;(await map.pin(0, 1, 'write', { signal })).release()
    await map.msync(0, 1, { signal })
    await other.close({ signal })
    await world.clock.advance(1)
    expect(listeners.size).toBe(0)
  })
})

describe('a time-out', () => {
  it('of a page that is held elsewhere is a BusyError with path and offset, and leaves nothing behind', async () => {
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

  it('is an UnavailableError when no majority has been heard of meanwhile', async () => {
    world.leader.holding.add('fault')
    world.leader.holding.add('keepAlive')
    const waiting = failure(mapping.read(PAGE, 1))
    await world.clock.advance(5000)
    expect(await waiting).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
  })

  it('of a page that is held elsewhere is a BusyError of every call that needs it, and frees what was taken for it', async () => {
    const copy = await file.mmap({ flags: 'private' })
    idleTimers = world.clock.pending
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

  it('of an eviction that waits for a pin is a BusyError with the first page’s offset', async () => {
    const pin = await mapping.pin(PAGE, 1, 'read')
    const evicting = failure(file.addressSpace.evictMappingRange(PAGE, PAGE))
    await world.clock.advance(5000)
    expect(await evicting).toMatchObject({ name: 'BusyError', code: 'ERR_BUSY', path: '/f', offset: PAGE })
    pin.release()
    expectNothingLeft()
  })

  it('of a call while nobody can be reached is an UnavailableError, whatever the call', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await mapping.write(0, bytes(1))
    for (const peer of world.peers) world.net.down.add(peer.id)
    world.leader.cut()
    // Nothing is here by its lease any more.
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
    // These two would fail the others at once.
    for (const call of [() => mapping.munmap(), () => file.close()]) errors.push(await world.until(failure(call())))
    for (const error of errors) {
      expect(error).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
      expect((error as { reason?: string }).reason).toMatch(/cannot reach .* \(waited 5000 ms\)$/)
    }
    world.net.down.clear()
    expect(await world.until(mapping.read(0, 1))).toEqual(bytes(1))
    await world.clock.advance(1000)
    // They are repeated though nobody waits, as an open is: half of them may have happened.
    for (const type of ['rename', 'unlink'] as const) {
      world.leader.fail(world.leader.last(type).seq, new NoSuchFileError('/f'))
    }
    await world.clock.advance(1)
    expect(view(client).pendingRequests).toBe(0)
  })

  it('of an open gives the file up that the cluster opens after all', async () => {
    world.leader.holding.add('open')
    const opening = failure(client.open('/g', { create: true }))
    await world.clock.advance(5000)
    expect(await opening).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
    world.leader.release('open')
    await world.clock.advance(1)
    expect([...world.cluster.mapped]).toEqual([Number(file.id)])
  })
})

describe('an option that there is not', () => {
  it('is refused, not ignored', async () => {
    const locked: MmapOptions & { locked: boolean } = { locked: true }
    await refused(() => file.mmap(locked), 'mmap: locked', 'true')
    const sparse: OpenOptions & { sparse: boolean } = { sparse: true }
    await refused(() => client.open('/f', sparse), 'open: sparse', 'true')
    const small: Partial<DsmClientInit> & { cachebytes: number } = { cachebytes: 65_536 }
    await refused(() => world.create(small), 'createDsmClient: cachebytes', 65_536)
  })
})

describe('what the leader says of a page', () => {
  const damaged = new CorruptionError('pages.lmdb, file 100', 0, 'checksum of a record does not match')

  it('is the error of every call that waits for it, with its facts, and the next call asks again', async () => {
    const copy = await file.mmap({ flags: 'private' })
    idleTimers = world.clock.pending
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

  it('that cannot be made durable is the error of every flush, and the bytes stay', async () => {
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

describe('what the leader says of a request', () => {
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

  it('is the error of the call, with its facts, and leaves nothing behind', async () => {
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

  it('and this version does not know is a RemoteError with its code', async () => {
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

  it('that is no answer to it is an UnavailableError that names what came', async () => {
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

it('every error that a user sees is a QuireError with a code', async () => {
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
