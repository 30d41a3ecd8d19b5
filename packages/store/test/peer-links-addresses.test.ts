/** How peers learn where other peers listen. */
import { decodeFrame, encodeFrame, raftMessage } from '@quire/protocol'
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { decodeMemory } from '../src/peer/identity.js'
import { folderOf, founded, type LinkedPeer } from './support/linked-peer.js'
import { clock, start, started, stop, pair, usePeers } from './support/linked-peers.js'

usePeers()

describe('addresses of linked peers', () => {
  it('a peer tries the addresses that its earlier processes learned after those of the configuration', async () => {
    const net = new FakeNet()
    const folder = folderOf('folder of a')
    const before = await start(net, 'a', ['a', 'b'], { folder })
    const b = await start(net, 'b', ['a', 'b'])
    await clock.advance(200)
    const learned = before.book.of('b').filter((address) => !address.includes('/tcp/1/'))
    expect(learned).toHaveLength(1)
    for (const peer of [before, b]) {
      stop(peer)
    }
    const after = await start(net, 'a', ['a', 'b'], { folder })
    expect(after.book.of('b')).toEqual(['/ip4/127.0.0.1/tcp/1/p2p/b', ...learned])
  })

  it('linked peers tell each other their present addresses, whatever the configuration says', async () => {
    const [a, b] = await pair(new FakeNet())
    const [now] = b.identity.introduce(b.book.of('b'), 0).addresses
    expect(now).toBeUndefined()
    const [configured, told, ...others] = a.book.of('b')
    expect(configured).toBe('/ip4/127.0.0.1/tcp/1/p2p/b')
    expect(told).toMatch(/^\/ip4\/127\.0\.0\.1\/tcp\/40\d\d\/p2p\/b$/)
    expect(others).toEqual([])
  })
})

describe('peers that have moved', () => {
  const ids = ['a', 'b', 'c']

  /** b and c listen at addresses that the configuration does not have. a listens at the one that it has. */
  async function moved(net: FakeNet): Promise<[LinkedPeer, LinkedPeer, LinkedPeer]> {
    net.places.set('b', 'nowhere').set('c', 'nowhere')
    const [a, b, c] = [await start(net, 'a', ids), await start(net, 'b', ids), await start(net, 'c', ids)]
    net.places.set('b', b.address).set('c', c.address)
    return [a, b, c]
  }

  it("moved peers learn each other's addresses from a third peer, and find each other after that peer has gone", async () => {
    const net = new FakeNet()
    const [, b, c] = await moved(net)
    // Just long enough for a to pass on what it has learned.
    await settle()
    net.down.add('a')
    for (const stream of net.streams) stream.abort(new Error('the cable was pulled'))
    await clock.advance(20_000)
    b.send('c')
    c.send('b')
    await settle()
    expect([b.received, c.received]).toEqual([['0 c heartbeat'], ['0 b heartbeat']])
  })

  it('a peer learns at once that another peer has moved', async () => {
    const net = new FakeNet()
    const [a, b, c] = await moved(net)
    await clock.advance(10_000)
    for (const peer of [b, c]) {
      stop(peer)
    }
    await started(b)
    net.places.set('b', b.address)
    await clock.advance(10_000)
    const told: unknown[] = []
    const link = net.streams.findLast(({ remote, over }) => remote === 'b' && over === undefined)!
    const send = link.send.bind(link)
    link.send = (frame) => {
      told.push(decodeFrame(raftMessage, frame.slice(4)).message)
      return send(frame)
    }
    await started(c)
    net.places.set('c', c.address)
    await settle()
    expect(a.book.of('c')).toContain(c.address)
    const [message] = told.filter((each) => (each as { type: string }).type === 'raftAddresses')
    const { members } = message as { members: { peerId: string; addresses: string[] }[] }
    expect(members).toEqual([{ peerId: 'c', addresses: expect.arrayContaining([c.address]) as string[] }])
    expect(b.book.of('c')).toContain(c.address)
  })

  it('a peer keeps addresses from third parties after all others and over a restart, and does not pass them on', async () => {
    const net = new FakeNet()
    net.down.add('c')
    const a = await start(net, 'a', ids)
    const b = await start(net, 'b', ids)
    await clock.advance(5000)
    const hints = Array.from({ length: 40 }, (_, i) => `/ip4/192.0.2.${i}/tcp/4001/p2p/c`)
    const { addresses } = founded(ids).members[2]!
    const tell = (members: { peerId: string; addresses: string[] }[]): void => {
      const stream = net.streams.findLast(({ remote, over }) => remote === 'b' && over === undefined)!
      stream.send(encodeFrame(raftMessage, { type: 'raftAddresses', members }))
    }
    const [first, others] = [hints.slice(0, 10), hints.slice(10, 26)]
    tell([
      { peerId: 'c', addresses: first },
      { peerId: 'b', addresses: hints.slice(0, 1) },
      { peerId: 'stranger', addresses: hints.slice(0, 1) }
    ])
    await settle()
    expect(b.book.of('c')).toEqual([...addresses, ...first])
    tell([{ peerId: 'c', addresses: others }])
    await settle()
    expect(b.book.of('c')).toEqual([...addresses, ...others])
    expect(b.book.peerIds.sort()).toEqual(['a', 'c'])
    await clock.advance(5000)
    expect(a.book.of('c')).toEqual(addresses)
    expect(decodeMemory(b.folder.remembered).hints).toEqual([{ peerId: 'c', addresses: others }])
    stop(b)
    const after = await start(net, 'b', ids, { folder: b.folder })
    expect(after.book.of('c')).toEqual([...addresses, ...others])
  })
})
