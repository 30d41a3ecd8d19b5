/** Impossible numbers and addresses from peers, which a client must reject. */
import { DEFAULT_ROUND_TRIP_MS, timingOf, type LeaderMessage, type Network } from '@quire/protocol'
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { ClusterView } from '../src/session/cluster-view.js'
import { greet } from '../src/session/handshake.js'
import { FOUNDING, PEERS, addressOf } from './support/leader.js'
import { TTL, client, connect, useWorld, world } from './support/session.js'

useWorld()

const [first, second] = PEERS

/** The first peer answers each `register` with `message`. The second peer leads properly. */
async function connectPast(message: LeaderMessage): Promise<void> {
  world.peers[0]!.registration = message
  const creating = world.create({ sessionTtlMs: TTL })
  await settle()
  world.elect(world.peers[1]!, 2)
  await connect(creating)
}

describe('a peer that names an impossible round trip', () => {
  it.each([0, 9, 1001, 5000, Number.MAX_SAFE_INTEGER])(
    'a peer that names an impossible round trip (%i ms) is left, and no trace of its answer remains',
    async (ms) => {
      const [odd, sound] = world.peers
      odd!.roundTripMs = ms
      const creating = world.create({ peers: [addressOf(first), addressOf(second)], sessionTtlMs: TTL })
      await settle()
      world.elect(sound!, 2)
      await connect(creating)
      // The client accepts the same peer when it names a possible round trip.
      odd!.roundTripMs = DEFAULT_ROUND_TRIP_MS
      world.elect(odd!, 3)
      sound!.cut()
      await world.clock.advance(3000)
      expect(client.session.state).toBe('active')
      expect(odd!.control!.isOver).toBe(false)
    }
  )

  it('a peer that names an impossible round trip does not end the live session', async () => {
    await connect(world.create({ sessionTtlMs: TTL }))
    const { session } = world.leader
    world.leader.roundTripMs = 5000
    world.leader.cut()
    await world.clock.advance(1000)
    world.leader.roundTripMs = DEFAULT_ROUND_TRIP_MS
    await world.clock.advance(2000)
    expect(client.session.state).toBe('active')
    expect(world.leader.session).toBe(session)
  })

  it('a peer that names an impossible round trip does not change the known timing', () => {
    const cluster = new ClusterView([addressOf(first)])
    const answer = { clusterId: 'c', founding: FOUNDING, members: [], roundTripMs: 100 }
    cluster.heard(first, answer)
    for (const roundTripMs of [0, 5000]) {
      expect(() => cluster.heard(first, { ...answer, clusterId: 'c', roundTripMs })).toThrow(/round trip of \d+ ms/)
    }
    expect(timingOf(cluster.roundTripMs).roundTripMs).toBe(100)
  })
})

describe('an impossible registration', () => {
  const sound = { type: 'registered', term: 1, session: 7, ttlMs: TTL, creditBytes: 65_536, maxFaults: 8 } as const
  const cases: Readonly<Record<string, LeaderMessage>> = {
    'without a time to live': { ...sound, ttlMs: 0 },
    'with a time to live of years': { ...sound, ttlMs: 1e12 },
    'without credit': { ...sound, creditBytes: 0 },
    'without faults': { ...sound, maxFaults: 0 },
    'with session 0': { ...sound, session: 0 },
    'with a term other than that of the welcome': { ...sound, term: 9 },
    'that reports its session as expired': { type: 'expired', session: 7 }
  }

  it.each(Object.entries(cases))(
    'an impossible registration (%s) makes the client leave the peer',
    async (_, message) => {
      await connectPast(message)
      expect(client.session).toMatchObject({ state: 'active', ttlMs: TTL })
      const file = await world.until(client.open('/f', { create: true, size: 4096 }))
      await world.until(file.write(0, new Uint8Array([1])))
      await world.until(file.sync())
    }
  )

  it('a registration with another session does not replace the live session', async () => {
    await connect(world.create({ sessionTtlMs: TTL }))
    const { session } = world.leader
    world.leader.registration = { ...sound, session: session + 1 }
    world.leader.cut()
    await world.clock.advance(1000)
    world.leader.registration = undefined
    await world.clock.advance(2000)
    expect(client.session).toMatchObject({ state: 'active', id: String(session) })
  })

  it('the expiry of another session ends no session', async () => {
    await connect(world.create({ sessionTtlMs: TTL }))
    const { session } = world.leader
    world.leader.send({ type: 'expired', session: session + 1 })
    await world.clock.advance(2000)
    expect(client.session).toMatchObject({ state: 'active', id: String(session) })
  })
})

describe('addresses of a peer', () => {
  const dead = ['/ip4/172.17.0.1/tcp/4001', '/ip4/10.0.0.1/tcp/4001']
  const answer = { clusterId: 'c', founding: FOUNDING, roundTripMs: 32 }

  it('addresses from another peer come after the configured one and the one that answered last', async () => {
    const cluster = new ClusterView([addressOf(first)])
    cluster.heard(second, { ...answer, members: [{ peerId: first, addresses: [...dead, addressOf(first)] }] })
    expect(cluster.pick()!.addresses).toEqual([addressOf(first), ...dead])
    await dialed(cluster, dead[1]!)
    expect(cluster.pick()!.addresses).toEqual([dead[1], addressOf(first), dead[0]])
    cluster.heard(second, { ...answer, members: [{ peerId: first, addresses: ['/ip4/192.0.2.99/tcp/1'] }] })
    expect(cluster.pick()!.addresses[0]).toBe(dead[1])
  })

  it('the client ignores invalid addresses, and a peer with an invalid ID', () => {
    const cluster = new ClusterView([addressOf(first)])
    const members = [
      { peerId: first, addresses: ['/ip4/192.0.2.1/udp/4001/quic-v1', 'nonsense', ...dead] },
      { peerId: 'nobody', addresses: dead }
    ]
    cluster.heard(second, { ...answer, members })
    expect(cluster.pick()!.addresses).toEqual([addressOf(first), ...dead])
    expect(cluster.others(new Set([first]))).toEqual([])
  })

  /** Dials the peer, which answers at `address` and then fails. */
  async function dialed(cluster: ClusterView, address: string): Promise<void> {
    const network: Network = {
      id: 'self',
      handle: () => {},
      dial: (_remote, _addresses, options) => {
        options.answered?.(address)
        return Promise.reject(new Error('no stream'))
      }
    }
    const init = { network, clock: world.clock, cluster, group: 0, maxStepMs: 1000, session: 0, ttlMs: TTL }
    await expect(greet(cluster.pick()!, { ...init, signal: new AbortController().signal })).rejects.toThrow('no stream')
  }
})
