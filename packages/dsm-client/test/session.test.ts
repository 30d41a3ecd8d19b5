/**
 * The client against scripted peers in virtual time: it finds the leader, keeps its lease, follows leader changes, and
 * closes.
 */
import {
  ClosedError,
  InvalidArgumentError,
  NotAuthorizedError,
  QuotaExceededError,
  SessionExpiredError,
  UnavailableError,
  errorToWire,
  type LostRange
} from '@quire/protocol'
import { pino } from 'pino'
import { afterEach, describe, expect, it } from 'vitest'
import type { DsmClient } from '../src/types.js'
import { SELF, World, failure, outcome, view } from './support/client.js'
import { FOUNDING, PEERS, addressOf, type FakePeer } from './support/leader.js'
import { settle } from '@quire/testing'

const TTL = 8000
/** The time limit of each handshake step if the peers are near each other. */
const STEP_MS = 2400
let world: World
let client: DsmClient | undefined

afterEach(async () => {
  // Each test leaves no timer behind.
  if (client !== undefined) {
    const closing = client.close().catch(() => {})
    await world.until(closing)
  }
  client = undefined
  // Messages to a distant peer may still be in flight.
  await world.clock.advance(world.net.roundTripMs)
  expect(world.clock.pending).toBe(0)
})

async function connected(prepare: (world: World) => void = () => {}, init: Parameters<World['create']>[0] = {}) {
  world = new World()
  prepare(world)
  client = await world.until(world.create({ sessionTtlMs: TTL, ...init }))
  return { client, clock: world.clock, leader: world.leader, cluster: world.cluster }
}

async function withFile(init: Parameters<World['create']>[0] = {}) {
  const connection = await connected(undefined, init)
  const file = await connection.client.open('/f', { create: true, size: 16 * 4096 })
  const mapping = await file.mmap()
  return { ...connection, file, mapping }
}

const byte = (value: number) => new Uint8Array([value])

describe('finding the leader', () => {
  it('a client follows a redirect to the addresses in it', async () => {
    await connected((w) => w.elect(w.peers[2]!, 4))
    expect(world.net.dialed).toEqual([PEERS[0], PEERS[2]])
    expect(client!.session).toMatchObject({ state: 'active' })
  })

  it('a client asks the other peers when the peer that a redirect names is unreachable', async () => {
    await connected((w) => {
      w.elect(w.peers[2]!, 4)
      w.peers[0]!.greeting = w.peers[0]!.redirection(PEERS[1])
      w.net.down.add(PEERS[1])
    })
    expect(world.net.dialed.slice(0, 2)).toEqual([PEERS[0], PEERS[1]])
    expect(world.net.dialed.at(-1)).toBe(PEERS[2])
  })

  it('a client connects if any one of the given peers is reachable', async () => {
    world = new World()
    world.elect(world.peers[1]!, 2)
    world.net.down.add(PEERS[0])
    client = await world.until(world.create({ peers: PEERS.map(addressOf) }))
    expect(client.session.state).toBe('active')
  })

  it('a client finds moved peers by the addresses that a former leader sent', async () => {
    const { leader, clock } = await connected()
    const movedTo = (id: string) => `/ip4/198.51.100.${PEERS.indexOf(id as never)}/tcp/4001/p2p/${id}`
    for (const id of PEERS.slice(1)) {
      world.net.places.set(id, movedTo(id))
      leader.send({ type: 'members', members: [{ peerId: id, addresses: [movedTo(id)] }] })
      await clock.advance(1000)
    }
    const { id } = client!.session
    world.elect(world.peers[2]!, 2)
    world.net.down.add(leader.id)
    leader.cut()
    await clock.advance(2000)
    expect(client!.session).toMatchObject({ id, state: 'active' })
  })

  it('a client dials the next peer while a slow peer has not answered', async () => {
    world = new World()
    world.elect(world.peers[2]!, 2)
    world.leader.greeting = undefined
    world.leader.holding.add('hello')
    world.net.mute.add(PEERS[1])
    const start = world.clock.now()
    client = await world.until(world.create({ peers: PEERS.map(addressOf) }))
    expect(world.net.dialed).toEqual(PEERS)
    expect(world.clock.now() - start).toBeLessThan(STEP_MS / 4)
  })

  it('a client dials no other peer if the first one leads and answers soon', async () => {
    const { clock } = await connected((w) => (w.net.roundTripMs = 40), { peers: PEERS.map(addressOf) })
    await clock.advance(5000)
    expect(world.net.dialed).toEqual([PEERS[0]])
  })

  it('a client registers with only one of several claimed leaders and ends the other connections', async () => {
    const [first, second, third] = (world = new World()).peers as [FakePeer, FakePeer, FakePeer]
    for (const peer of world.peers) {
      peer.greeting = undefined
      peer.holding.add('hello')
    }
    const creating = world.create({ peers: PEERS.map(addressOf) })
    await world.clock.advance(STEP_MS / 2)
    expect(world.net.dialed).toEqual(PEERS)
    // All three answers arrive in the same turn.
    second.release('hello')
    third.release('hello')
    first.release('hello')
    client = await world.until(creating)
    expect(world.peers.map((peer) => peer.of('register').length)).toEqual([0, 1, 0])
    expect([first.control!.isOver, second.control!.isOver, third.control!.isOver]).toEqual([true, false, true])
  })

  it('a client dials the next peer when a dial hangs', async () => {
    world = new World()
    world.elect(world.peers[1]!, 2)
    world.net.mute.add(PEERS[0])
    client = await world.until(world.create({ peers: PEERS.map(addressOf) }))
    expect(client.session.state).toBe('active')
  })

  it('a client 600 ms away connects before it knows its round trip, and keeps its session for ten TTLs', async () => {
    const { leader, clock } = await connected((w) => (w.net.roundTripMs = 600), { sessionTtlMs: 6000 })
    expect(leader.connections).toBe(1)
    const { id } = client!.session
    for (let i = 0; i < 60; i++) {
      await clock.advance(1000)
      expect(client!.session).toEqual({ id, state: 'active', ttlMs: 6000 })
    }
    expect(leader.connections).toBe(1)
  })

  it('a client 600 ms away reconnects after its connection breaks, and follows a change of leader', async () => {
    const { leader, clock } = await connected((w) => (w.net.roundTripMs = 600), { sessionTtlMs: 10_000 })
    const { id } = client!.session
    leader.cut()
    await clock.advance(9000)
    expect(client!.session).toMatchObject({ id, state: 'active' })
    world.elect(world.peers[1]!, 5)
    leader.redirect(PEERS[1])
    await clock.advance(9000)
    expect(client!.session).toMatchObject({ id, state: 'active' })
    expect(world.peers[1]!.session).toBe(Number(id))
  })

  it('a client gives each handshake step a time limit that fits the round trip between the peers', async () => {
    world = new World()
    world.leader.roundTripMs = 1000
    world.leader.holding.add('register')
    world.net.down.add(PEERS[1]).add(PEERS[2])
    const startedAt = world.clock.now()
    const creating = failure(world.until(world.create({ faultTimeoutMs: 9000 })))
    while (world.leader.connections < 2) await world.clock.advance(10)
    expect(world.clock.now() - startedAt).toBeGreaterThanOrEqual(4000)
    expect(world.clock.now() - startedAt).toBeLessThan(4500)
    await creating
  })

  it('a client asks for a TTL long enough to renew over its round trip', async () => {
    const { leader } = await connected((w) => (w.net.roundTripMs = 600), { sessionTtlMs: 500 })
    expect(leader.last('register').ttlMs).toBe(9600)
    expect(client!.session).toMatchObject({ state: 'active', ttlMs: 9600 })
    await world.clock.advance(20_000)
    expect(client!.session).toMatchObject({ state: 'active' })
    expect(leader.connections).toBe(1)
  })

  it('a client never registers at a lower term than it has seen', async () => {
    const { leader } = await connected((w) => w.elect(w.leader, 7))
    const deposed = world.peers[1]!
    leader.greeting = leader.redirection(deposed.id)
    deposed.greeting = undefined
    deposed.term = 6
    leader.cut()
    await world.clock.advance(1000)
    expect(deposed.of('hello').length).toBeGreaterThan(0)
    expect(deposed.of('hello')[0]!.fence).toBe(7)
    expect(deposed.of('register')).toEqual([])
    deposed.term = 8
    await world.clock.advance(1000)
    expect(deposed.last('register').session).toBe(leader.session)
  })

  it('a client raises its fence on both lanes before it registers', async () => {
    const { leader } = await connected((w) => w.elect(w.leader, 7))
    const lanes = leader.received.filter(({ message }) => message.type === 'hello' || message.type === 'register')
    expect(lanes.map(({ lane, message }) => [lane, message.type])).toEqual([
      ['control', 'hello'],
      ['bulk', 'hello'],
      ['control', 'register']
    ])
    leader.cut()
    await world.clock.advance(100)
    expect(leader.of('hello').at(-1)!.fence).toBe(7)
    expect(leader.of('hello').at(-1)!.clusterId).toBe('blue')
  })

  it('a client skips a peer of another cluster', async () => {
    world = new World()
    world.elect(world.peers[1]!, 2)
    world.peers[0]!.greeting = { ...world.leader.redirection(''), founding: 'another' }
    client = await world.until(world.create({ peers: PEERS.map(addressOf), cluster: FOUNDING }))
    expect(client.session.state).toBe('active')
    expect(world.peers[0]!.of('hello')).toHaveLength(1)
  })

  it('createDsmClient rejects at once when no known peer belongs to the pinned cluster', async () => {
    world = new World()
    const error = await failure(world.until(world.create({ cluster: 'a'.repeat(64) }), 100))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', code: 'ERR_NOT_AUTHORIZED' })
    expect(error).toMatchObject({ reason: expect.stringContaining('it belongs to cluster blue') })
  })

  it('a client stays with the cluster that answered first, and ignores a peer of another cluster', async () => {
    const { leader } = await connected()
    const other = world.peers[1]!
    world.elect(other, 2)
    other.greeting = { ...other.redirection(''), founding: 'another' }
    leader.greeting = leader.redirection(other.id)
    leader.cut()
    await world.clock.advance(1000)
    expect(other.of('hello')).toHaveLength(1)
    expect(leader.of('hello').at(-1)!.founding).toBe(FOUNDING)
  })
})

const unlisted = () =>
  ({
    type: 'refused',
    error: errorToWire(new NotAuthorizedError(SELF, 'it is not listed under "clients"'))
  }) as const

describe('a refusal', () => {
  it('createDsmClient rejects at once when a peer refuses the hello', async () => {
    world = new World()
    const error = new NotAuthorizedError('someone', 'it is not on the list')
    world.leader.greeting = { type: 'refused', error: errorToWire(error) }
    const creating = world.create()
    const settled = await outcome(creating)
    expect(settled).toMatchObject({ name: 'NotAuthorizedError', who: 'someone', reason: 'it is not on the list' })
  })

  it('createDsmClient rejects at once when the only known peer refuses it, and names the client once', async () => {
    world = new World()
    world.leader.greeting = unlisted()
    const start = world.clock.now()
    const error = await failure(world.until(world.create()))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect(error.message.split(SELF)).toHaveLength(2)
    expect(error.message).toContain('"clients"')
    expect(world.clock.now() - start).toBeLessThanOrEqual(10)
    expect(world.clock.pending).toBe(0)
  })

  it('a refusal of this client is final after the client has asked every other peer once', async () => {
    world = new World()
    for (const peer of world.peers) peer.greeting = unlisted()
    const peers = PEERS.map(addressOf)
    const start = world.clock.now()
    expect(await failure(world.until(world.create({ peers })))).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect([...world.net.dialed].sort()).toEqual([...PEERS].sort())
    expect(world.clock.now() - start).toBeLessThanOrEqual(50)
  })

  it('a client connects even if a peer with an old configuration refuses it', async () => {
    world = new World()
    world.elect(world.peers[2]!, 4)
    world.leader.greeting = unlisted()
    const peers = [PEERS[0], PEERS[1]].map(addressOf)
    client = await world.until(world.create({ peers }))
    expect(client.session.state).toBe('active')
    // The client asked the refusing peer only once, and the second peer named the leader.
    expect(world.net.dialed).toEqual([PEERS[0], PEERS[1], PEERS[2]])
  })

  it('a refusal of this client is final after one second, even if the other peers do not answer', async () => {
    world = new World()
    world.leader.greeting = unlisted()
    world.net.mute.add(PEERS[1]).add(PEERS[2])
    const start = world.clock.now()
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf) })))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect(world.clock.now() - start).toBeLessThanOrEqual(1010)
    expect(world.clock.pending).toBe(0)
  })

  it('a refusal of this client is final soon even if the peers asked before do not answer', async () => {
    world = new World()
    world.net.mute.add(PEERS[0]).add(PEERS[1])
    world.peers[2]!.greeting = unlisted()
    const start = world.clock.now()
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf) })))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect(world.clock.now() - start).toBeLessThanOrEqual(1000 + STEP_MS / 10 + 10)
    expect(world.clock.pending).toBe(0)
  })

  it('a refusal of this client is final if the other peers know only the leader that refused it', async () => {
    world = new World()
    world.leader.greeting = unlisted()
    for (const peer of world.peers.slice(1)) peer.greeting = peer.redirection(PEERS[0])
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf) })))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect([...world.net.dialed].sort()).toEqual([...PEERS].sort())
  })

  it('createDsmClient rejects when the leader refuses the registration', async () => {
    world = new World()
    const error = new NotAuthorizedError('someone', 'it was banned')
    world.leader.registration = { type: 'refused', error: errorToWire(error) }
    expect(await outcome(world.create())).toMatchObject({ name: 'NotAuthorizedError', reason: 'it was banned' })
  })

  it('createDsmClient rejects with QuotaExceededError when the leader has no room for a session', async () => {
    world = new World()
    world.leader.registration = { type: 'refused', error: errorToWire(new QuotaExceededError('sessions', 3)) }
    const error = await outcome(world.create())
    expect(error).toBeInstanceOf(QuotaExceededError)
    expect(error).toMatchObject({ code: 'ERR_QUOTA', quota: 'sessions', limit: 3 })
    expect(world.clock.pending).toBe(0)
  })

  it('createDsmClient rejects with VersionMismatchError when a peer refuses the protocol version', async () => {
    world = new World()
    world.leader.greeting = { type: 'refused', error: { code: 'ERR_VERSION', facts: ['protocol', 1, 2] } }
    expect(await outcome(world.create())).toMatchObject({ name: 'VersionMismatchError', found: 1, supported: 2 })
  })

  it('createDsmClient refuses the private key of a peer, given or named by the cluster', async () => {
    for (const [self, dialled] of [
      [PEERS[0], []],
      [PEERS[2], [PEERS[0]]]
    ] as const) {
      world = new World()
      expect(await outcome(world.create({}, self))).toMatchObject({
        name: 'InvalidArgumentError',
        argument: 'privateKey',
        value: self
      })
      expect(world.net.dialed).toEqual(dialled)
      expect(world.clock.pending).toBe(0)
    }
  })

  it('a refusal does not end a live session, because only the cluster ends a session', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(5))
    const error = errorToWire(new NotAuthorizedError('someone', 'it was banned'))
    leader.send({ type: 'refused', error })
    leader.greeting = { type: 'refused', error }
    await clock.advance(TTL)
    expect(client!.session.state).toBe('suspect')
    leader.greeting = undefined
    await clock.advance(1000)
    expect(client!.session.state).toBe('active')
    expect(await mapping.read(0, 1)).toEqual(byte(5))
  })
})

describe('the log of a client', () => {
  it('a client logs its session, each leader that it finds or loses, and its lost bytes', async () => {
    const lines: Record<string, unknown>[] = []
    const logger = pino({ level: 'info', base: null }, { write: (line) => lines.push(JSON.parse(line)) })
    const said = (): unknown[] => lines.splice(0).map(({ level: _level, time: _time, ...line }) => line)
    const { leader, clock, mapping } = await withFile({ logger })
    await mapping.write(0, byte(5))
    const short = (id: string): string => `…${id.slice(-8)}`
    expect(said()).toEqual([
      { leader: short(leader.id), term: 1, msg: 'connected to the leader' },
      { session: 1, id: client!.peerId, clusterId: 'blue', ttlMs: TTL, msg: 'session opened' }
    ])
    const next = world.peers[1]!
    world.elect(next, 2)
    leader.cut()
    await clock.advance(1000)
    expect(said()).toEqual([
      { leader: short(leader.id), term: 1, reason: expect.any(String) as string, msg: 'connection to the leader lost' },
      { leader: short(next.id), term: 2, msg: 'connected to the leader' }
    ])
    next.send({ type: 'expired', session: next.session })
    await settle()
    expect(said()).toEqual([{ session: 1, lostBytes: 4096, lostRanges: 1, msg: 'session expired' }])
    await world.until(client!.open('/f'))
    expect(said()).toMatchObject([{ msg: 'connected to the leader' }, { msg: 'session opened' }])
    await world.until(client!.close())
    expect(said()).toMatchObject([{ msg: 'session ended' }])
  })
})

describe('unreachable peers', () => {
  it('createDsmClient rejects after faultTimeoutMs, and names each unreachable peer', async () => {
    world = new World()
    world.net.down.add(PEERS[0])
    const start = world.clock.now()
    expect(await failure(world.until(world.create({ faultTimeoutMs: 5000 })))).toMatchObject({
      name: 'UnavailableError',
      reason: `no peer answered; unreachable: …${PEERS[0].slice(-8)} at 192.0.2.1:4001 (cannot reach ${PEERS[0]}) (waited 5000 ms)`
    })
    expect(world.clock.now() - start).toBeLessThanOrEqual(5020)
  })

  it('the reason states that no peer knows a leader', async () => {
    world = new World()
    for (const peer of world.peers) peer.greeting = peer.redirection('')
    expect(await failure(world.until(world.create({ faultTimeoutMs: 5000 })))).toMatchObject({
      reason: 'no leader: 3 of 3 peers answered (3 followers) (waited 5000 ms)'
    })
  })

  it('the reason states that the only reachable leader did not answer the registration', async () => {
    world = new World()
    world.net.down.add(PEERS[1]).add(PEERS[2])
    world.leader.holding.add('register')
    expect(await failure(world.until(world.create({ faultTimeoutMs: 2405 })))).toMatchObject({
      reason: expect.stringMatching(
        /^no leader with a majority: 1 of 3 peers answered \(leader\).* \(waited 2405 ms\)$/
      ) as string
    })
  })

  it('the reason counts the peers that answered, and states for each other peer why it did not', async () => {
    world = new World()
    const [first, second, third] = world.peers as [FakePeer, FakePeer, FakePeer]
    first.role = 'candidate'
    first.greeting = first.redirection('')
    world.net.down.add(second.id)
    world.net.mute.add(third.id)
    const error = await failure(world.until(world.create({ faultTimeoutMs: 9000 })))
    const name = (peer: FakePeer) => `…${peer.id.slice(-8)} at 192.0.2.${1 + world.peers.indexOf(peer)}:4001`
    expect(error).toMatchObject({
      name: 'UnavailableError',
      reason:
        `no leader: 1 of 3 peers answered (candidate); unreachable: ${name(second)} (cannot reach ${second.id}), ` +
        `${name(third)} (did not answer within ${STEP_MS} ms) (waited 9000 ms)`
    })
  })

  it('the reason includes the answer of a peer that the client asked after hanging peers', async () => {
    const [first, second, third] = (world = new World()).peers as [FakePeer, FakePeer, FakePeer]
    world.net.mute.add(first.id).add(second.id)
    third.role = 'candidate'
    third.greeting = third.redirection('')
    const names = [first, second].map(({ id }, i) => `…${id.slice(-8)} at 192.0.2.${i + 1}:4001`)
    const reasonAfter = async (faultTimeoutMs: number): Promise<unknown> =>
      ((await failure(world.until(world.create({ peers: PEERS.map(addressOf), faultTimeoutMs })))) as UnavailableError)
        .reason
    expect(await reasonAfter(1000)).toBe(
      `no leader: 1 of 3 peers answered (candidate); no answer yet: ${names.join(', ')} (waited 1000 ms)`
    )
    const problem = `(did not answer within ${STEP_MS} ms)`
    expect(await reasonAfter(4000)).toBe(
      `no leader: 1 of 3 peers answered (candidate); unreachable: ${names.map((name) => `${name} ${problem}`).join(', ')}` +
        ' (waited 4000 ms)'
    )
  })

  it('the reason names an unreachable leader to which the other peers still redirect', async () => {
    world = new World()
    for (const peer of world.peers) peer.greeting = peer.redirection(PEERS[1])
    world.net.down.add(PEERS[1])
    expect(await failure(world.until(world.create({ faultTimeoutMs: 5000 })))).toMatchObject({
      reason: expect.stringMatching(
        new RegExp(
          `^the leader is …${PEERS[1].slice(-8)} at 192.0.2.2:4001, which cannot be reached: 2 of 3 peers answered \\(2 followers\\)`
        )
      ) as string
    })
  })

  it('the reason names the peers that have not answered by the time-out', async () => {
    world = new World()
    for (const id of PEERS) world.net.mute.add(id)
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf), faultTimeoutMs: 1000 })))
    const names = PEERS.map((id, i) => `…${id.slice(-8)} at 192.0.2.${i + 1}:4001`)
    expect(error).toMatchObject({ reason: `no peer answered; no answer yet: ${names.join(', ')} (waited 1000 ms)` })
  })

  it('a call waits for a connection, and rejects at its time-out with the reason for its absence', async () => {
    const { leader, file } = await withFile({ faultTimeoutMs: 5000 })
    world.net.down.add(PEERS[0])
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.cut()
    await expect(world.until(file.stat())).rejects.toThrow(
      /^unavailable: no peer answered; unreachable: …\w{8} at 192\.0\.2\.\d:4001 \(cannot reach 12D3.* \(waited 5000 ms\)$/
    )
  })

  it('the reason names the leader if it answers only keep-alives', async () => {
    const { leader, file } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('statFile')
    await expect(world.until(file.stat())).rejects.toMatchObject({
      reason: `the leader …${PEERS[0].slice(-8)} has not answered (waited 5000 ms)`
    })
    expect(view(client!).pendingRequests).toBe(0)
  })

  it('a call rejects with BusyError at the time-out if another client holds the page', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('fault')
    await expect(world.until(mapping.read(4096, 1))).rejects.toMatchObject({
      name: 'BusyError',
      path: '/f',
      offset: 4096
    })
    await expect(world.until(mapping.pin(8192, 1, 'write'))).rejects.toMatchObject({ name: 'BusyError', offset: 8192 })
    leader.release('fault')
    await world.clock.advance(10)
    expect(await mapping.read(4096, 1)).toEqual(byte(0))
  })
})

describe('a call over many pages', () => {
  /** Releases one held answer of the leader every `everyMs`, `times` times. */
  async function trickle(type: 'fault' | 'writeback', times: number, everyMs: number) {
    for (let i = 0; i < times; i++) {
      await world.clock.advance(everyMs)
      world.leader.releaseNext(type)
    }
    await world.clock.advance(1)
  }

  it('a read waits up to faultTimeoutMs for each page', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('fault')
    const reading = mapping.read(0, 4 * 4096)
    await trickle('fault', 4, 4000)
    expect(await reading).toHaveLength(4 * 4096)
  })

  it('a pin waits up to faultTimeoutMs for each page', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('fault')
    const pinning = mapping.pin(0, 4 * 4096, 'write')
    await trickle('fault', 4, 4000)
    const pinned = await pinning
    pinned.release()
  })

  it('a pin rejects when no page arrives for faultTimeoutMs, and the error names the first missing page', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('fault')
    const pinning = mapping.pin(0, 4 * 4096, 'write')
    await trickle('fault', 3, 4000)
    await world.clock.advance(4900)
    expect(await outcome(pinning)).toBe('waiting')
    await world.clock.advance(200)
    expect(await outcome(pinning)).toMatchObject({ name: 'BusyError', offset: 3 * 4096 })
    leader.release('fault')
  })

  it('a read rejects when no page arrives for faultTimeoutMs, and the error names the first missing page', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('fault')
    const reading = mapping.read(0, 4 * 4096)
    await trickle('fault', 3, 4000)
    await world.clock.advance(4900)
    expect(await outcome(reading)).toBe('waiting')
    await world.clock.advance(200)
    expect(await outcome(reading)).toMatchObject({ name: 'BusyError', offset: 3 * 4096 })
    leader.release('fault')
  })

  it('a flush waits up to faultTimeoutMs for each page', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
    leader.creditBytes = 4096
    leader.cut()
    await world.clock.advance(1000)
    await mapping.write(0, new Uint8Array(4 * 4096).fill(1))
    leader.holding.add('writeback')
    const flushing = mapping.msync()
    await trickle('writeback', 4, 4000)
    await flushing
    leader.release('writeback')
  })
})

describe('opens', () => {
  it('opens run concurrently, each with its own time-out', async () => {
    const { client: opener, leader, clock } = await connected(undefined, { faultTimeoutMs: 1000, sessionTtlMs: 60_000 })
    leader.holding.add('open')
    const start = clock.now()
    const failures = [1, 2, 3].map((i) => failure(opener.open(`/${i}`, { create: true })))
    await world.until(Promise.all(failures))
    expect(clock.now() - start).toBeLessThan(1100)
  })

  it('an open waits for a close no longer than the opens already in flight take', async () => {
    const { client: opener, leader, clock, file } = await withFile({ faultTimeoutMs: 1000, sessionTtlMs: 60_000 })
    leader.holding.add('open')
    const start = clock.now()
    const first = failure(opener.open('/1', { create: true }))
    const closing = file.close()
    await clock.advance(500)
    const second = failure(opener.open('/2', { create: true }))
    await world.until(Promise.all([first, second, closing]))
    expect(clock.now() - start).toBeLessThan(2100)
    leader.release('open')
  })
})

describe('a session', () => {
  it('a client sends a keep-alive every quarter of its TTL', async () => {
    const { leader, clock } = await connected()
    await clock.advance(TTL * 5)
    const { length } = leader.of('keepAlive')
    expect(length).toBeGreaterThanOrEqual(17)
    expect(length).toBeLessThanOrEqual(20)
    expect(client!.session.state).toBe('active')
    expect(leader.connections).toBe(1)
  })

  it('a client uses the granted TTL instead of the requested one', async () => {
    world = new World()
    world.cluster.sessions.set(1, { ttlMs: 2000 })
    world.leader.registration = {
      type: 'registered',
      term: 1,
      session: 1,
      ttlMs: 2000,
      creditBytes: 65_536,
      maxFaults: 8
    }
    client = await world.until(world.create({ sessionTtlMs: TTL }))
    world.leader.registration = undefined
    world.leader.holding.add('keepAlive')
    await world.clock.advance(1000)
    expect(world.leader.of('keepAlive').length).toBeGreaterThan(0)
  })

  it('a client looks for another leader when a keep-alive stays unanswered for a third of the TTL', async () => {
    const { leader, clock } = await connected()
    leader.holding.add('keepAlive')
    world.elect(world.peers[1]!, 2)
    await clock.advance(TTL / 4 + TTL / 3 - 100)
    expect(world.peers[1]!.connections).toBe(0)
    await clock.advance(1500)
    expect(world.peers[1]!.last('register').session).toBe(leader.session)
    // The client found the new leader before its lease ran out, so the session was never suspect.
    expect(client!.session.state).toBe('active')
  })

  it('a session is suspect after its lease, and becomes active without loss when the cluster confirms it', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(5))
    world.net.down.add(PEERS[0])
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.cut()
    await clock.advance(TTL / 2)
    expect(client!.session.state).toBe('active')
    // A valid lease covers the cached pages even without a connection.
    expect(await mapping.read(0, 1)).toEqual(byte(5))
    await clock.advance(TTL / 2)
    expect(client!.session.state).toBe('suspect')
    const reading = mapping.read(0, 1)
    const writing = mapping.write(1, byte(6))
    expect([await outcome(reading), await outcome(writing)]).toEqual(['waiting', 'waiting'])
    const { id } = client!.session
    world.net.down.clear()
    await clock.advance(1000)
    expect(client!.session).toMatchObject({ id, state: 'active' })
    expect([await outcome(reading), await outcome(writing)]).toEqual(['resolved', 'resolved'])
    expect(await mapping.read(0, 2)).toEqual(new Uint8Array([5, 6]))
  })

  it('a client serves nothing after a pause past its lease until the leader confirms the session', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(5))
    leader.holding.add('keepAlive')
    clock.sleep(TTL)
    const reading = mapping.read(0, 1)
    const pinning = mapping.pin(0, 1, 'read')
    const writing = mapping.write(0, byte(6))
    expect([await outcome(reading), await outcome(pinning), await outcome(writing)]).toEqual([
      'waiting',
      'waiting',
      'waiting'
    ])
    // The write has not changed the frame either, because another client may own the page by now.
    for (const page of view(client!).pages) expect(page.frame!.bytes[0]).toBe(5)
    await clock.advance(500)
    leader.release('keepAlive')
    expect([await outcome(reading), await outcome(pinning), await outcome(writing)]).toEqual([
      'resolved',
      'resolved',
      'resolved'
    ])
    ;(await pinning).release()
  })

  it('an answer to a keep-alive of an earlier connection does not extend the lease', async () => {
    const { leader, clock } = await connected()
    leader.holding.add('keepAlive')
    await clock.advance(TTL / 4 + 500)
    const { nonce } = leader.last('keepAlive')
    leader.cut()
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.send({ type: 'keepAliveAck', term: 1, nonce })
    await clock.advance(TTL)
    expect(client!.session.state).toBe('suspect')
  })
})

describe('requests', () => {
  it('a client repeats a request with the same seq after a reconnection, and it takes effect once', async () => {
    const { leader, clock, cluster } = await connected()
    leader.holding.add('open')
    const opening = client!.open('/f', { create: true })
    await clock.advance(10)
    const { seq } = leader.last('open')
    leader.cut()
    leader.holding.clear()
    await clock.advance(100)
    expect(leader.of('open').map((open) => open.seq)).toEqual([seq, seq])
    expect((await opening).id).toBe('100')
    expect(cluster.files.size).toBe(1)
  })

  it('a request tells the leader below which seq all answers have arrived', async () => {
    const { leader, clock } = await connected()
    leader.holding.add('stat')
    await client!.open('/f', { create: true })
    const stats = [client!.stat('/f'), client!.stat('/f')]
    await clock.advance(1)
    await client!.open('/g', { create: true })
    const sent = leader.received.map(({ message }) => message).filter((message) => message.type === 'open')
    const [first, second] = leader.of('stat')
    // The client sends the second open before the stats are answered, so only lower seqs are settled.
    expect(sent.map(({ seq, settled }) => [seq, settled])).toEqual([
      [first!.seq - 1, first!.seq - 1],
      [second!.seq + 1, first!.seq]
    ])
    leader.release('stat')
    await Promise.all(stats)
    await client!.open('/h', { create: true })
    const last = leader.last('open')
    expect(last.settled).toBe(last.seq)
  })

  it('a client keeps at most 32 requests in flight, and queues further calls', async () => {
    const { leader, clock } = await connected()
    await client!.open('/f', { create: true })
    leader.holding.add('stat')
    const stats = Array.from({ length: 100 }, () => client!.stat('/f'))
    await clock.advance(1)
    expect(leader.of('stat').length).toBeLessThanOrEqual(32)
    let answered = 0
    while (answered < leader.of('stat').length) {
      leader.answer(leader.of('stat')[answered++]!)
      await clock.advance(1)
      expect(leader.of('stat').length - answered).toBeLessThanOrEqual(32)
    }
    expect(await Promise.all(stats)).toHaveLength(100)
    expect(leader.connections).toBe(1)
  })

  it('an aborted request counts as in flight until its answer arrives', async () => {
    const { leader, clock } = await connected()
    await client!.open('/f', { create: true })
    leader.holding.add('stat')
    for (let round = 0; round < 4; round++) {
      const controller = new AbortController()
      const stats = Array.from({ length: 20 }, () => client!.stat('/f', { signal: controller.signal }))
      await clock.advance(1)
      controller.abort()
      await Promise.allSettled(stats)
    }
    expect(leader.of('stat').length).toBeLessThanOrEqual(32)
    leader.release('stat')
    await clock.advance(1)
    expect((await client!.stat('/f')).path).toBe('/f')
    expect(leader.connections).toBe(1)
  })

  it('a failed request rejects with the typed error of the leader', async () => {
    const { leader, clock } = await connected()
    leader.holding.add('open')
    const opening = client!.open('/f')
    await clock.advance(1)
    leader.send({ type: 'failed', seq: leader.last('open').seq, error: { code: 'ERR_NO_ENTRY', facts: ['/f'] } })
    expect(await outcome(opening)).toMatchObject({ name: 'NoSuchFileError', path: '/f' })
  })
})

describe('a change of leader', () => {
  it('a client follows the redirect of the old leader to the new one at once', async () => {
    const { leader, clock } = await withFile()
    world.elect(world.peers[2]!, 5)
    leader.redirect(PEERS[2])
    await clock.advance(100)
    expect(world.net.dialed).toEqual([PEERS[0], PEERS[2]])
    expect(world.peers[2]!.last('register').session).toBe(leader.session)
  })

  it('a client emits one leaderchange event for each new term', async () => {
    const { leader, clock } = await connected()
    const events: unknown[] = []
    const listener = (event: CustomEvent<unknown>) => events.push(event.detail)
    client!.addEventListener('leaderchange', listener)
    leader.cut()
    await clock.advance(100)
    expect(events).toEqual([])
    world.elect(world.peers[1]!, 5)
    leader.redirect(PEERS[1])
    await clock.advance(100)
    expect(events).toEqual([{ leader: PEERS[1], term: 5 }])
    client!.removeEventListener('leaderchange', listener)
    world.elect(world.peers[2]!, 6)
    world.peers[1]!.redirect(PEERS[2])
    await clock.advance(100)
    expect(events).toHaveLength(1)
  })

  it('a client repeats only its unanswered faults to a new leader', async () => {
    const { leader, clock, mapping } = await withFile()
    leader.holding.add('writeback')
    leader.holding.add('fault')
    const reading = mapping.read(8192, 1)
    await clock.advance(1)
    leader.release('fault')
    await clock.advance(1)
    leader.holding.add('fault')
    const waiting = mapping.read(4096, 1)
    await mapping.read(8192, 1)
    await clock.advance(1)
    world.elect(world.peers[1]!, 2)
    leader.redirect(PEERS[1])
    await clock.advance(100)
    expect([await outcome(reading), await outcome(waiting)]).toEqual(['resolved', 'resolved'])
    expect(world.peers[1]!.of('fault').map((fault) => fault.page)).toEqual([1])
  })

  it('a client repeats its writebacks to a new leader, with the current bytes', async () => {
    const { leader, clock, mapping, cluster } = await withFile()
    leader.holding.add('writeback')
    await mapping.write(0, byte(1))
    const flushing = mapping.msync()
    await clock.advance(1)
    await mapping.write(0, byte(2))
    world.elect(world.peers[1]!, 2)
    leader.redirect(PEERS[1])
    await clock.advance(100)
    expect(await outcome(flushing)).toBe('resolved')
    expect(cluster.pages.get('100:0')!.bytes[0]).toBe(2)
  })
})

describe('messages right behind registered', () => {
  it('a client handles a message that arrives in the same turn as registered', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(9))
    leader.cut()
    const order = { term: 1, op: 31, file: 100, page: 0, after: 0 }
    leader.behindRegistered = [{ type: 'downgrade', ...order }]
    await clock.advance(100)
    expect(leader.last('ownerAckDirty')).toMatchObject({ op: 31, dirty: { file: 100, page: 0 } })
  })

  it('a client ignores messages behind registered if it has dropped the connection', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(9))
    leader.cut()
    leader.behindRegistered = [
      leader.redirection(''),
      { type: 'revoke', term: 1, op: 31, file: 100, page: 0, after: 0 }
    ]
    await clock.advance(1)
    await clock.advance(100)
    expect(leader.of('ownerAckDirty')).toEqual([])
    expect(client!.stats().handovers).toBe(0)
    expect(await mapping.read(0, 1)).toEqual(byte(9))
  })
})

describe('an expired session', () => {
  async function expired() {
    const set = await withFile()
    const { mapping, cluster, leader, clock } = set
    const lost: (readonly LostRange[])[] = []
    client!.addEventListener('sessionlost', (event) => lost.push(event.detail.lost))
    await mapping.write(0, byte(1))
    await mapping.msync()
    await mapping.write(4096, new Uint8Array(8192))
    const pin = await mapping.pin(4096, 10, 'write')
    leader.holding.add('fault')
    const waiting = mapping.read(10 * 4096, 1)
    waiting.catch(() => {})
    await clock.advance(1)
    const { id } = client!.session
    cluster.expire()
    return { ...set, lost, pin, waiting, oldId: id }
  }

  const ranges = [{ file: '100', path: '/f', offset: 4096, length: 8192 }]

  it('a client learns of the expiry when it registers, and its calls fail with the lost ranges', async () => {
    const { leader, clock, lost, pin, waiting, mapping, file } = await expired()
    leader.cut()
    await clock.advance(100)
    expect(client!.session.state).toBe('expired')
    expect(lost).toEqual([ranges])
    expect(pin.lost.aborted).toBe(true)
    expect(pin.lost.reason).toBeInstanceOf(SessionExpiredError)
    const error = await outcome(waiting)
    expect(error).toMatchObject({ name: 'SessionExpiredError', lost: ranges })
    expect((error as Error).message).toBe('session 1 has expired; 8192 unflushed bytes in 1 ranges are lost')
    expect(await outcome(mapping.read(0, 1))).toBe(error)
    expect(await outcome(file.stat())).toBe(error)
    pin.release()
    expect(client!.stats().frameBytesUsed).toBe(0)
  })

  it('a client learns of the expiry from an expired message on its connection', async () => {
    const { leader, lost, waiting } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    expect(await outcome(waiting)).toBeInstanceOf(SessionExpiredError)
    expect(lost).toEqual([ranges])
  })

  it('every call on the files of an expired session fails with the lost ranges, also munmap and close', async () => {
    const { leader, file, mapping, pin } = await expired()
    const copy = await file.mmap({ flags: 'private', length: 4096 })
    await copy.write(0, byte(9))
    const other = await client!.open('/clean', { create: true, size: 4096 })
    const clean = await other.mmap()
    leader.send({ type: 'expired', session: leader.session })
    await world.clock.advance(1)
    const at = async (call: () => unknown): Promise<unknown> => call()
    const calls = [
      () => file.stat(),
      () => file.read(0, 1),
      () => file.write(0, byte(1)),
      () => file.truncate(0),
      () => file.punchHole(0, 1),
      () => file.sync(),
      () => file.mmap(),
      () => at(() => file.addressSpace.unmapMappingRange(0, 0)),
      () => file.addressSpace.writeMappingRange(0, 0),
      () => file.addressSpace.evictMappingRange(0, 0),
      ...[mapping, copy].flatMap((map) => [
        () => map.read(0, 1),
        () => map.readInto(0, byte(0)),
        () => map.write(0, byte(1)),
        () => map.pin(0, 1, 'write'),
        () => map.msync(),
        () => at(() => map.tryRead(0, byte(0))),
        () => at(() => map.tryWrite(0, byte(1)))
      ]),
      () => mapping.munmap(),
      () => file.close(),
      () => file.close()
    ]
    for (const call of calls) {
      const error = await failure(call())
      expect(error).toBeInstanceOf(SessionExpiredError)
      expect(error).toMatchObject({ code: 'ERR_SESSION_EXPIRED', session: '1', lost: ranges })
    }
    // These lost no shared write, so munmap and close succeed.
    await copy.munmap()
    await clean.munmap()
    await other.close()
    pin.release()
    expect(client!.stats().frameBytesUsed).toBe(0)
  })

  it('a call rejects if the cluster refuses a new session, and the next call tries again', async () => {
    const { leader, clock, pin } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    await clock.advance(100)
    leader.registration = { type: 'refused', error: errorToWire(new QuotaExceededError('sessions', 3)) }
    const calls: (() => Promise<unknown>)[] = [
      () => client!.open('/f'),
      () => client!.stat('/f'),
      () => client!.rename('/f', '/g'),
      () => client!.unlink('/f'),
      () => client!.list()[Symbol.asyncIterator]().next()
    ]
    for (const call of calls) {
      const error = await failure(world.until(call()))
      expect(error).toMatchObject({ name: 'QuotaExceededError', code: 'ERR_QUOTA', quota: 'sessions', limit: 3 })
    }
    leader.registration = undefined
    expect((await world.until(client!.stat('/f'))).path).toBe('/f')
    pin.release()
  })

  it('the next open after an expiry registers a new session', async () => {
    const { leader, clock, oldId, pin, mapping } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    await clock.advance(100)
    leader.holding.clear()
    expect(leader.of('register')).toHaveLength(1)
    const file = await world.until(client!.open('/f'))
    expect(client!.session.id).not.toBe(oldId)
    expect(client!.session.state).toBe('active')
    expect(leader.last('register').session).toBe(0)
    const fresh = await file.mmap()
    expect(await fresh.read(0, 1)).toEqual(byte(1))
    expect(await outcome(mapping.read(0, 1))).toMatchObject({ name: 'SessionExpiredError' })
    // Writes through a pin of the expired session reach no page of the new one.
    pin.bytes.fill(66)
    for (let page = 0; page < 16; page++) expect(await fresh.read(page * 4096, 1)).toEqual(byte(page === 0 ? 1 : 0))
    pin.release()
    pin.release()
  })

  it('concurrent calls after an expiry share one new session, and aborting one leaves it to the others', async () => {
    const { leader, clock } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    await clock.advance(100)
    leader.holding.add('register')
    const controller = new AbortController()
    const impatient = client!.stat('/f', { signal: controller.signal })
    const patient = client!.stat('/f')
    const opening = client!.open('/f')
    await clock.advance(10)
    const reason = new Error('changed my mind')
    controller.abort(reason)
    expect(await outcome(impatient)).toBe(reason)
    expect(await outcome(patient)).toBe('waiting')
    leader.release('register')
    leader.holding.clear()
    await world.until(Promise.allSettled([patient, opening]))
    expect([await outcome(patient), await outcome(opening)]).toEqual(['resolved', 'resolved'])
  })
})

describe('close', () => {
  it('close flushes, ends the session, and leaves no timer', async () => {
    const { leader, mapping, cluster } = await withFile()
    await mapping.write(0, byte(3))
    await client!.close()
    expect(cluster.pages.get('100:0')!.bytes[0]).toBe(3)
    expect(leader.of('endSession')).toHaveLength(1)
    expect(cluster.sessions.size).toBe(0)
    expect(world.clock.pending).toBe(0)
    expect(client!.stats().frameBytesUsed).toBe(0)
    expect(await outcome(client!.close())).toBe('resolved')
  })

  it('close fails waiting calls with ClosedError', async () => {
    const { leader, mapping, clock } = await withFile()
    leader.holding.add('fault')
    leader.holding.add('stat')
    const waiting = [mapping.read(0, 1), mapping.pin(4096, 1, 'write'), client!.stat('/f')]
    const outcomes = Promise.all(waiting.map((each) => failure(each)))
    await clock.advance(1)
    await world.until(client!.close())
    for (const error of await outcomes) expect(error).toMatchObject({ name: 'ClosedError', what: 'the client' })
    expect(view(client!)).toMatchObject({ isEnded: true, pendingRequests: 0 })
  })

  it('a timed-out createDsmClient ends its connection attempt', async () => {
    world = new World()
    world.leader.holding.add('hello')
    const creating = world.create({ faultTimeoutMs: 700 })
    expect(await failure(world.until(creating))).toBeInstanceOf(UnavailableError)
    expect(world.clock.pending).toBe(0)
  })

  it('close without a leader rejects with UnavailableError within its time-outs', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 3000 })
    await mapping.write(0, byte(3))
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.cut()
    const start = world.clock.now()
    await expect(world.until(client!.close())).rejects.toBeInstanceOf(UnavailableError)
    expect(world.clock.now() - start).toBeLessThanOrEqual(6100)
  })

  it('close flushes every other file if one flush fails, and reports the lost ranges of the failed file', async () => {
    // The credit allows one page in flight.
    const { leader, cluster } = await connected((w) => (w.leader.creditBytes = 4096), { faultTimeoutMs: 2000 })
    const lost: LostRange[] = []
    client!.addEventListener('sessionlost', ({ detail }) => lost.push(...detail.lost))
    const full = await client!.open('/full', { create: true, size: 4096 })
    const other = await client!.open('/other', { create: true, size: 4096 })
    await full.write(0, byte(1))
    await other.write(0, byte(2))
    leader.refuses = ({ file }) => String(file) === full.id
    const start = world.clock.now()
    await expect(world.until(client!.close())).rejects.toMatchObject({ name: 'NoSpaceError' })
    expect(world.clock.now() - start).toBeLessThan(2200)
    expect(cluster.pages.get(`${other.id}:0`)!.bytes[0]).toBe(2)
    expect(lost).toMatchObject([{ file: full.id, path: '/full', offset: 0, length: 4096 }])
    expect(leader.of('endSession')).toHaveLength(1)
  })

  it('close repeats failed writebacks', async () => {
    const { leader, cluster, file, mapping } = await withFile()
    await mapping.write(0, byte(7))
    let refusals = 0
    leader.refuses = () => ++refusals < 4
    await world.until(client!.close())
    expect(cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })

  it('close flushes writes under a live pin, and reports no loss', async () => {
    const { cluster, file, mapping } = await withFile()
    const lost: LostRange[] = []
    client!.addEventListener('sessionlost', ({ detail }) => lost.push(...detail.lost))
    const pin = await mapping.pin(0, 1, 'write')
    pin.bytes[0] = 5
    await world.until(client!.close())
    expect(cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(5)
    expect(lost).toEqual([])
    pin.release()
  })

  it('close that fails to flush does not wait also for the end of the session', async () => {
    const { leader, clock, mapping } = await withFile({ faultTimeoutMs: 3000 })
    await mapping.write(0, byte(3))
    leader.holding.add('writeback').add('endSession')
    const start = clock.now()
    await expect(world.until(client!.close())).rejects.toBeInstanceOf(UnavailableError)
    expect(clock.now() - start).toBeLessThan(4000)
  })

  it('close after a lost session rejects with the lost ranges', async () => {
    const { leader, cluster, mapping } = await withFile()
    await mapping.write(0, byte(7))
    cluster.expire()
    leader.send({ type: 'expired', session: leader.session })
    await world.clock.advance(1)
    await expect(world.until(client!.close())).rejects.toMatchObject({
      name: 'SessionExpiredError',
      lost: [{ path: '/f', offset: 0, length: 4096 }]
    })
    client = undefined
  })

  it('aborting one close of a client also rejects a concurrent close, and the unflushed bytes are lost', async () => {
    const { leader, mapping } = await withFile()
    await mapping.write(0, byte(7))
    leader.holding.add('writeback')
    const controller = new AbortController()
    const patient = client!.close()
    const hasty = client!.close({ signal: controller.signal })
    expect(await outcome(patient)).toBe('waiting')
    controller.abort(new Error('now'))
    await expect(world.until(hasty)).rejects.toThrow('now')
    await expect(world.until(patient)).rejects.toThrow('now')
  })

  it('close emits no sessionlost event if the answer to its endSession is lost', async () => {
    const { leader, clock, cluster } = await connected()
    const events: unknown[] = []
    client!.addEventListener('sessionlost', (event) => events.push(event.detail))
    leader.holding.add('endSession')
    const closing = client!.close()
    await clock.advance(1)
    cluster.expire()
    leader.cut()
    await world.until(closing)
    expect(events).toEqual([])
  })
})

describe('closing a file', () => {
  /** The leader allows one fault: the fault of `a` is in flight, and the fault of `b` waits. */
  const withTwoFiles = async () => {
    const connection = await connected((w) => (w.leader.maxFaults = 1))
    const { client, leader } = connection
    const a = await client.open('/a', { create: true, size: 4096 })
    const b = await client.open('/b', { create: true, size: 4096 })
    leader.holding.add('fault').add('close')
    const given = failure(a.read(0, 1))
    await settle()
    const reading = b.read(0, 1)
    return { ...connection, a, given, reading }
  }

  it('a queued fault waits until the leader has closed the file of the outstanding fault', async () => {
    const { leader, a, given, reading } = await withTwoFiles()
    const closing = a.close()
    expect(await given).toMatchObject({ name: 'ClosedError' })
    await settle()
    expect([leader.of('close').length, leader.of('fault').length]).toEqual([1, 1])
    leader.release('close')
    await closing
    await settle()
    expect(leader.of('fault').map(({ file }) => file)).toEqual([100, 101])
    leader.release('fault')
    expect(await world.until(reading)).toHaveLength(1)
  })

  it('a queued fault continues after an aborted close once the leader has closed the file', async () => {
    const { leader, a, reading } = await withTwoFiles()
    const controller = new AbortController()
    const closing = failure(a.close({ signal: controller.signal }))
    await settle()
    controller.abort()
    await closing
    leader.release('close')
    await settle()
    expect(leader.of('fault')).toHaveLength(2)
    leader.release('fault')
    expect(await world.until(reading)).toHaveLength(1)
  })

  it('a close that fails to flush leaves the file open with all of its mappings', async () => {
    const { leader, file, mapping } = await withFile({ faultTimeoutMs: 3000 })
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, byte(7))
    await mapping.write(4096, byte(3))
    leader.holding.add('writeback')
    await expect(world.until(file.close())).rejects.toBeInstanceOf(UnavailableError)
    expect(await mapping.read(4096, 1)).toEqual(byte(3))
    expect(await copy.read(0, 1)).toEqual(byte(7))
    expect(await file.read(4096, 1)).toEqual(byte(3))
    leader.release('writeback')
    await world.until(file.close())
    for (const dead of [mapping, copy]) await expect(dead.read(0, 1)).rejects.toBeInstanceOf(ClosedError)
    expect([...view(client!).spaces]).toEqual([])
  })
})

describe('unexpected messages', () => {
  it('a client leaves a peer that sends an unexpected message in the handshake', async () => {
    world = new World()
    world.elect(world.peers[1]!, 2)
    world.leader.greeting = { type: 'done', seq: 5 }
    client = await world.until(world.create({ peers: PEERS.map(addressOf) }))
    expect(client.session.state).toBe('active')
  })

  it('the reason states the unexpected message if the client knows no other peer', async () => {
    world = new World()
    world.leader.greeting = { type: 'done', seq: 5 }
    expect(await failure(world.until(world.create({ faultTimeoutMs: 1000 })))).toMatchObject({
      reason: expect.stringContaining('(unexpected done in the handshake) (waited 1000 ms)') as string
    })
  })

  it('a client ignores answers without a request', async () => {
    const { leader } = await connected()
    leader.send({ type: 'done', seq: 9999 })
    leader.fail(9998, new InvalidArgumentError('seq', 1, 'another'))
    leader.send({ type: 'keepAliveAck', term: 1, nonce: 77 })
    leader.send({ type: 'attached' })
    await world.clock.advance(10)
    expect(client!.session.state).toBe('active')
    expect(leader.connections).toBe(1)
  })
})
