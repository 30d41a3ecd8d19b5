/** Each public call refuses bad arguments. */
import { MAX_FILE_BYTES, PastEndError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { createDsmClient } from '../src/create-client.js'
import type { DsmClientInit, MmapOptions, OpenOptions } from '../src/types.js'
import {
  PAGE,
  world,
  client,
  file,
  mapping,
  refused,
  at,
  bytes,
  bad,
  NO_COUNTS,
  NO_NUMBERS,
  setUpClient
} from './support/api.js'
import { failure, view } from './support/client.js'
import { PEERS, addressOf } from './support/leader.js'

setUpClient()

describe('createDsmClient', () => {
  it.each([
    ['cacheBytes', 65_535],
    ['cacheBytes', Number.NaN],
    ['sessionTtlMs', 499],
    ['sessionTtlMs', 600_001],
    ['sessionTtlMs', 1000.5],
    ['faultTimeoutMs', 0],
    ['faultTimeoutMs', -5]
  ])('createDsmClient rejects %s = %d', async (argument, value) => {
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
  ])('createDsmClient rejects the peer %j before it dials any peer', async (peer) => {
    const dialed = world.net.dialed.length
    await refused(() => world.create({ peers: [peer] }), 'peers', peer)
    await refused(() => world.create({ peers: [addressOf(PEERS[0]), peer] }), 'peers', peer)
    if (peer !== '' && !peer.includes(' ')) {
      await refused(() => world.create({ peers: `${addressOf(PEERS[0])},${peer}` }), 'peers', peer)
    }
    expect(world.net.dialed).toHaveLength(dialed)
  })

  it.each([',', ' ', '\n', ', '])('createDsmClient accepts peers in one string, separated by %j', async (between) => {
    const other = await world.until(world.create({ peers: PEERS.map(addressOf).join(between) }))
    expect(other.session.state).toBe('active')
    await world.until(other.close())
  })

  it('createDsmClient rejects an empty list of peers, and addresses without a usable peer ID', async () => {
    await refused(() => world.create({ peers: [] }), 'peers', '')
    const shared = addressOf(PEERS[0]).replace(PEERS[0], PEERS[1])
    await refused(() => world.create({ peers: [addressOf(PEERS[0]), shared] }), 'peers', shared)
    await refused(() => world.create({ peers: bad(undefined) }), 'peers', 'undefined')
    await refused(() => world.create({ peers: '/ip4/1.2.3.4/tcp/1' }), 'peers', '/ip4/1.2.3.4/tcp/1')
    await refused(() => world.create({ peers: ' ' }), 'peers', ' ')
  })

  it.each(NO_NUMBERS)('createDsmClient rejects %s as a peer and as the history callback', async (value, named) => {
    if (typeof value !== 'string') await refused(() => world.create({ peers: [bad(value)] }), 'peers', named)
    await refused(() => world.create({ history: bad(value) }), 'history', named)
  })

  it('createDsmClient checks its argument before it creates a network node', async () => {
    for (const init of [undefined, null, 'peers']) {
      await refused(() => createDsmClient(bad(init)), 'createDsmClient', init === 'peers' ? init : String(init))
    }
    await refused(() => createDsmClient({ peers: [], cacheBytes: 1 }), 'peers', '')
    const peers = [addressOf(PEERS[0])]
    await refused(() => createDsmClient({ peers, privateKey: bad('key') }), 'privateKey', 'key')
    await refused(() => createDsmClient({ peers, logger: bad({}) }), 'logger', 'Object')
  })

  it('createDsmClient over TCP rejects with ECONNREFUSED if no peer listens', async () => {
    const peer = addressOf(PEERS[0]).replace(/^.*tcp\/4001/, '/ip4/127.0.0.1/tcp/1')
    const error = await failure(createDsmClient({ peers: [peer], faultTimeoutMs: 200 }))
    expect(error).toMatchObject({ name: 'UnavailableError', code: 'ERR_UNAVAILABLE' })
    expect(error.message).toMatch(/ECONNREFUSED.*\(waited 200 ms\)$/)
  })
})

describe('offsets and lengths', () => {
  it.each(NO_COUNTS)('every call refuses %d as an offset or length', async (value) => {
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

  it.each(NO_NUMBERS)('every call refuses the non-number %s as an offset or length', async (value, named) => {
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

  it('every call refuses a range that reaches beyond the largest file', async () => {
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

  it('a mapping refuses ranges beyond its end, and the error states the requested end', async () => {
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

  it('a read refuses a length that no memory can hold', async () => {
    const size = 2 ** 50
    const huge = await client.open('/huge', { create: true, size })
    const map = await huge.mmap()
    for (const call of [() => huge.read(0, size), () => map.read(0, size)]) {
      expect(await failure(call())).toMatchObject({ name: 'InvalidArgumentError', argument: 'length', value: size })
    }
  })
})

describe('byte arguments', () => {
  it.each<[string, unknown, unknown]>([
    ['a list of numbers', [1, 2], 'Array'],
    ['a string', 'ab', 'ab'],
    ['an ArrayBuffer', new ArrayBuffer(2), 'ArrayBuffer'],
    ['another view', new Uint16Array(2), 'Uint16Array'],
    ['nothing', undefined, 'undefined']
  ])('every call refuses %s in place of bytes before it touches a page', async (_what, value, named) => {
    await refused(() => file.write(0, bad(value)), 'bytes', named)
    await refused(() => mapping.write(0, bad(value)), 'bytes', named)
    await refused(() => mapping.readInto(0, bad(value)), 'target', named)
    await refused(() => at(() => mapping.tryRead(0, bad(value))), 'target', named)
    await refused(() => at(() => mapping.tryWrite(0, bad(value))), 'bytes', named)
    expect([...view(client).pages]).toEqual([])
  })

  it('reads and writes accept a Buffer', async () => {
    await file.write(0, Buffer.from('abc'))
    const target = Buffer.alloc(3)
    await mapping.readInto(0, target)
    expect(target.toString()).toBe('abc')
  })
})

describe('mmap', () => {
  it.each([1, 2048, 4095, 4097])('mmap refuses the offset %d, which lies inside a page', async (offset) => {
    await refused(() => file.mmap({ offset, length: 1 }), 'offset', offset)
  })

  it.each(['write', 'none', null])('mmap refuses the protection %j', async (prot) => {
    await refused(() => file.mmap({ prot: bad(prot) }), 'prot', prot ?? 'null')
  })

  it('mmap refuses an empty mapping', async () => {
    await refused(() => file.mmap({ length: 0 }), 'length', 0)
    const empty = await client.open('/empty', { create: true })
    expect(await failure(empty.mmap())).toMatchObject({ name: 'InvalidArgumentError', argument: 'length', value: 0 })
  })

  it('a mapping may reach beyond the end of the file, and gives access once the file has grown', async () => {
    await expect(mapping.read(PAGE, PAGE)).rejects.toBeInstanceOf(PastEndError)
    await file.write(2 * PAGE, bytes(1))
    expect(await mapping.read(PAGE, PAGE)).toHaveLength(PAGE)
  })
})

describe('unknown options', () => {
  it('a call refuses an unknown option instead of ignoring it', async () => {
    const locked: MmapOptions & { locked: boolean } = { locked: true }
    await refused(() => file.mmap(locked), 'mmap: locked', 'true')
    const sparse: OpenOptions & { sparse: boolean } = { sparse: true }
    await refused(() => client.open('/f', sparse), 'open: sparse', 'true')
    const small: Partial<DsmClientInit> & { cachebytes: number } = { cachebytes: 65_536 }
    await refused(() => world.create(small), 'createDsmClient: cachebytes', 65_536)
  })
})
