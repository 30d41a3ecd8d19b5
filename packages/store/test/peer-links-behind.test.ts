/** A peer that is behind, and what others tell it (docs/membership.md, A peer that is behind). */
import {
  MAX_MEMBERS,
  PROTOCOL_CONTROL,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  encode,
  encodeFrame,
  leaderMessage,
  raftMessage,
  type RaftStreamMessage
} from '@quire/protocol'
import { FakeNet, settle, type FakeStream } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { createPeerIdentity } from '../src/peer/identity.js'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import { clusterConfig, type ReplicatedConfig } from '../src/state/index.js'
import { founded, type LinkedPeer } from './support/linked-peer.js'
import { clock, memberConfig, start, startJoined, stop, usePeers } from './support/linked-peers.js'
import { PeerCluster, type ClusterPeer } from './support/peer-cluster.js'

usePeers()

const IDS = ['a', 'b', 'c']
const HIGHEST = Number.MAX_SAFE_INTEGER

let net: FakeNet
let a: LinkedPeer
let c: LinkedPeer

beforeEach(async () => {
  net = new FakeNet()
  a = await start(net, 'a', IDS)
  c = await start(net, 'c', IDS)
  await clock.advance(500)
})

const configOf = (revision: number, ...members: string[]): ReplicatedConfig => ({
  ...memberConfig(IDS, ...members),
  revision
})

const shows = (config: ReplicatedConfig): RaftStreamMessage => ({
  type: 'raftConfiguration',
  config: encode(clusterConfig, config)
})

interface Shown {
  /** What the peer answered to the hello. */
  readonly reason: string
  readonly stream: FakeStream
}

/**
 * Dials a with the key of b, from a directory that is no member, and answers the refusal. This is what a copied key or
 * a cloned cluster does.
 */
async function show(frame: Uint8Array, revision = HIGHEST, incarnation = '2b'): Promise<Shown> {
  const mark = { term: 1, lastTerm: 1, lastIndex: 1 }
  const identity = await createPeerIdentity({
    id: 'b',
    storage: createMemoryIdentity({ incarnation, joined: true }),
    founding: founded(IDS),
    random: { next: () => 0.7 },
    durableMark: () => mark,
    committedMark: () => mark
  })
  const stream = await net.dial('b', 'a', { protocol: PROTOCOL_RAFT })
  let reason = ''
  stream.onFrame = (bytes) => {
    const { message } = decodeFrame(raftMessage, bytes)
    reason = message.type === 'raftRefused' ? message.reason : message.type
  }
  stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...identity.introduce([], revision) }))
  await settle()
  if (reason === 'behind') stream.send(frame)
  await settle()
  return { reason, stream }
}

const showing = (config: ReplicatedConfig, revision?: number): Promise<Shown> =>
  show(encodeFrame(raftMessage, shows(config)), revision)

const warned = ({ logged }: LinkedPeer): string[] =>
  logged
    .filter(({ level }) => level >= 40)
    .map(({ reason, msg, ...line }) => reason ?? JSON.stringify({ msg, ...line }))

describe('what a peer shows that was refused as behind', () => {
  const right = configOf(HIGHEST, 'a', 'b/2b', 'c')
  const encoded = encodeFrame(raftMessage, shows(right))

  it.each<[string, Uint8Array, string]>([
    [
      'a configuration of another cluster',
      encodeFrame(raftMessage, shows({ ...right, clusterId: 'red' })),
      'is one of cluster red'
    ],
    [
      'one that does not name the sender',
      encodeFrame(raftMessage, shows(configOf(HIGHEST, 'a', 'b/3b', 'c'))),
      'does not name its data directory'
    ],
    [
      'one that does not name the receiver',
      encodeFrame(raftMessage, shows(configOf(HIGHEST, 'b/2b', 'c'))),
      'does not name the data directory of this peer'
    ],
    [
      'one that names another directory of the receiver',
      encodeFrame(raftMessage, shows(configOf(HIGHEST, 'a/2a', 'b/2b', 'c'))),
      'does not name the data directory of this peer'
    ],
    [
      'one that is older than its hello said',
      encodeFrame(raftMessage, shows({ ...right, revision: HIGHEST - 1 })),
      `has revision ${HIGHEST - 1}, but its hello named ${HIGHEST}`
    ],
    [
      'another message',
      encodeFrame(raftMessage, { type: 'raftAdmitted', incarnation: '2b' }),
      'raftAdmitted in place of a configuration'
    ],
    ['a part of a message', encoded.subarray(0, 20), 'CodecError'],
    [
      'a broken configuration',
      encodeFrame(raftMessage, { type: 'raftConfiguration', config: new Uint8Array(9) }),
      'CodecError'
    ]
  ])('%s is refused with a line of the log, and changes nothing', async (_, frame, problem) => {
    const before = a.folder.remembered
    const lines = warned(a).length
    const { reason, stream } = await show(frame)
    expect([reason, stream.over !== undefined]).toEqual(['behind', true])
    expect(warned(a).slice(lines)).toEqual([expect.stringContaining('newer one'), expect.stringContaining(problem)])
    expect([...a.links.members]).toEqual(IDS)
    expect(a.folder.remembered).toBe(before)
    expect((await show(encodeFrame(raftMessage, shows(configOf(0))))).reason).toBe('behind')
  })

  it('the members of a right one are let in beside those that the peer has already', async () => {
    expect((await showing(right)).reason).toBe('behind')
    expect([...a.links.members]).toEqual([...IDS, 'b/2b'])
    expect((await showing(right)).reason).toBe('raftWelcome')
  })
})

describe('a configuration that was only heard', () => {
  /** Names none of the members but a. */
  const forged = configOf(HIGHEST, 'a', 'b/2b', 'x', 'y')

  const evidence = (): string[] => a.identity.evidence.sightings().map(({ member }) => member)

  it('removes no member, cuts no link and forgets no evidence', async () => {
    expect(evidence()).toEqual(['c'])
    await showing(forged)
    expect([...a.links.members]).toEqual([...IDS, 'b/2b', 'x', 'y'])
    expect(evidence()).toEqual(['c'])
    a.send('c')
    c.send('a')
    await settle()
    expect([a.received, c.received]).toEqual([['0 c heartbeat'], ['0 a heartbeat']])
  })

  it('is not passed on, and the next hello does not name its revision', async () => {
    await showing(forged)
    await settle()
    expect([...c.links.members]).toEqual(IDS)
    const hellos: number[] = []
    net.listen('x', PROTOCOL_RAFT, (stream) => {
      stream.onFrame = (frame) => {
        const { message } = decodeFrame(raftMessage, frame)
        if (message.type === 'raftHello') hellos.push(message.revision)
      }
    })
    await clock.advance(10_000)
    expect(hellos[0]).toBe(0)
  })

  it('gives addresses that are dialed last', async () => {
    const told = '/ip4/127.0.0.1/tcp/77/p2p/b'
    const members = forged.members.map((member) => (member.peerId === 'b' ? { ...member, addresses: [told] } : member))
    await showing({ ...forged, members })
    expect(a.book.of('b').at(-1)).toBe(told)
  })

  it('gives way to one that is applied, although its revision is higher', async () => {
    await showing(forged)
    expect((await showing(forged)).reason).toBe('raftWelcome')
    a.links.configure(configOf(1, 'a', 'c', 'd'))
    expect([...a.links.members]).toEqual(['a', 'c', 'd'])
    expect(evidence()).toEqual(['c'])
    expect((await showing(forged)).reason).toBe('membership')
    // A peer that returns begins with nothing told.
    a.links.configure(configOf(2, 'a', 'b', 'c'))
    expect([...a.links.members]).toEqual(IDS)
  })

  it('does not hide from the receiver what others apply and tell', async () => {
    await showing(forged)
    c.links.configure(configOf(3, ...IDS, 'd'))
    await settle()
    expect(a.links.members.has('d')).toBe(true)
  })

  it('lasts while the receiver catches up to its revision', async () => {
    await showing(configOf(3, 'a', 'b/2b', 'c'), 3)
    a.links.configure(configOf(2, 'a', 'b', 'c'))
    expect(a.links.members.has('b/2b')).toBe(true)
    a.links.configure(configOf(3, 'a', 'b/3b', 'c'))
    expect([...a.links.members]).toEqual(['a', 'b/3b', 'c'])
  })

  it('of a member that only others tell of counts while they do', async () => {
    const d = await start(net, 'd', IDS)
    d.links.configure(configOf(3, ...IDS, 'd', 'e'))
    c.links.configure(configOf(2, ...IDS, 'd'))
    await clock.advance(10_000)
    expect([...a.links.members]).toEqual([...IDS, 'd', 'e'])
    a.links.configure(configOf(1, 'a', 'b'))
    expect([...a.links.members]).toEqual(['a', 'b'])
  })

  it('is refused if it is one of another cluster, also from a member', async () => {
    c.links.configure({ ...configOf(3, ...IDS, 'd'), clusterId: 'red' })
    await settle()
    expect([...a.links.members]).toEqual(IDS)
    expect(warned(a)).toContainEqual(expect.stringContaining('is one of cluster red'))
  })

  it('is refused if the receiver would know too many members', async () => {
    const many = Array.from({ length: MAX_MEMBERS - 3 }, (_, i) => `x${i}`)
    await showing(configOf(HIGHEST, 'a', 'b/2b', ...many))
    expect([...a.links.members]).toEqual(IDS)
    expect(warned(a)).toContainEqual(expect.stringContaining(`more than ${MAX_MEMBERS}`))
    await showing(configOf(HIGHEST, 'a', 'b/2b', ...many.slice(1)))
    expect(a.links.members.size).toBe(MAX_MEMBERS)
    // Those of an applied configuration always have room.
    const others = Array.from({ length: MAX_MEMBERS - 2 }, (_, i) => `y${i}`)
    a.links.configure(configOf(1, 'a', 'b', ...others))
    expect([...a.links.members]).toEqual(['a', 'b', ...others])
  })
})

describe('a whole peer', () => {
  it('follows nothing of a configuration that was only heard but its members, which may connect and are no clients', async () => {
    const cluster = new PeerCluster(IDS, { config: { clients: [], admins: ['admin'] } })
    await cluster.start()
    const [{ core, id }, other] = cluster.peers as [ClusterPeer, ClusterPeer]
    const before = core.config
    const members = memberConfig(IDS, ...IDS, 'x').members
    const forged = { ...before, members, admins: ['mallory'], clients: undefined, roundTripMs: 600, revision: HIGHEST }
    // Any linked member has the same effect as one that was refused as behind.
    other.core.configured(forged)
    await cluster.until(() => core.linkedMembers.has('x'))
    expect(core.config).toBe(before)
    expect(core.timing.roundTripMs).toBe(before.roundTripMs)
    expect(['x', 'mallory', 'admin'].map((peer) => core.mayConnect(peer) === true)).toEqual([true, false, true])
    const stream = await cluster.run(
      cluster.network('x').dial(id, [], { protocol: PROTOCOL_CONTROL, maxFrameBytes: 1024 })
    )
    const answers: unknown[] = []
    stream.onFrame = (frame) => answers.push(decodeFrame(leaderMessage, frame).message)
    stream.send(encodeFrame(clientMessage, { type: 'access', version: PROTOCOL_VERSION, after: '' }, 0))
    await cluster.until(() => answers.length > 0)
    expect(answers).toMatchObject([{ type: 'refused', error: { code: 'ERR_NOT_AUTHORIZED' } }])
    await cluster.stop()
  })
})

describe('a peer that joined again', () => {
  it('dials a peer that is behind as soon as that one dials it, and is let in', async () => {
    stop(a)
    net.down.add('a')
    const b = await startJoined(net, '2b', IDS, configOf(1, 'a', 'b/2b', 'c'))
    await clock.advance(60_000)
    net.down.delete('a')
    const again = await start(net, 'a', IDS, { folder: a.folder })
    await clock.advance(100)
    again.send('b/2b')
    b.send('a')
    await settle()
    expect([again.received, b.received]).toEqual([['0 b/2b heartbeat'], ['0 a heartbeat']])
  })
})
