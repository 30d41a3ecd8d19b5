/** Evidence against folders that went backward and against copies of a folder. */
import { decodeFrame, raftMessage } from '@quire/protocol'
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { decodeMemory } from '../src/peer/identity.js'
import { LinkedPeer, folderOf, founded } from './support/linked-peer.js'
import {
  clock,
  exchange,
  memberConfig,
  pair,
  start,
  startJoined,
  started,
  stop,
  stopAll,
  usePeers
} from './support/linked-peers.js'

usePeers()

describe('evidence on links', () => {
  it('a link keeps only the newest evidence for a peer that does not read', async () => {
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
      a.acknowledged = [{ member: 'b', term: 1, index }]
      await clock.advance(1000)
    }
    expect(sent).toHaveLength(1)
    stream.isFull = false
    stream.onDrain()
    await settle()
    expect(sent).toHaveLength(2)
    const { message } = decodeFrame(raftMessage, sent[1]!.slice(4))
    expect(message).toMatchObject({ type: 'raftSeen' })
    expect(JSON.stringify(message)).toContain('"member":"b"')
    expect(JSON.stringify(message)).toContain('"lastIndex":101')
  })

  it('a peer passes evidence on at once through a new stream, even if the old stream has just ended', async () => {
    const net = new FakeNet()
    const [a] = await pair(net)
    a.acknowledged = [{ member: 'b', term: 1, index: 7 }]
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

  it('a peer refuses another peer while it cannot write evidence about it, and accepts it when it can', async () => {
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
})

const IDS = ['a', 'b', 'c']

/** a leads, and b has acknowledged entry 100. Then b ends. */
async function acknowledged(net: FakeNet): Promise<{ a: LinkedPeer; b: LinkedPeer; c: LinkedPeer }> {
  const a = await start(net, 'a', IDS)
  const c = await start(net, 'c', IDS)
  const b = await start(net, 'b', IDS)
  b.log = { term: 3, lastTerm: 3, lastIndex: 120 }
  await clock.advance(200)
  a.acknowledged = [{ member: 'b', term: 3, index: 100 }]
  await clock.advance(3000)
  stop(b)
  a.acknowledged = []
  return { a, b, c }
}

describe('a peer that went backward', () => {
  it('a peer that went backward is refused in both directions, and both ends log it and show it in the status', async () => {
    const net = new FakeNet()
    const { a, b } = await acknowledged(net)
    b.log = { term: 2, lastTerm: 2, lastIndex: 50 }
    await started(b)
    await clock.advance(10_000)
    await exchange(a, b)
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
    'a refused peer logs one line for each other peer, and always shows which peers refuse it (%s)',
    async (_name, folder) => {
      const net = new FakeNet()
      const { a, b, c } = await acknowledged(net)
      a.log = c.log = { term: 3, lastTerm: 3, lastIndex: 100 }
      const old = folder === undefined ? b : new LinkedPeer('b', { net, clock, config: founded(IDS), folder })
      old.log = { term: 2, lastTerm: 2, lastIndex: 50 }
      await started(old)
      await clock.advance(10_000)
      for (let index = 101; index < 160; index++) {
        // The others go on, so the numbers in their reason change.
        a.acknowledged = [{ member: 'c', term: 3, index }]
        await clock.advance(1000)
        expect(old.links.quarantined.map(({ peerId }) => peerId).sort()).toEqual(['a', 'c'])
      }
      expect(old.errors()).toHaveLength(2)
      for (const other of [a, c]) expect(other.errors()).toHaveLength(1)
    }
  )

  it('a peer that has never led detects a peer that went backward, even after its own restart', async () => {
    const net = new FakeNet()
    const { b, c } = await acknowledged(net)
    stopAll()
    await started(c)
    b.log = { term: 2, lastTerm: 2, lastIndex: 50 }
    await started(b)
    await clock.advance(10_000)
    await exchange(b, c)
    expect([b.received, c.received]).toEqual([[], []])
    expect(c.links.quarantined).toMatchObject([{ peerId: 'b' }])
  })

  it('a peer is accepted if it has everything that it acknowledged, whatever else it has lost', async () => {
    const net = new FakeNet()
    const { a, b, c } = await acknowledged(net)
    b.log = { term: 3, lastTerm: 3, lastIndex: 100 }
    await started(b)
    await clock.advance(10_000)
    await exchange(a, b)
    await exchange(b, c)
    expect(a.received).toEqual(['0 b heartbeat'])
    expect([a, b, c].flatMap(({ links }) => links.quarantined)).toEqual([])
  })

  it('the others detect a former leader that went backward, because a leader announces the end of its own log', async () => {
    const net = new FakeNet()
    const folder = folderOf('folder of a')
    const a = await start(net, 'a', IDS, { folder })
    const others = [await start(net, 'b', IDS), await start(net, 'c', IDS)] as const
    await clock.advance(200)
    const copy = folder.copy()
    a.log = a.settled = { term: 3, lastTerm: 3, lastIndex: 1000 }
    a.acknowledged = ['b', 'c'].map((member) => ({ member, term: 3, index: 1000 }))
    await clock.advance(1000)
    for (const other of others) {
      const remembered = decodeMemory(other.folder.remembered).peers.find(({ member }) => member === 'a')
      expect(remembered).toMatchObject({ lastTerm: 3, lastIndex: 1000 })
    }
    stop(a)
    const old = new LinkedPeer('a', { net, clock, config: founded(IDS), folder: copy })
    old.log = { term: 3, lastTerm: 3, lastIndex: 50 }
    await started(old)
    await clock.advance(10_000)
    for (const other of others) await exchange(old, other)
    expect([...others, old].map(({ received }) => received)).toEqual([[], [], []])
    for (const { links } of others) expect(links.quarantined).toMatchObject([{ peerId: 'a' }])
  })

  it('a peer that went backward loses its link to a peer that accepted it when that peer learns of the evidence', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', IDS)
    const b = await start(net, 'b', IDS)
    await clock.advance(200)
    a.acknowledged = [{ member: 'b', term: 3, index: 100 }]
    await clock.advance(3000)
    a.acknowledged = []
    stopAll()
    const ignorant = await start(net, 'c', IDS)
    b.log = { term: 3, lastTerm: 3, lastIndex: 50 }
    await started(b)
    await clock.advance(2000)
    await exchange(b, ignorant)
    expect([b.received.length, ignorant.received.length]).toEqual([1, 1])
    await started(a)
    await clock.advance(10_000)
    await exchange(b, ignorant)
    await exchange(a, b)
    expect([a.received, b.received.length, ignorant.received.length]).toEqual([[], 1, 1])
    expect(ignorant.links.quarantined).toMatchObject([{ peerId: 'b' }])
  })

  it('an empty folder under the key of a former folder is refused', async () => {
    const net = new FakeNet()
    const { a } = await acknowledged(net)
    const b = await start(net, 'b', IDS, { folder: folderOf('another folder', false) })
    await clock.advance(10_000)
    await exchange(a, b)
    expect([a.received, b.received]).toEqual([[], []])
    expect(a.errors().join()).toContain(
      'stop it and put the newest directory back; if that is lost, start it with --rejoin founder'
    )
  })

  it('a peer cannot run beside a copy of itself: the newer process replaces the older one', async () => {
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
    await exchange(a, twin)
    expect(a.received).toEqual(['0 b heartbeat'])
    // The original, which was started once less, is refused.
    expect(a.errors().join()).toContain('at boot 1, but was at boot 2 before')
  })

  it('a peer comes back on its newest folder after as many starts as its copy had, as the log line says', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    const folder = folderOf('folder of b')
    const run = async (on: typeof folder): Promise<string> => {
      const b = await start(net, 'b', ['a', 'b'], { folder: on })
      await clock.advance(10_000)
      a.received.length = 0
      b.send('a')
      await settle()
      stop(b)
      return a.received.length > 0 ? 'accepted' : 'refused'
    }
    expect(await run(folder)).toBe('accepted')
    const copy = folder.copy()
    expect([await run(copy), await run(copy)]).toEqual(['accepted', 'accepted'])
    expect([await run(folder), await run(folder), await run(folder)]).toEqual(['refused', 'refused', 'accepted'])
    const remedy =
      'stop every copy, then start the newest one, again if its boot is refused: each start raises it; if that is lost, start it with --rejoin founder'
    expect(a.errors()).toEqual([
      expect.stringMatching(`at boot 2, but was at boot 3 before: .*${remedy}$`),
      expect.stringMatching(`another process has used boot 3 of its data directory: .*${remedy}$`)
    ])
  })
})

describe('evidence about members', () => {
  it('what a former directory acknowledged does not count against the one with which the peer joined', async () => {
    const net = new FakeNet()
    const { a } = await acknowledged(net)
    const config = memberConfig(IDS, 'a', 'b', 'b/2b', 'c')
    a.links.configure(config)
    const b = await startJoined(net, '2b', IDS, config)
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
    const config = memberConfig(IDS, 'a', 'b', 'b/2b', 'c')
    const a = await start(net, 'a', IDS)
    a.links.configure(config)
    const b = await startJoined(net, '2b', IDS, config)
    b.settled = { term: 1, lastTerm: 1, lastIndex: 1 }
    await clock.advance(1000)
    a.acknowledged = [{ member: 'b/2b', term: 1, index: 1 }]
    await clock.advance(2000)
    stop(b)
    const c = await start(net, 'c', IDS)
    c.links.configure(config)
    await clock.advance(2000)
    expect(c.identity.evidence.sightings()).toContainEqual(
      expect.objectContaining({ member: 'b/2b', incarnation: '2b', lastIndex: 1 })
    )
    expect(b.identity.sightings()[0]).toMatchObject({ member: 'b/2b' })
    // What a peer hears of its own member does not count as evidence about another one.
    expect(b.identity.evidence.sightings().map(({ member }) => member)).not.toContain('b/2b')
  })
})
