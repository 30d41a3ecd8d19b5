/** Links belong to members: a PeerId with one data directory (docs/membership.md, Members). */
import { decodeFrame, raftMessage } from '@quire/protocol'
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import type { ReplicatedConfig } from '../src/state/index.js'
import type { LinkedPeer } from './support/linked-peer.js'
import { clock, exchange, memberConfig, pair, start, startJoined, stop, usePeers } from './support/linked-peers.js'

usePeers()

const IDS = ['a', 'b']
const ADDED = ['c', 'd', 'e']

const configOf = (...members: string[]): ReplicatedConfig => memberConfig(IDS, ...members)

const joined = (net: FakeNet, incarnation: string, config: ReplicatedConfig): Promise<LinkedPeer> =>
  startJoined(net, incarnation, IDS, config)

describe('links of members', () => {
  it('a peer refuses another directory of a member, and both ends tell the reason', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await joined(net, '2b', configOf('a', 'b/2b'))
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

  it('a peer that is refused as an unknown directory shows its newer configuration, and is let in (cluster seed 586)', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await joined(net, '2b', { ...configOf('a', 'b/2b'), revision: 1 })
    await clock.advance(5000)
    a.send('b/2b')
    b.send('a')
    await settle()
    expect([a.received, b.received]).toEqual([['0 b/2b heartbeat'], ['0 a heartbeat']])
    // No operator needs to act, so neither end tells it as an error.
    const reason = expect.stringContaining('may be by the newer one that the other knows') as string
    for (const { logged } of [a, b]) expect(logged).toContainEqual(expect.objectContaining({ level: 40, reason }))
  })

  it('a peer that is no member by the newer configuration that it shows stays refused', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await joined(net, '2b', { ...configOf('a', 'b/3b'), revision: 1 })
    await clock.advance(5000)
    await exchange(a, b)
    expect([a.received, b.received]).toEqual([[], []])
  })

  it('messages travel only to the member that they are for, though two have one PeerId', async () => {
    const net = new FakeNet()
    const all = configOf('a', 'b', 'b/2b')
    const a = await start(net, 'a', IDS)
    a.links.configure(all)
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
    a.links.configure(configOf('a', 'b/2b'))
    await settle()
    const streams = net.streams.filter(({ over }) => over === undefined)
    expect(streams).toEqual([])
    await clock.advance(10_000)
    await exchange(a, b)
    expect([a.received, b.received]).toEqual([[], []])
    stop(b)
    const next = await joined(net, '2b', configOf('a', 'b/2b'))
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
    a.links.configure(configOf('a', 'b', 'b/2b'))
    await exchange(a, b)
    expect([a.received, b.received]).toEqual([['0 b heartbeat'], ['0 a heartbeat']])
  })
})

describe('configurations between links', () => {
  /** Each revision adds a member. */
  const change = (revision: number): ReplicatedConfig => ({
    ...configOf(...IDS, ...ADDED.slice(0, revision)),
    revision
  })

  it('a peer tells each newer configuration once, and none to a peer that has told it', async () => {
    const net = new FakeNet()
    const [a, b] = await pair(net)
    const told: string[] = []
    for (const stream of net.streams) {
      const send = stream.send.bind(stream)
      stream.send = (frame) => {
        const { message } = decodeFrame(raftMessage, frame.slice(4))
        if (message.type === 'raftConfiguration') told.push(`to ${stream.remote}`)
        return send(frame)
      }
    }
    a.links.configure(change(1))
    // The entry that ends a joint configuration repeats the change.
    a.links.configure(change(1))
    await settle()
    expect(told).toEqual(['to b'])
    expect(ADDED.filter((id) => b.links.members.has(id))).toEqual(['c'])
    b.links.configure(change(2))
    await settle()
    expect(told).toEqual(['to b', 'to a'])
    expect(ADDED.filter((id) => a.links.members.has(id))).toEqual(['c', 'd'])
  })

  it('a peer tells its configuration again to a new process, whose hello names an older one', async () => {
    const net = new FakeNet()
    const [a, b] = await pair(net)
    a.links.configure(change(3))
    await settle()
    stop(b)
    const again = await start(net, 'b', IDS, { folder: b.folder })
    await clock.advance(5000)
    expect(ADDED.filter((id) => again.links.members.has(id))).toEqual(['c', 'd', 'e'])
  })
})
