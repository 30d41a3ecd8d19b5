/** A client finds the leader: it follows redirects, asks several peers at a time, and registers with one that leads. */
import { describe, expect, it } from 'vitest'
import { failure } from './support/client.js'
import { FOUNDING, PEERS, addressOf, type FakePeer } from './support/leader.js'
import { client, connect, connected, STEP_MS, useWorld, world } from './support/session.js'

useWorld()

describe('finding the leader', () => {
  it('a client follows a redirect to the addresses in it', async () => {
    await connected((w) => w.elect(w.peers[2]!, 4))
    expect(world.net.dialed).toEqual([PEERS[0], PEERS[2]])
    expect(client.session).toMatchObject({ state: 'active' })
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
    world.elect(world.peers[1]!, 2)
    world.net.down.add(PEERS[0])
    await connect(world.create({ peers: PEERS.map(addressOf) }))
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
    const { id } = client.session
    world.elect(world.peers[2]!, 2)
    world.net.down.add(leader.id)
    leader.cut()
    await clock.advance(2000)
    expect(client.session).toMatchObject({ id, state: 'active' })
  })

  it('a client dials the next peer while a slow peer has not answered', async () => {
    world.elect(world.peers[2]!, 2)
    world.leader.greeting = undefined
    world.leader.holding.add('hello')
    world.net.mute.add(PEERS[1])
    const start = world.clock.now()
    await connect(world.create({ peers: PEERS.map(addressOf) }))
    expect(world.net.dialed).toEqual(PEERS)
    expect(world.clock.now() - start).toBeLessThan(STEP_MS / 4)
  })

  it('a client dials no other peer if the first one leads and answers soon', async () => {
    const { clock } = await connected((w) => (w.net.roundTripMs = 40), { peers: PEERS.map(addressOf) })
    await clock.advance(5000)
    expect(world.net.dialed).toEqual([PEERS[0]])
  })

  it('a client registers with only one of several claimed leaders and ends the other connections', async () => {
    const [first, second, third] = world.peers as [FakePeer, FakePeer, FakePeer]
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
    await connect(creating)
    expect(world.peers.map((peer) => peer.of('register').length)).toEqual([0, 1, 0])
    expect([first.control!.isOver, second.control!.isOver, third.control!.isOver]).toEqual([true, false, true])
  })

  it('a client dials the next peer when a dial hangs', async () => {
    world.elect(world.peers[1]!, 2)
    world.net.mute.add(PEERS[0])
    await connect(world.create({ peers: PEERS.map(addressOf) }))
    expect(client.session.state).toBe('active')
  })

  it('a client 600 ms away connects before it knows its round trip, and keeps its session for ten TTLs', async () => {
    const { leader, clock } = await connected((w) => (w.net.roundTripMs = 600), { sessionTtlMs: 6000 })
    expect(leader.connections).toBe(1)
    const { id } = client.session
    for (let i = 0; i < 60; i++) {
      await clock.advance(1000)
      expect(client.session).toEqual({ id, state: 'active', ttlMs: 6000 })
    }
    expect(leader.connections).toBe(1)
  })

  it('a client 600 ms away reconnects after its connection breaks, and follows a change of leader', async () => {
    const { leader, clock } = await connected((w) => (w.net.roundTripMs = 600), { sessionTtlMs: 10_000 })
    const { id } = client.session
    leader.cut()
    await clock.advance(9000)
    expect(client.session).toMatchObject({ id, state: 'active' })
    world.elect(world.peers[1]!, 5)
    leader.redirect(PEERS[1])
    await clock.advance(9000)
    expect(client.session).toMatchObject({ id, state: 'active' })
    expect(world.peers[1]!.session).toBe(Number(id))
  })

  it('a client gives each handshake step a time limit that fits the round trip between the peers', async () => {
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
    expect(client.session).toMatchObject({ state: 'active', ttlMs: 9600 })
    await world.clock.advance(20_000)
    expect(client.session).toMatchObject({ state: 'active' })
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
    world.elect(world.peers[1]!, 2)
    world.peers[0]!.greeting = { ...world.leader.redirection(''), founding: 'another' }
    await connect(world.create({ peers: PEERS.map(addressOf), cluster: FOUNDING }))
    expect(client.session.state).toBe('active')
    expect(world.peers[0]!.of('hello')).toHaveLength(1)
  })

  it('createDsmClient rejects at once when no known peer belongs to the pinned cluster', async () => {
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

  it('a client leaves a peer that sends an unexpected message in the handshake', async () => {
    world.elect(world.peers[1]!, 2)
    world.leader.greeting = { type: 'done', seq: 5 }
    await connect(world.create({ peers: PEERS.map(addressOf) }))
    expect(client.session.state).toBe('active')
  })
})
