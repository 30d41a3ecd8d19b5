/** Links belong to members: a PeerId with one data directory (docs/membership.md, Members). */
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import type { ConfigMember, ReplicatedConfig } from '../src/state/index.js'
import { founded, type LinkedPeer } from './support/linked-peer.js'
import { clock, exchange, start, stop, usePeers } from './support/linked-peers.js'

usePeers()

const IDS = ['a', 'b']

/** The members a, b and others that have joined, as `PeerId/incarnation`. */
function members(...ids: readonly string[]): ConfigMember[] {
  return ids.map((id) => {
    const [peerId = '', incarnation = ''] = id.split('/')
    return { peerId, incarnation, addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`] }
  })
}

function configOf(all: readonly ConfigMember[]): ReplicatedConfig {
  return { ...founded(IDS), members: [...all] }
}

/** Starts a process of b on a directory with which it has joined, and which all these are the members for. */
async function joined(net: FakeNet, incarnation: string, all: readonly ConfigMember[]): Promise<LinkedPeer> {
  const folder = createMemoryIdentity({ incarnation, joined: true })
  const peer = await start(net, 'b', IDS, { folder })
  peer.links.configure(configOf(all))
  return peer
}

describe('links of members', () => {
  it('a peer refuses another directory of a member, and both ends tell the reason', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await joined(net, '2b', members('a', 'b/2b'))
    await clock.advance(5000)
    await exchange(a, b)
    a.send('b/2b')
    await settle()
    expect([a.received, b.received]).toEqual([[], []])
    const reason = expect.stringContaining(
      'its data directory is not the one that is a member of the cluster; replace the member (docs/membership.md)'
    ) as string
    // Only the operator of b can resolve it, so its end tells it as an error.
    expect(a.logged).toContainEqual(expect.objectContaining({ level: 40, reason }))
    expect(b.logged).toContainEqual(expect.objectContaining({ level: 50, reason }))
  })

  it('messages travel only to the member that they are for, though two have one PeerId', async () => {
    const net = new FakeNet()
    const all = members('a', 'b', 'b/2b')
    const a = await start(net, 'a', IDS)
    a.links.configure(configOf(all))
    const b = await joined(net, '2b', all)
    await clock.advance(200)
    a.send('b')
    await settle()
    expect(b.received).toEqual([])
    a.send('b/2b')
    b.send('a')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
    expect(a.received).toEqual(['0 b/2b heartbeat'])
  })

  it('a peer cuts the streams of a directory that is a member no longer, although another one of the peer is', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await start(net, 'b', IDS)
    await clock.advance(200)
    a.links.configure(configOf(members('a', 'b/2b')))
    await settle()
    const streams = net.streams.filter(({ over }) => over === undefined)
    expect(streams).toEqual([])
    await clock.advance(10_000)
    await exchange(a, b)
    expect([a.received, b.received]).toEqual([[], []])
    stop(b)
    const next = await joined(net, '2b', members('a', 'b/2b'))
    await clock.advance(5000)
    a.send('b/2b')
    await settle()
    expect(next.received).toEqual(['0 a heartbeat'])
  })

  it('a peer keeps its streams to a directory when another one of the peer becomes a member as well', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await start(net, 'b', IDS)
    await clock.advance(200)
    a.links.configure(configOf(members('a', 'b', 'b/2b')))
    await exchange(a, b)
    expect([a.received, b.received]).toEqual([['0 b heartbeat'], ['0 a heartbeat']])
  })
})

describe('evidence about members', () => {
  it('what a former directory acknowledged does not count against the one with which the peer joined', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const before = await start(net, 'b', IDS)
    before.log = { term: 3, lastTerm: 3, lastIndex: 120 }
    await clock.advance(200)
    a.acknowledged = [{ member: 'b', term: 3, index: 100 }]
    await clock.advance(3000)
    a.acknowledged = []
    stop(before)
    const all = members('a', 'b', 'b/2b')
    a.links.configure(configOf(all))
    const b = await joined(net, '2b', all)
    b.log = { term: 0, lastTerm: 0, lastIndex: 0 }
    await clock.advance(5000)
    a.send('b/2b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
    const about = (id: string) => a.identity.evidence.sightings().find(({ member }) => member === id)
    expect(about('b')).toMatchObject({ lastIndex: 100 })
    expect(about('b/2b')).toMatchObject({ incarnation: '2b', lastIndex: 0 })
  })

  it('a peer passes on what it remembers of each directory of a peer, and its own sighting names its member id', async () => {
    const net = new FakeNet()
    const ids = [...IDS, 'c']
    const all = members('a', 'b', 'b/2b', 'c')
    const a = await start(net, 'a', ids)
    a.links.configure(configOf(all))
    const folder = createMemoryIdentity({ incarnation: '2b', joined: true })
    const b = await start(net, 'b', ids, { folder })
    b.links.configure(configOf(all))
    b.settled = { term: 1, lastTerm: 1, lastIndex: 1 }
    await clock.advance(1000)
    a.acknowledged = [{ member: 'b/2b', term: 1, index: 1 }]
    await clock.advance(2000)
    stop(b)
    const c = await start(net, 'c', ids)
    c.links.configure(configOf(all))
    await clock.advance(2000)
    expect(c.identity.evidence.sightings()).toContainEqual(
      expect.objectContaining({ member: 'b/2b', incarnation: '2b', lastIndex: 1 })
    )
    expect(b.identity.sightings()[0]).toMatchObject({ member: 'b/2b' })
    // What a peer hears of its own member does not count as evidence about another one.
    expect(b.identity.evidence.sightings().map(({ member }) => member)).not.toContain('b/2b')
  })
})
