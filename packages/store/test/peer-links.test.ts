import {
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  decodeFrame,
  encodeFrame,
  raftMessage,
  type RaftMessage
} from '@quire/protocol'
import { pino, type Logger } from 'pino'
import { afterEach, describe, expect, it } from 'vitest'
import { createPeerLinks, type PeerLinks } from '../src/peer/peer-links.js'
import { FakeClock, FakeNet, settle } from './support/fake-world.js'

const heartbeat: RaftMessage = { type: 'heartbeat', term: 1, commit: 0, round: 1 }
const clock = new FakeClock()
const open: PeerLinks[] = []

function start(net: FakeNet, id: string, peers: string[], clusterId = 'blue', logger?: Logger) {
  const received: string[] = []
  const links = createPeerLinks({
    network: net.node(id),
    clock,
    random: { next: () => 0 },
    clusterId,
    receive: (group, from, message) => received.push(`${group} ${from} ${message.type}`),
    logger,
    maxQueuedBytes: 1000
  })
  links.setPeers(peers.map((peerId) => ({ peerId, addresses: [] })))
  open.push(links)
  return { links, received }
}

afterEach(() => {
  for (const links of open.splice(0)) links.close()
  expect(clock.pending).toBe(0)
})

describe('peer links', () => {
  it('carry messages both ways, with the group that they are for', async () => {
    const net = new FakeNet()
    const a = start(net, 'a', ['a', 'b'])
    const b = start(net, 'b', ['a', 'b'])
    await clock.advance(200)
    a.links.send(0, 'b', heartbeat)
    b.links.send(7, 'a', heartbeat)
    await settle()
    expect([a.received, b.received]).toEqual([['7 b heartbeat'], ['0 a heartbeat']])
  })

  it('are opened again when they break, and drop what is sent meanwhile', async () => {
    const net = new FakeNet()
    const b = start(net, 'b', ['a', 'b'])
    const a = start(net, 'a', ['a', 'b'])
    await clock.advance(200)
    net.down.add('b')
    for (const stream of net.streams) stream.abort(new Error('the cable was pulled'))
    await clock.advance(5000)
    a.links.send(0, 'b', heartbeat)
    net.down.delete('b')
    await clock.advance(5000)
    a.links.send(0, 'b', { type: 'heartbeatReply', term: 1, round: 1 })
    await settle()
    expect(b.received).toEqual(['0 a heartbeatReply'])
  })

  it('are opened at once when a remote that was away comes by itself, or it would start an election meanwhile', async () => {
    const net = new FakeNet()
    net.down.add('b')
    const a = start(net, 'a', ['a', 'b'])
    await clock.advance(20_500)
    net.down.delete('b')
    const b = start(net, 'b', ['a', 'b'])
    await settle()
    a.links.send(0, 'b', heartbeat)
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
  })

  it('log a lost link once, and that it is restored, with the time that it was down', async () => {
    const net = new FakeNet()
    const lines: Record<string, unknown>[] = []
    const logger = pino({ level: 'info', base: null }, { write: (line) => lines.push(JSON.parse(line)) })
    const about = (msg: string): unknown[] => lines.filter((line) => line.msg === msg)
    start(net, 'b', ['a', 'b'])
    start(net, 'a', ['a', 'b'], 'blue', logger)
    await clock.advance(5000)
    expect(lines).toEqual([])
    for (let outage = 1; outage <= 2; outage++) {
      net.down.add('b')
      for (const stream of net.streams) stream.abort(new Error('the cable was pulled'))
      await clock.advance(20_000)
      expect(about('link to the peer restored')).toHaveLength(outage - 1)
      const losses = about('no link to the peer').length
      await clock.advance(20_000)
      expect(about('no link to the peer')).toHaveLength(losses)
      net.down.delete('b')
      await clock.advance(5000)
      const restored = about('link to the peer restored') as { peer: string; downMs: number }[]
      expect(restored).toHaveLength(outage)
      expect(restored.at(-1)).toMatchObject({ peer: 'b' })
      expect(restored.at(-1)!.downMs).toBeGreaterThanOrEqual(40_000)
      expect(restored.at(-1)!.downMs).toBeLessThan(45_000)
    }
  })

  it('do not log a link as restored to a peer that refuses', async () => {
    const net = new FakeNet()
    const messages = new Set<unknown>()
    const logger = pino({ level: 'info' }, { write: (line) => messages.add((JSON.parse(line) as { msg: string }).msg) })
    net.down.add('b')
    start(net, 'a', ['a', 'b'], 'blue', logger)
    await clock.advance(5000)
    net.down.delete('b')
    start(net, 'b', ['a', 'b'], 'green')
    await clock.advance(20_000)
    expect(messages).toContain('no link to the peer')
    expect(messages).not.toContain('link to the peer restored')
  })

  it('refuse who is no peer, and another cluster', async () => {
    const net = new FakeNet()
    const b = start(net, 'b', ['a', 'b'])
    const refusals: unknown[] = []
    const knock = async (from: string, clusterId: string, claims = from): Promise<void> => {
      const stream = await net.dial(from, 'b', { protocol: PROTOCOL_RAFT })
      stream.onFrame = (frame) => refusals.push(decodeFrame(raftMessage, frame).message)
      stream.send(encodeFrame(raftMessage, { type: 'raftHello', version: PROTOCOL_VERSION, clusterId, from: claims }))
      stream.send(encodeFrame(raftMessage, heartbeat))
      await settle()
      expect(stream.over).toBeDefined()
    }
    await knock('stranger', 'blue')
    await knock('stranger', 'blue', 'a')
    await knock('a', 'green')
    expect(refusals).toEqual([
      {
        type: 'raftRefused',
        error: { code: 'ERR_NOT_AUTHORIZED', facts: ['stranger', 'it is no peer of cluster blue'] }
      },
      {
        type: 'raftRefused',
        error: { code: 'ERR_NOT_AUTHORIZED', facts: ['stranger', 'it is no peer of cluster blue'] }
      },
      { type: 'raftRefused', error: { code: 'ERR_NOT_AUTHORIZED', facts: ['a', 'it belongs to cluster green'] } }
    ])
    expect(b.received).toEqual([])
  })

  it('end with a frame that is none, and go on with the next stream', async () => {
    const net = new FakeNet()
    const b = start(net, 'b', ['a', 'b'])
    const a = start(net, 'a', ['a', 'b'])
    await clock.advance(200)
    net.streams.find((stream) => stream.remote === 'b')!.send(new Uint8Array([1, 0, 0, 0, 255]))
    await clock.advance(5000)
    a.links.send(0, 'b', heartbeat)
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
  })

  it('hold a bounded number of bytes for a peer that does not read', async () => {
    const net = new FakeNet()
    const b = start(net, 'b', ['a', 'b'])
    const a = start(net, 'a', ['a', 'b'])
    await clock.advance(200)
    const stream = net.streams.find((each) => each.remote === 'b')!
    stream.stopped = true
    for (let i = 0; i < 1000; i++) a.links.send(0, 'b', heartbeat)
    stream.stopped = false
    stream.onDrain()
    await settle()
    expect(b.received.length).toBeGreaterThan(10)
    expect(b.received.length).toBeLessThan(200)
  })
})
