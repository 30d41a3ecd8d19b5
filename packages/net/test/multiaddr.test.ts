import { InvalidArgumentError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import {
  generatePrivateKey,
  parseListenAddress,
  parsePeerAddress,
  parsePeerAddresses,
  peerIdFromKey,
  refuseSharedPlaces
} from '../src/index.js'

describe('the address of a peer', () => {
  it('the address of a peer is a multiaddr that ends in a PeerId', async () => {
    const peerId = peerIdFromKey(await generatePrivateKey())
    const address = `/ip4/127.0.0.1/tcp/4001/p2p/${peerId}`
    expect(parsePeerAddress(address)).toEqual({ peerId, address })
    for (const wrong of ['', '/', 'x', '/ip4/127.0.0.1/tcp/4001', `/p2p/${peerId}`, `${address}x`, '/ip4/1/p2p/2']) {
      expect(() => parsePeerAddress(wrong, 'peers'), wrong).toThrow(InvalidArgumentError)
      expect(() => parsePeerAddress(wrong, 'peers'), wrong).toThrow(`peers is ${JSON.stringify(wrong)}`)
    }
  })

  it('the address of a peer with an invalid PeerId is refused by an error that shows the invalid part', () => {
    for (const id of ['ID1', '', '12D3KooW']) {
      expect(() => parsePeerAddress(`/ip4/192.0.2.1/tcp/4001/p2p/${id}`)).toThrow(
        `must be a multiaddr that ends in /p2p/<PeerId>: ${JSON.stringify(id)} is not a PeerId (quire id FILE prints`
      )
    }
  })

  it.each([
    ['/ip4/0.0.0.0/tcp/4001', '0.0.0.0 stands for all addresses of a machine'],
    ['/ip4/0.1.2.3/tcp/4001', 'not the address of a machine'],
    ['/ip4/224.0.0.1/tcp/4001', 'multicast'],
    ['/ip4/239.255.0.1/tcp/4001', 'multicast'],
    ['/ip4/255.255.255.255/tcp/4001', 'broadcast'],
    ['/dns4/0.0.0.0/tcp/4001', '0.0.0.0 stands for all addresses of a machine'],
    ['/dns/no host/tcp/4001', '"no host" is not a host name'],
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
  ])('the address of a peer is refused with a reason if it cannot be dialed: %s', async (address, fault) => {
    const full = `${address}/p2p/${peerIdFromKey(await generatePrivateKey())}`
    expect(() => parsePeerAddress(full, 'peers')).toThrow(InvalidArgumentError)
    expect(() => parsePeerAddress(full, 'peers')).toThrow(
      `peers is ${JSON.stringify(full)}, must be an address that can be dialed: `
    )
    expect(() => parsePeerAddress(full, 'peers')).toThrow(fault)
  })

  it.each([
    ['/ip4/192.0.2.1/tcp/65536', '"65536" is not a port'],
    ['/ip4/192.0.2.1/tcp/-1', '"-1" is not a port'],
    ['/dns4/peer.example/tcp/http', '"http" is not a port'],
    ['/dns4/peer.example/tcp/04001', '"04001" is not a port'],
    ['/ip4/192.0.2/tcp/4001', '"192.0.2" is not an IPv4 address'],
    ['/ip4/peer.example/tcp/4001', '"peer.example" is not an IPv4 address'],
    ['/ip6/192.0.2.1/tcp/4001', '"192.0.2.1" is not an IPv6 address']
  ])('the address of a peer is refused with the wrong part if it is not a multiaddr: %s', async (address, fault) => {
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
  ])(
    'the address of a peer is refused if another peer has the same one, even in another spelling: %s and %s',
    async (one, other) => {
      const [a, b] = [peerIdFromKey(await generatePrivateKey()), peerIdFromKey(await generatePrivateKey())]
      const both = parsePeerAddresses([`${one}/p2p/${a}`, `${other}/p2p/${b}`])
      expect(() => refuseSharedPlaces(both, 'peers')).toThrow(`must be an address of its own: ${a} has the same`)
      expect(() => refuseSharedPlaces(parsePeerAddresses([`${one}/p2p/${a}`, `${other}/p2p/${a}`]))).not.toThrow()
    }
  )

  it.each([
    ['/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.1/tcp/2'],
    ['/ip4/192.0.2.1/tcp/1', '/ip6/::ffff:192.0.2.2/tcp/1'],
    ['/dns4/peer.example/tcp/1', '/dns6/peer.example/tcp/1'],
    ['/dns4/peer.example/tcp/1', '/dns4/peer2.example/tcp/1']
  ])('the address of a peer is accepted beside a different address of another peer: %s and %s', async (one, other) => {
    const [a, b] = [peerIdFromKey(await generatePrivateKey()), peerIdFromKey(await generatePrivateKey())]
    expect(() => refuseSharedPlaces(parsePeerAddresses([`${one}/p2p/${a}`, `${other}/p2p/${b}`]))).not.toThrow()
  })

  it('the address of a peer is refused if it leads through a relay or joins two addresses', async () => {
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
  ])('the address of a peer is accepted if it can be dialed: %s', async (address) => {
    const peerId = peerIdFromKey(await generatePrivateKey())
    expect(parsePeerAddress(`${address}/p2p/${peerId}`).peerId).toBe(peerId)
  })

  it('the address of a peer may stand with others in one text, separated by commas and white space, and each is checked', async () => {
    const ids = await Promise.all([1, 2, 3].map(async () => peerIdFromKey(await generatePrivateKey())))
    const list = ids.map((id, i) => `/ip4/192.0.2.${i}/tcp/4001/p2p/${id}`)
    const parsed = list.map((address, i) => ({ peerId: ids[i], address }))
    for (const between of [',', ' ', '\n', ', ', '\r\n', '\t', ' ,\n']) {
      expect(parsePeerAddresses(list.join(between))).toEqual(parsed)
      expect(parsePeerAddresses(between + list.join(between) + between)).toEqual(parsed)
    }
    expect(parsePeerAddresses(list)).toEqual(parsed)
    // The output of `quire dev` ends with a line that is not an address.
    expect(() => parsePeerAddresses([...list, 'ready'].join('\n'), 'QUIRE_PEERS')).toThrow('QUIRE_PEERS is "ready"')
    // An element of a list is exactly one address.
    expect(() => parsePeerAddresses([list.join(' ')])).toThrow(InvalidArgumentError)
    for (const none of ['', ' \n,', []])
      expect(() => parsePeerAddresses(none, 'peers')).toThrow('the addresses of one peer or more')
  })
})

it('accepts TCP multiaddrs to listen on, and no others', () => {
  expect(parseListenAddress('/ip4/0.0.0.0/tcp/0')).toBe('/ip4/0.0.0.0/tcp/0')
  for (const wrong of ['', '/ip4/0.0.0.0', '/ip4/0.0.0.0/udp/1', '/unix/x', '/ip4/0.0.0.0/tcp/70000']) {
    expect(() => parseListenAddress(wrong), wrong).toThrow(InvalidArgumentError)
  }
})
