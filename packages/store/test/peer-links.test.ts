import { MAX_REASON_BYTES, PROTOCOL_RAFT, decodeFrame, encodeFrame, raftMessage } from '@quire/protocol'
import { FakeClock, FakeNet, settle } from '@quire/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { decodeMemory } from '../src/peer/identity.js'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import { HEARTBEAT, LinkedPeer, folderOf, founded, type LinkedPeerInit, type LogLine } from './support/linked-peer.js'

const clock = new FakeClock()
const open: LinkedPeer[] = []

async function start(net: FakeNet, id: string, ids: string[], init: Partial<LinkedPeerInit> = {}): Promise<LinkedPeer> {
  return started(new LinkedPeer(id, { net, clock, config: founded(ids), ...init }))
}

async function started(peer: LinkedPeer): Promise<LinkedPeer> {
  await peer.start()
  open.push(peer)
  return peer
}

async function pair(net: FakeNet): Promise<[LinkedPeer, LinkedPeer]> {
  const a = await start(net, 'a', ['a', 'b'])
  const b = await start(net, 'b', ['a', 'b'])
  await clock.advance(200)
  return [a, b]
}

afterEach(() => {
  for (const { links } of open.splice(0)) links.close()
  expect(clock.pending).toBe(0)
})

describe('peer links', () => {
  it('carry messages both ways, each with the group that it is for', async () => {
    const [a, b] = await pair(new FakeNet())
    a.links.send(0, 'b', HEARTBEAT)
    b.links.send(7, 'a', HEARTBEAT)
    await settle()
    expect([a.received, b.received]).toEqual([['7 b heartbeat'], ['0 a heartbeat']])
  })

  it('are opened again after a break, and drop messages that are sent meanwhile', async () => {
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

  it('are opened at once when a remote that was away connects by itself; otherwise it would start an election', async () => {
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

  it('log the loss of a link once, and its restoration with the time that it was down', async () => {
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

  it('log no restored link to a peer that refuses this peer', async () => {
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

  it('refuse a node that is not a peer, and a node that claims to be another peer', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', ['a', 'b'])
    const a = new LinkedPeer('a', { net, clock, config: founded(['a', 'b']) })
    await started(a)
    const refusals: unknown[] = []
    const knock = async (from: string, claims: string): Promise<void> => {
      const stream = await net.dial(from, 'b', { protocol: PROTOCOL_RAFT })
      stream.onFrame = (frame) => refusals.push(decodeFrame(raftMessage, frame).message)
      stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...a.identity.introduce([]), from: claims }))
      stream.send(encodeFrame(raftMessage, HEARTBEAT))
      await settle()
      expect(stream.over).toBeDefined()
    }
    await knock('stranger', 'stranger')
    await knock('stranger', 'a')
    const facts = ['stranger', 'it is no peer of cluster blue']
    const refusal = { type: 'raftRefused', error: { code: 'ERR_NOT_AUTHORIZED', facts }, reason: 'membership' }
    expect(refusals).toEqual([refusal, refusal])
    expect(b.received).toEqual([])
  })

  it('carry no message before the hello is answered', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', ['a', 'b'])
    const a = await started(new LinkedPeer('a', { net, clock, config: founded(['a', 'b']) }))
    const stream = await net.dial('a', 'b', { protocol: PROTOCOL_RAFT })
    stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...a.identity.introduce([]) }))
    stream.send(encodeFrame(raftMessage, HEARTBEAT))
    await settle()
    expect(b.received).toEqual([])
    expect(stream.over).toBeDefined()
  })

  it('end with a frame that cannot be decoded, and work again with the next stream', async () => {
    const net = new FakeNet()
    const [a, b] = await pair(net)
    net.streams.find((stream) => stream.remote === 'b')!.send(new Uint8Array([1, 0, 0, 0, 255]))
    await clock.advance(5000)
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
  })

  it('hold a bounded number of bytes for a peer that does not read', async () => {
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

  it('keep only the newest evidence for a peer that does not read', async () => {
    const net = new FakeNet()
    const [a] = await pair(net)
    const stream = net.streams.find((each) => each.remote === 'b')!
    const sent: Uint8Array[] = []
    const send = stream.send.bind(stream)
    stream.send = (frame) => {
      sent.push(frame)
      return send(frame)
    }
    stream.isFull = true
    for (let index = 2; index < 102; index++) {
      a.acknowledged = [{ peerId: 'b', term: 1, index }]
      await clock.advance(1000)
    }
    expect(sent).toHaveLength(1)
    stream.isFull = false
    stream.onDrain()
    await settle()
    expect(sent).toHaveLength(2)
    const { message } = decodeFrame(raftMessage, sent[1]!.slice(4))
    expect(message).toMatchObject({ type: 'raftSeen' })
    expect(JSON.stringify(message)).toContain('"peerId":"b"')
    expect(JSON.stringify(message)).toContain('"lastIndex":101')
  })

  it('pass evidence on at once through a new stream, even if the old stream has just ended', async () => {
    const net = new FakeNet()
    const [a] = await pair(net)
    a.acknowledged = [{ peerId: 'b', term: 1, index: 7 }]
    await clock.advance(1500)
    const told: string[] = []
    const dial = net.dial.bind(net)
    net.dial = async (from, to, options) => {
      const stream = await dial(from, to, options)
      const send = stream.send.bind(stream)
      stream.send = (frame) => {
        told.push(`${from} ${decodeFrame(raftMessage, frame.slice(4)).message.type}`)
        return send(frame)
      }
      return stream
    }
    // The next regular message comes after 300 ms.
    net.streams.find((each) => each.remote === 'b')!.abort(new Error('the cable was pulled'))
    await clock.advance(250)
    expect(told).toEqual(['a raftHello', 'a raftSeen'])
  })

  it('cut the reason of a member to the length that a status holds', async () => {
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

  it('refuse a peer while evidence about it cannot be written, and accept it when it can', async () => {
    const net = new FakeNet()
    const folder = folderOf('folder of b')
    const b = await start(net, 'b', ['a', 'b'], { folder })
    const remember = folder.remember.bind(folder)
    folder.remember = () => Promise.reject(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }))
    const a = await start(net, 'a', ['a', 'b'])
    await settle()
    // The peer is refused at once, and not only at its time limit.
    expect(net.streams.filter(({ remote }) => remote === 'b')).toMatchObject([{ over: { reason: { code: 'ENOSPC' } } }])
    await clock.advance(20_000)
    a.send('b')
    await settle()
    expect(b.received).toEqual([])
    const failure = 'evidence about other peers cannot be written: none is accepted anew'
    expect(b.errors()).toEqual([failure])
    folder.remember = remember
    await clock.advance(20_000)
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
    expect(b.logged.map(({ msg }) => msg)).toContain('evidence about other peers is written again')
  })

  it('try the addresses from earlier processes of this peer after those of the configuration', async () => {
    const net = new FakeNet()
    const folder = folderOf('folder of a')
    const before = await start(net, 'a', ['a', 'b'], { folder })
    const b = await start(net, 'b', ['a', 'b'])
    await clock.advance(200)
    const learned = before.book.of('b').filter((address) => !address.includes('/tcp/1/'))
    expect(learned).toHaveLength(1)
    for (const peer of [before, b]) {
      peer.links.close()
      open.splice(open.indexOf(peer), 1)
    }
    const after = await start(net, 'a', ['a', 'b'], { folder })
    expect(after.book.of('b')).toEqual(['/ip4/127.0.0.1/tcp/1/p2p/b', ...learned])
  })

  it('tell each other their present addresses, whatever the configuration says', async () => {
    const [a, b] = await pair(new FakeNet())
    const [now] = b.identity.introduce(b.book.of('b')).addresses
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

  it("learn each other's addresses from a third peer, and find each other after that peer has gone", async () => {
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

  it('learn at once that another peer has moved later', async () => {
    const net = new FakeNet()
    const [a, b, c] = await moved(net)
    await clock.advance(10_000)
    for (const peer of [b, c]) {
      peer.links.close()
      open.splice(open.indexOf(peer), 1)
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

  it('keep addresses from third parties after all others, do not pass them on, and keep them over a restart', async () => {
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
    b.links.close()
    open.splice(open.indexOf(b), 1)
    const after = await start(net, 'b', ids, { folder: b.folder })
    expect(after.book.of('c')).toEqual([...addresses, ...others])
  })
})

describe('peers that were founded from different configurations', () => {
  it('never link, and both log the difference', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    const b = await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], { clients: ['x'] }) })
    await clock.advance(10_000)
    a.send('b')
    b.send('a')
    await settle()
    expect([a.received, b.received]).toEqual([[], []])
    expect(a.errors().join('\n')).toContain('clients: any here, 1 (with x) there')
    expect(b.errors().join('\n')).toContain('clients: 1 (with x) here, any there')
    expect(a.errors().length + b.errors().length).toBeLessThan(8)
  })

  it('log the round trip if nothing else differs', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], { roundTripMs: 600 }) })
    await clock.advance(10_000)
    expect(a.errors().join('\n')).toContain('round trip: 32 ms here, 600 ms there')
  })

  it('log the next difference after the first was put right', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    for (const config of [{ clients: ['x'] }, { admins: ['y'] }]) {
      const b = await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], config) })
      await clock.advance(30_000)
      b.links.close()
      open.splice(open.indexOf(b), 1)
    }
    const differences = a.errors().filter((line) => line.includes('here, '))
    expect(differences).toEqual([
      expect.stringContaining('clients: any here, 1 (with x) there'),
      expect.stringContaining('admins: 0 here, 1 (with y) there')
    ])
  })

  it('log the difference even if only one side lists the other as a voter', async () => {
    const net = new FakeNet()
    const lone = await start(net, 'c', ['c'])
    const a = await start(net, 'a', ['a', 'c'])
    await clock.advance(10_000)
    a.send('c')
    await settle()
    expect(lone.received).toEqual([])
    // The other peer is a stranger to the lone one, which therefore only warns.
    expect(lone.logged.map(({ reason }) => reason)).toContain(
      'a is refused: it was founded from another configuration: voters: c here, a, c there'
    )
    expect(a.errors().join()).toContain('it was founded from another configuration')
  })
})

describe('a peer that went backward', () => {
  const ids = ['a', 'b', 'c']

  /** a leads, and b has acknowledged entry 100. Then b ends. */
  async function acknowledged(net: FakeNet): Promise<{ a: LinkedPeer; b: LinkedPeer; c: LinkedPeer }> {
    const a = await start(net, 'a', ids)
    const c = await start(net, 'c', ids)
    const b = await start(net, 'b', ids)
    b.log = { term: 3, lastTerm: 3, lastIndex: 120 }
    await clock.advance(200)
    a.acknowledged = [{ peerId: 'b', term: 3, index: 100 }]
    await clock.advance(3000)
    b.links.close()
    open.splice(open.indexOf(b), 1)
    a.acknowledged = []
    return { a, b, c }
  }

  function exchange(one: LinkedPeer, other: LinkedPeer): void {
    one.send(other.id)
    other.send(one.id)
  }

  it('is refused in both directions, logs it, and shows it in the status at both ends', async () => {
    const net = new FakeNet()
    const { a, b } = await acknowledged(net)
    b.log = { term: 2, lastTerm: 2, lastIndex: 50 }
    await started(b)
    await clock.advance(10_000)
    exchange(a, b)
    await settle()
    expect([a.received, b.received]).toEqual([[], []])
    expect(a.errors().join()).toContain('its log ends at entry 50 of term 2, but it acknowledged entry 100 of term 3')
    expect(b.errors().join()).toContain('this peer is refused')
    expect(a.links.quarantined).toMatchObject([{ peerId: 'b' }])
    expect(b.links.quarantined.map(({ peerId }) => peerId).sort()).toEqual(['a', 'c'])
  })

  it.each([
    ['an older copy', undefined],
    ['an empty folder', folderOf('another folder', false)]
  ])(
    'logs one line for each other peer, however long it is refused, and always shows which peers refuse it (%s)',
    async (_name, folder) => {
      const net = new FakeNet()
      const { a, b, c } = await acknowledged(net)
      a.log = c.log = { term: 3, lastTerm: 3, lastIndex: 100 }
      const old = folder === undefined ? b : new LinkedPeer('b', { net, clock, config: founded(ids), folder })
      old.log = { term: 2, lastTerm: 2, lastIndex: 50 }
      await started(old)
      await clock.advance(10_000)
      for (let index = 101; index < 160; index++) {
        // The others go on, so the numbers in their reason change.
        a.acknowledged = [{ peerId: 'c', term: 3, index }]
        await clock.advance(1000)
        expect(old.links.quarantined.map(({ peerId }) => peerId).sort()).toEqual(['a', 'c'])
      }
      expect(old.errors()).toHaveLength(2)
      for (const other of [a, c]) expect(other.errors()).toHaveLength(1)
    }
  )

  it('is detected by a peer that has never led, even after a restart of that peer', async () => {
    const net = new FakeNet()
    const { a, b, c } = await acknowledged(net)
    a.links.close()
    c.links.close()
    open.splice(0)
    await started(c)
    b.log = { term: 2, lastTerm: 2, lastIndex: 50 }
    await started(b)
    await clock.advance(10_000)
    exchange(b, c)
    await settle()
    expect([b.received, c.received]).toEqual([[], []])
    expect(c.links.quarantined).toMatchObject([{ peerId: 'b' }])
  })

  it('is accepted if it has everything that it acknowledged, whatever else it has lost', async () => {
    const net = new FakeNet()
    const { a, b, c } = await acknowledged(net)
    b.log = { term: 3, lastTerm: 3, lastIndex: 100 }
    await started(b)
    await clock.advance(10_000)
    exchange(a, b)
    exchange(b, c)
    await settle()
    expect(a.received).toEqual(['0 b heartbeat'])
    expect([a, b, c].flatMap(({ links }) => links.quarantined)).toEqual([])
  })

  it('is detected even if it led, because it announces the end of its own log', async () => {
    const net = new FakeNet()
    const folder = folderOf('folder of a')
    const a = await start(net, 'a', ids, { folder })
    const others = [await start(net, 'b', ids), await start(net, 'c', ids)] as const
    await clock.advance(200)
    const copy = folder.copy()
    a.log = a.settled = { term: 3, lastTerm: 3, lastIndex: 1000 }
    a.acknowledged = ['b', 'c'].map((peerId) => ({ peerId, term: 3, index: 1000 }))
    await clock.advance(1000)
    for (const other of others) {
      const remembered = decodeMemory(other.folder.remembered).peers.find(({ peerId }) => peerId === 'a')
      expect(remembered).toMatchObject({ lastTerm: 3, lastIndex: 1000 })
    }
    a.links.close()
    open.splice(open.indexOf(a), 1)
    const old = new LinkedPeer('a', { net, clock, config: founded(ids), folder: copy })
    old.log = { term: 3, lastTerm: 3, lastIndex: 50 }
    await started(old)
    await clock.advance(10_000)
    for (const other of others) exchange(old, other)
    await settle()
    expect([...others, old].map(({ received }) => received)).toEqual([[], [], []])
    for (const { links } of others) expect(links.quarantined).toMatchObject([{ peerId: 'a' }])
  })

  it('loses its link to a peer that accepted it when that peer learns of the evidence', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ids)
    const b = await start(net, 'b', ids)
    await clock.advance(200)
    a.acknowledged = [{ peerId: 'b', term: 3, index: 100 }]
    await clock.advance(3000)
    a.acknowledged = []
    for (const each of open.splice(0)) each.links.close()
    const ignorant = await start(net, 'c', ids)
    b.log = { term: 3, lastTerm: 3, lastIndex: 50 }
    await started(b)
    await clock.advance(2000)
    exchange(b, ignorant)
    await settle()
    expect([b.received.length, ignorant.received.length]).toEqual([1, 1])
    await started(a)
    await clock.advance(10_000)
    exchange(b, ignorant)
    exchange(a, b)
    await settle()
    expect([a.received, b.received.length, ignorant.received.length]).toEqual([[], 1, 1])
    expect(ignorant.links.quarantined).toMatchObject([{ peerId: 'b' }])
  })

  it('is refused with an empty folder under its old key', async () => {
    const net = new FakeNet()
    const { a } = await acknowledged(net)
    const b = await start(net, 'b', ids, { folder: folderOf('another folder', false) })
    await clock.advance(10_000)
    exchange(a, b)
    await settle()
    expect([a.received, b.received]).toEqual([[], []])
    expect(a.errors().join()).toContain('stop it and put the newest directory back; if that is lost, leave it down')
  })

  it('cannot run beside a copy of itself: the newer process replaces the older one', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    const folder = folderOf('folder of b')
    const copy = folderOf('folder of b')
    await start(net, 'b', ['a', 'b'], { folder })
    await clock.advance(5000)
    const boot = folder.remembered
    await copy.remember(boot)
    const twin = await start(net, 'b', ['a', 'b'], { folder: copy })
    await clock.advance(10_000)
    exchange(a, twin)
    await settle()
    expect(a.received).toEqual(['0 b heartbeat'])
    // The original, which was started once less, is refused.
    expect(a.errors().join()).toContain('at boot 1, but was at boot 2 before')
  })

  it('comes back on its newest folder after as many starts as its copy had, as the log line says', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    const folder = folderOf('folder of b')
    const run = async (on: typeof folder): Promise<string> => {
      const b = await start(net, 'b', ['a', 'b'], { folder: on })
      await clock.advance(10_000)
      a.received.length = 0
      b.send('a')
      await settle()
      b.links.close()
      open.splice(open.indexOf(b), 1)
      return a.received.length > 0 ? 'accepted' : 'refused'
    }
    expect(await run(folder)).toBe('accepted')
    const copy = folder.copy()
    expect([await run(copy), await run(copy)]).toEqual(['accepted', 'accepted'])
    expect([await run(folder), await run(folder), await run(folder)]).toEqual(['refused', 'refused', 'accepted'])
    const remedy = 'stop every copy, then start the newest one, again if its boot is refused: each start raises it'
    expect(a.errors()).toEqual([
      expect.stringMatching(`at boot 2, but was at boot 3 before: .*${remedy}$`),
      expect.stringMatching(`another process has used boot 3 of its data directory: .*${remedy}$`)
    ])
  })
})

describe('an empty folder', () => {
  const ids = ['a', 'b', 'c']

  const fresh = (net: FakeNet, id: string): Promise<LinkedPeer> =>
    start(net, id, ids, { folder: folderOf(`new folder of ${id}`, false) })

  it('does not take part until every founder has agreed', async () => {
    const net = new FakeNet()
    const a = await fresh(net, 'a')
    const b = await fresh(net, 'b')
    await clock.advance(5000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.received, a.identity.missing]).toEqual([false, [], ['c']])
    await fresh(net, 'c')
    await clock.advance(5000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.identity.isAdmitted, b.received]).toEqual([true, true, ['0 a heartbeat']])
  })

  it('does not take part while the founders have more than the founding entry and no leader', async () => {
    const net = new FakeNet()
    const others = [await start(net, 'b', ids), await start(net, 'c', ids)]
    for (const each of others) each.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    const a = await fresh(net, 'a')
    await clock.advance(10_000)
    others[0]!.send('a')
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, a.received, others[0]!.received]).toEqual([false, [], []])
  })

  it('takes part when a leader with a majority admits it', async () => {
    const net = new FakeNet()
    const leader = await start(net, 'b', ids)
    leader.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    await start(net, 'c', ids)
    const a = await fresh(net, 'a')
    await clock.advance(5000)
    expect(a.identity.isAdmitted).toBe(false)
    leader.leads = true
    await clock.advance(2000)
    leader.send('a')
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, a.received, leader.received]).toEqual([true, ['0 b heartbeat'], ['0 a heartbeat']])
    expect(a.folder.admitted).toBe(true)
  })

  it('does not take part while it cannot write its admission to disk, and tries again', async () => {
    const net = new FakeNet()
    const folder = folderOf('new folder of a', false)
    const admit = folder.admit.bind(folder)
    folder.admit = () => {
      throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
    }
    const pairIds = ['a', 'b']
    const a = await start(net, 'a', pairIds, { folder })
    const b = await start(net, 'b', pairIds, { folder: folderOf('new folder of b', false) })
    await clock.advance(10_000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.identity.isAdmitted, b.received]).toEqual([false, true, []])
    expect(a.errors()).toEqual(['this peer may take part, but cannot write that down yet'])
    folder.admit = admit
    await clock.advance(1000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.received]).toEqual([true, ['0 a heartbeat']])
  })

  it('is not admitted by a leader before every other voter knows it, because one may hold a vote of an earlier folder', async () => {
    const net = new FakeNet()
    const leader = await start(net, 'b', ids)
    leader.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    leader.leads = true
    const a = await fresh(net, 'a')
    await clock.advance(20_000)
    expect(a.identity.isAdmitted).toBe(false)
    const c = new LinkedPeer('c', { net, clock, config: founded(ids) })
    await started(c)
    await clock.advance(10_000)
    expect([a.identity.isAdmitted, c.links.quarantined]).toEqual([true, []])
  })

  it('is not admitted while one voter remembers an earlier folder that took part', async () => {
    const net = new FakeNet()
    const former = await start(net, 'a', ids)
    const c = await start(net, 'c', ids)
    await clock.advance(5000)
    former.links.close()
    open.splice(open.indexOf(former), 1)
    const a = await fresh(net, 'a')
    const leader = await start(net, 'b', ids)
    leader.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    leader.leads = true
    await clock.advance(20_000)
    expect([a.identity.isAdmitted, c.links.quarantined.map(({ peerId }) => peerId)]).toEqual([false, ['a']])
  })

  it('may be replaced as long as it has never taken part', async () => {
    const net = new FakeNet()
    const a = await fresh(net, 'a')
    const first = await start(net, 'c', ids, { folder: folderOf('c, made at 1', false) })
    await clock.advance(5000)
    first.links.close()
    open.splice(open.indexOf(first), 1)
    const c = await start(net, 'c', ids, { folder: folderOf('c, made at 2', false) })
    const b = await fresh(net, 'b')
    await clock.advance(10_000)
    expect([a, b, c].map(({ identity }) => identity.isAdmitted)).toEqual([true, true, true])
    expect([a, b, c].flatMap((each) => each.errors())).toEqual([])
  })

  it('counts at another peer only after its admission is durable there', async () => {
    const net = new FakeNet()
    const writes: (() => void)[] = []
    let isSlow = false
    const slow = createMemoryIdentity({
      incarnation: 'folder of b',
      schedule: (done) => (isSlow ? writes.push(done) : done())
    })
    slow.admit()
    const a = await fresh(net, 'a')
    const b = await start(net, 'b', ids, { folder: slow })
    await clock.advance(2000)
    isSlow = true
    await fresh(net, 'c')
    await clock.advance(500)
    while (!a.identity.isAdmitted) {
      for (const done of writes.splice(0)) done()
      await settle()
    }
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.received]).toEqual([true, []])
    isSlow = false
    for (const done of writes.splice(0)) done()
    await settle()
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
    const admitted = decodeMemory(slow.remembered).peers.find(({ peerId }) => peerId === 'a')
    expect(admitted?.admitted).toBe(true)
  })
})
