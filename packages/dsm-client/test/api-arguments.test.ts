/** What each call does with bad arguments. */
import { MAX_FILE_BYTES, PastEndError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { createDsmClient } from '../src/api/create-client.js'
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
