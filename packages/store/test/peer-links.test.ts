/** Links between peers: messages, breaks, refused nodes, and what the log says. */
import { MAX_REASON_BYTES, PROTOCOL_RAFT, decodeFrame, encodeFrame, raftMessage } from '@quire/protocol'
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { HEARTBEAT, LinkedPeer, founded, type LogLine } from './support/linked-peer.js'
import { clock, start, started, pair, usePeers } from './support/linked-peers.js'

usePeers()

describe('links between peers', () => {
  it('a link carries messages both ways, each with the group that it is for', async () => {
    const [a, b] = await pair(new FakeNet())
    a.links.send(0, 'b', HEARTBEAT)
    b.links.send(7, 'a', HEARTBEAT)
    await settle()
    expect([a.received, b.received]).toEqual([['7 b heartbeat'], ['0 a heartbeat']])
  })

  it('a peer opens a broken link again, and drops messages that it sends meanwhile', async () => {
    const net = new FakeNet()
    const [a, b] = await pair(net)
    net.down.add('b')
    for (const stream of net.streams) stream.abort(new Error('the cable was pulled'))
    await clock.advance(5000)
    a.send('b')
    net.down.delete('b')
    await clock.advance(5000)
    a.send('b', { type: 'heartbeatReply', term: 1, round: 1, room: 'enough' })
    await settle()
    expect(b.received).toEqual(['0 a heartbeatReply'])
    expect(a.logged.map(({ msg }) => msg)).toContain('link to the peer restored')
  })

  it('a peer dials at once when a remote that was away connects by itself; otherwise the remote would start an election', async () => {
    const net = new FakeNet()
    net.down.add('b')
    const a = await start(net, 'a', ['a', 'b'])
    await clock.advance(20_500)
    net.down.delete('b')
    const b = await start(net, 'b', ['a', 'b'])
    await settle()
    await settle()
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
  })

  it('a peer logs the loss of a link once, and its restoration with the time that it was down', async () => {
    const net = new FakeNet()
    await start(net, 'b', ['a', 'b'])
    const a = await start(net, 'a', ['a', 'b'])
    const about = (msg: string): LogLine[] => a.logged.filter((line) => line.msg === msg)
    await clock.advance(5000)
    expect([...about('no link to the peer'), ...about('link to the peer restored')]).toEqual([])
    for (let outage = 1; outage <= 2; outage++) {
      net.down.add('b')
      for (const stream of net.streams) stream.abort(new Error('the cable was pulled'))
      await clock.advance(20_000)
      expect(about('link to the peer restored')).toHaveLength(outage - 1)
      const losses = about('no link to the peer').length
      expect(losses).toBeGreaterThanOrEqual(outage)
      await clock.advance(20_000)
      expect(about('no link to the peer')).toHaveLength(losses)
      net.down.delete('b')
      await clock.advance(5000)
      const restored = about('link to the peer restored')
      expect(restored).toHaveLength(outage)
      expect(restored.at(-1)).toMatchObject({ peer: 'b' })
      expect(restored.at(-1)!.downMs).toBeGreaterThanOrEqual(40_000)
      expect(restored.at(-1)!.downMs).toBeLessThan(45_000)
    }
  })

  it('a peer logs no restored link to a peer that refuses it', async () => {
    const net = new FakeNet()
    net.down.add('b')
    const a = await start(net, 'a', ['a', 'b'])
    await clock.advance(5000)
    net.down.delete('b')
    await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], { clusterId: 'green' }) })
    await clock.advance(20_000)
    const messages = a.logged.map(({ msg }) => msg)
    expect(messages).toContain('no link to the peer')
    expect(messages).toContain('peer refused')
    expect(messages).not.toContain('link to the peer restored')
  })

  it('a peer refuses a node that is not a peer, and a node that claims to be another peer', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', ['a', 'b'])
    const a = new LinkedPeer('a', { net, clock, config: founded(['a', 'b']) })
    await started(a)
    const refusals: unknown[] = []
    const knock = async (from: string, claims: string): Promise<void> => {
      const stream = await net.dial(from, 'b', { protocol: PROTOCOL_RAFT })
      stream.onFrame = (frame) => refusals.push(decodeFrame(raftMessage, frame).message)
      stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...a.identity.introduce([], 0), from: claims }))
      stream.send(encodeFrame(raftMessage, HEARTBEAT))
      await settle()
      expect(stream.over).toBeDefined()
    }
    await knock('stranger', 'stranger')
    await knock('stranger', 'a')
    const facts = [
      'stranger',
      'it is no member of cluster blue any longer; quire members add, and a start with --join and an empty folder, bring it back'
    ]
    const refusal = { type: 'raftRefused', error: { code: 'ERR_NOT_AUTHORIZED', facts }, reason: 'membership' }
    expect(refusals).toEqual([refusal, refusal])
    expect(b.received).toEqual([])
  })

  it('a link carries no message before the hello is answered', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', ['a', 'b'])
    const a = await started(new LinkedPeer('a', { net, clock, config: founded(['a', 'b']) }))
    const stream = await net.dial('a', 'b', { protocol: PROTOCOL_RAFT })
    stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...a.identity.introduce([], 0) }))
    stream.send(encodeFrame(raftMessage, HEARTBEAT))
    await settle()
    expect(b.received).toEqual([])
    expect(stream.over).toBeDefined()
  })

  it('a frame that cannot be decoded ends a link, which works again with the next stream', async () => {
    const net = new FakeNet()
    const [a, b] = await pair(net)
    net.streams.find((stream) => stream.remote === 'b')!.send(new Uint8Array([1, 0, 0, 0, 255]))
    await clock.advance(5000)
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
  })

  it('a link holds a bounded number of bytes for a peer that does not read', async () => {
    const net = new FakeNet()
    const [a, b] = await pair(net)
    const stream = net.streams.find((each) => each.remote === 'b')!
    stream.isFull = true
    for (let i = 0; i < 1000; i++) a.send('b')
    stream.isFull = false
    stream.onDrain()
    await settle()
    expect(b.received.length).toBeGreaterThan(10)
    expect(b.received.length).toBeLessThan(200)
  })

  it('a peer cuts the reason of a refusal to the length that a status holds', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', ['a', 'b'])
    net.node('a').handle(PROTOCOL_RAFT, 1, (stream) => {
      const error = { code: 'ERR_NOT_AUTHORIZED', facts: ['b', 'é'.repeat(1000)] }
      stream.onFrame = () => {
        stream.send(encodeFrame(raftMessage, { type: 'raftRefused', error, reason: 'evidence', founding: undefined }))
      }
    })
    await clock.advance(5000)
    expect(b.links.quarantined).toMatchObject([{ peerId: 'a', refusesThisPeer: true }])
    const [{ reason } = { reason: '' }] = b.links.quarantined
    expect(reason).toMatch(/^é+…$/)
    expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(MAX_REASON_BYTES)
  })
})
