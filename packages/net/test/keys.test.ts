import { existsSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError } from '@quire/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  KeyFileError,
  createClock,
  createRandom,
  generatePrivateKey,
  loadOrCreatePrivateKey,
  loadPrivateKey,
  parseListenAddress,
  parsePeerAddress,
  parsePeerAddresses,
  refuseSharedPlaces,
  peerIdFromKey,
  privateKeyFromText,
  privateKeyToText,
  savePrivateKey
} from '../src/index.js'
import { cleanup } from './helpers.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-net-'))
  cleanup(() => rm(folder, { recursive: true }))
})

describe('key files', () => {
  it('keep a key, readable by their owner only, and nothing else behind', async () => {
    const path = join(folder, 'key')
    const key = await generatePrivateKey()
    await savePrivateKey(path, key)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(peerIdFromKey(await loadPrivateKey(path))).toBe(peerIdFromKey(key))
    expect(await readdir(folder)).toEqual(['key'])
    expect(peerIdFromKey(privateKeyFromText(privateKeyToText(key)))).toBe(peerIdFromKey(key))
  })

  it('are never overwritten', async () => {
    const path = join(folder, 'key')
    const first = await loadOrCreatePrivateKey(path)
    const error: unknown = await savePrivateKey(path, await generatePrivateKey()).catch((each: unknown) => each)
    expect(error).toBeInstanceOf(KeyFileError)
    expect(error).toMatchObject({ code: 'ERR_KEY_FILE', path, reason: 'the file exists and is not overwritten' })
    expect(peerIdFromKey(await loadOrCreatePrivateKey(path))).toBe(peerIdFromKey(first))
  })

  it('are refused in one line that names the file when they hold anything else', async () => {
    const path = join(folder, 'key')
    for (const content of ['', 'hello', 'aGVsbG8=', '\u0000\u0001', 'x'.repeat(20_000)]) {
      await writeFile(path, content)
      const error: unknown = await loadPrivateKey(path).catch((each: unknown) => each)
      expect(error).toBeInstanceOf(KeyFileError)
      expect((error as Error).message).toMatch(/^.*key: [^\n]+$/)
      await expect(loadOrCreatePrivateKey(path)).rejects.toBeInstanceOf(KeyFileError)
      expect(await readFile(path, 'utf8')).toBe(content)
    }
    const none = {
      name: 'KeyFileError',
      code: 'ERR_KEY_FILE',
      path: join(folder, 'none'),
      reason: 'cannot be read (ENOENT)'
    }
    await expect(loadPrivateKey(join(folder, 'none'))).rejects.toMatchObject(none)
    const nowhere = join(folder, 'no', 'key')
    const unwritten = { name: 'KeyFileError', path: nowhere, reason: 'cannot be written (ENOENT)' }
    await expect(savePrivateKey(nowhere, await generatePrivateKey())).rejects.toMatchObject(unwritten)
    // With its arguments the other way round, no error may show the key.
    const key = await generatePrivateKey()
    const swapped: unknown = await savePrivateKey(key as never, path as never).catch((each: unknown) => each)
    expect(swapped).toMatchObject({ name: 'InvalidArgumentError', argument: 'path', value: 'object' })
  })
})

describe('multiaddrs', () => {
  it.runIf(existsSync('/dev/zero'))('are read no further than a key can be long, and a device has no end', async () => {
    await expect(loadPrivateKey('/dev/zero')).rejects.toMatchObject({
      name: 'KeyFileError',
      reason: 'more than 16384 bytes are no key file'
    })
  })

  it('of peers end in a PeerId', async () => {
    const peerId = peerIdFromKey(await generatePrivateKey())
    const address = `/ip4/127.0.0.1/tcp/4001/p2p/${peerId}`
    expect(parsePeerAddress(address)).toEqual({ peerId, address })
    for (const wrong of ['', '/', 'x', '/ip4/127.0.0.1/tcp/4001', `/p2p/${peerId}`, `${address}x`, '/ip4/1/p2p/2']) {
      expect(() => parsePeerAddress(wrong, 'peers'), wrong).toThrow(InvalidArgumentError)
      expect(() => parsePeerAddress(wrong, 'peers'), wrong).toThrow(`peers is ${JSON.stringify(wrong)}`)
    }
  })

  it('that ends in no PeerId is refused with what stands there', () => {
    for (const id of ['ID1', '', '12D3KooW']) {
      expect(() => parsePeerAddress(`/ip4/192.0.2.1/tcp/4001/p2p/${id}`)).toThrow(
        `must be a multiaddr that ends in /p2p/<PeerId>: ${JSON.stringify(id)} is no PeerId (quire id FILE prints`
      )
    }
  })

  it.each([
    ['/ip4/0.0.0.0/tcp/4001', '0.0.0.0 stands for all addresses of a machine'],
    ['/ip4/0.1.2.3/tcp/4001', 'no machine'],
    ['/ip4/224.0.0.1/tcp/4001', 'multicast'],
    ['/ip4/239.255.0.1/tcp/4001', 'multicast'],
    ['/ip4/255.255.255.255/tcp/4001', 'broadcast'],
    ['/dns4/0.0.0.0/tcp/4001', '0.0.0.0 stands for all addresses of a machine'],
    ['/dns/no host/tcp/4001', '"no host" is no host name'],
    ['/ip6/::/tcp/4001', ':: stands for all addresses of a machine'],
    ['/ip6/0:0:0:0:0:0:0:0/tcp/4001', ':: stands for all addresses of a machine'],
    ['/ip6/::ffff:0.0.0.0/tcp/4001', '0.0.0.0 stands for all addresses of a machine'],
    ['/ip6/ff02::1/tcp/4001', 'multicast'],
    ['/ip6/fe80::1/tcp/4001', 'link-local'],
    ['/ip6zone/eth0/ip6/fe80::1/tcp/4001', 'no transport for /ip6zone'],
    ['/ip4/192.0.2.1/tcp/0', 'port 0'],
    ['/dns4/peer.example/tcp/0', 'port 0'],
    ['/ip4/192.0.2.1', 'then /tcp with a port'],
    ['/tcp/4001', 'then /tcp with a port'],
    ['/dns4/peer.example', 'then /tcp with a port'],
    ['/ip4/192.0.2.1/udp/4001', 'no transport for /udp'],
    ['/ip4/192.0.2.1/udp/4001/quic-v1', 'no transport for /udp'],
    ['/ip4/192.0.2.1/tcp/4001/ws', 'no transport for /ws'],
    ['/ip4/192.0.2.1/tcp/443/wss', 'no transport for /wss'],
    ['/ip4/192.0.2.1/tcp/443/tls/ws', 'no transport for /tls'],
    ['/ip4/192.0.2.1/tcp/80/http', 'no transport for /http'],
    ['/ip4/192.0.2.1/tcp/4001/tcp/4002', 'nothing else'],
    ['/ip4/192.0.2.1/ip4/192.0.2.2/tcp/4001', 'nothing else'],
    ['/dnsaddr/peer.example', 'no transport for /dnsaddr'],
    ['/memory/1', 'no transport for /memory']
  ])('that nobody can dial are refused with the address and its fault: %s', async (address, fault) => {
    const full = `${address}/p2p/${peerIdFromKey(await generatePrivateKey())}`
    expect(() => parsePeerAddress(full, 'peers')).toThrow(InvalidArgumentError)
    expect(() => parsePeerAddress(full, 'peers')).toThrow(
      `peers is ${JSON.stringify(full)}, must be an address that can be dialed: `
    )
    expect(() => parsePeerAddress(full, 'peers')).toThrow(fault)
  })

  it.each([
    ['/ip4/192.0.2.1/tcp/65536', '"65536" is no port'],
    ['/ip4/192.0.2.1/tcp/-1', '"-1" is no port'],
    ['/dns4/peer.example/tcp/http', '"http" is no port'],
    ['/dns4/peer.example/tcp/04001', '"04001" is no port'],
    ['/ip4/192.0.2/tcp/4001', '"192.0.2" is no IPv4 address'],
    ['/ip4/peer.example/tcp/4001', '"peer.example" is no IPv4 address'],
    ['/ip6/192.0.2.1/tcp/4001', '"192.0.2.1" is no IPv6 address']
  ])('that are none are refused with the part that is wrong: %s', async (address, fault) => {
    const full = `${address}/p2p/${peerIdFromKey(await generatePrivateKey())}`
    expect(() => parsePeerAddress(full, 'peers')).toThrow(
      `peers is ${JSON.stringify(full)}, must be a multiaddr: ${fault}`
    )
    expect(() => parseListenAddress(address)).toThrow(fault)
  })

  it.each([
    ['/ip4/192.0.2.1/tcp/1', '/ip6/::ffff:192.0.2.1/tcp/1'],
    ['/ip4/192.0.2.1/tcp/1', '/ip6/::ffff:c000:201/tcp/1'],
    ['/ip4/192.0.2.1/tcp/1', '/dns4/192.0.2.1/tcp/1'],
    ['/ip4/192.0.2.1/tcp/1', '/dns/192.0.2.1./tcp/1'],
    ['/ip6/2001:db8::1/tcp/1', '/ip6/2001:DB8:0:0::1/tcp/1'],
    ['/dns4/peer.example/tcp/1', '/dns/peer.example/tcp/1'],
    ['/dns/peer.example/tcp/1', '/dns6/Peer.Example/tcp/1'],
    ['/dns4/peer.example/tcp/1', '/dns4/peer.example./tcp/1'],
    ['/dns4/m\u00fcnchen.example/tcp/1', '/dns4/xn--mnchen-3ya.example/tcp/1']
  ])('of two peers at one place are refused, also in two spellings: %s and %s', async (one, other) => {
    const [a, b] = [peerIdFromKey(await generatePrivateKey()), peerIdFromKey(await generatePrivateKey())]
    const both = parsePeerAddresses([`${one}/p2p/${a}`, `${other}/p2p/${b}`])
    expect(() => refuseSharedPlaces(both, 'peers')).toThrow(`must be an address of its own: ${a} has the same`)
    expect(() => refuseSharedPlaces(parsePeerAddresses([`${one}/p2p/${a}`, `${other}/p2p/${a}`]))).not.toThrow()
  })

  it.each([
    ['/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.1/tcp/2'],
    ['/ip4/192.0.2.1/tcp/1', '/ip6/::ffff:192.0.2.2/tcp/1'],
    ['/dns4/peer.example/tcp/1', '/dns6/peer.example/tcp/1'],
    ['/dns4/peer.example/tcp/1', '/dns4/peer2.example/tcp/1']
  ])('of two peers at two places are taken: %s and %s', async (one, other) => {
    const [a, b] = [peerIdFromKey(await generatePrivateKey()), peerIdFromKey(await generatePrivateKey())]
    expect(() => refuseSharedPlaces(parsePeerAddresses([`${one}/p2p/${a}`, `${other}/p2p/${b}`]))).not.toThrow()
  })

  it('of a peer behind a relay, and two in one, are refused', async () => {
    const [relay, peerId] = await Promise.all([1, 2].map(async () => peerIdFromKey(await generatePrivateKey())))
    const address = `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peerId}`
    expect(() => parsePeerAddress(address)).toThrow('it leads through a relay')
    const direct = `/ip4/192.0.2.1/tcp/4001/p2p/${relay}`
    expect(() => parsePeerAddress(`${direct};${direct}`)).toThrow('is it two addresses in one?')
  })

  it.each([
    '/ip4/127.0.0.1/tcp/1',
    '/ip4/240.0.0.1/tcp/65535',
    '/ip6/::1/tcp/4001',
    '/ip6/2001:db8::1/tcp/4001',
    '/ip6/::ffff:192.0.2.1/tcp/4001',
    '/dns/localhost/tcp/4001',
    '/dns4/peer-1.example.org/tcp/4001',
    '/dns6/m\u00fcnchen.example/tcp/4001'
  ])('that can be dialed are taken: %s', async (address) => {
    const peerId = peerIdFromKey(await generatePrivateKey())
    expect(parsePeerAddress(`${address}/p2p/${peerId}`).peerId).toBe(peerId)
  })

  it('in one text are separated by commas, white space or both, and every one is checked', async () => {
    const ids = await Promise.all([1, 2, 3].map(async () => peerIdFromKey(await generatePrivateKey())))
    const list = ids.map((id, i) => `/ip4/192.0.2.${i}/tcp/4001/p2p/${id}`)
    const parsed = list.map((address, i) => ({ peerId: ids[i], address }))
    for (const between of [',', ' ', '\n', ', ', '\r\n', '\t', ' ,\n']) {
      expect(parsePeerAddresses(list.join(between))).toEqual(parsed)
      expect(parsePeerAddresses(between + list.join(between) + between)).toEqual(parsed)
    }
    expect(parsePeerAddresses(list)).toEqual(parsed)
    // What `quire dev` prints ends with a line that is no address.
    expect(() => parsePeerAddresses([...list, 'ready'].join('\n'), 'QUIRE_PEERS')).toThrow('QUIRE_PEERS is "ready"')
    // In a list, each element is one address.
    expect(() => parsePeerAddresses([list.join(' ')])).toThrow(InvalidArgumentError)
    for (const none of ['', ' \n,', []])
      expect(() => parsePeerAddresses(none, 'peers')).toThrow('the addresses of one peer or more')
  })

  it('to listen on are TCP', () => {
    expect(parseListenAddress('/ip4/0.0.0.0/tcp/0')).toBe('/ip4/0.0.0.0/tcp/0')
    for (const wrong of ['', '/ip4/0.0.0.0', '/ip4/0.0.0.0/udp/1', '/unix/x', '/ip4/0.0.0.0/tcp/70000']) {
      expect(() => parseListenAddress(wrong), wrong).toThrow(InvalidArgumentError)
    }
  })
})

describe('the real clock and chance', () => {
  it.each([2 ** 31, Number.MAX_SAFE_INTEGER])('take %d ms for what they are, not for none', async (delayMs) => {
    let isOver = false
    const cancel = createClock().schedule(delayMs, () => (isOver = true))
    await new Promise((resolve) => setTimeout(resolve, 20))
    cancel()
    expect(isOver).toBe(false)
  })

  it('move on, call back once and can be cancelled', async () => {
    const clock = createClock()
    const start = clock.now()
    let calls = 0
    clock.schedule(1, () => calls++)()
    await new Promise<void>((resolve) => clock.schedule(10, resolve))
    expect(calls).toBe(0)
    expect(clock.now() - start).toBeGreaterThan(8)
    expect(Math.abs(clock.wallTime() - Date.now())).toBeLessThan(1000)
    const value = createRandom().next()
    expect(value >= 0 && value < 1).toBe(true)
  })
})
