/** How a peer answers the hello and the registration of a client. */
import { PROTOCOL_CONTROL, PROTOCOL_VERSION } from '@quire/protocol'
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { group, useGroup, limitGroup } from './support/served-group.js'
import { CONFIG, FOUNDING, MEMBERS, OTHER, TestClient } from './support/stub-group.js'

useGroup()

describe('handshake', () => {
  it('a node that follows redirects a client to the leader', async () => {
    group.follow(3, OTHER)
    const client = new TestClient(group)
    await client.hello()
    expect(client.control.last('redirect')).toEqual({
      type: 'redirect',
      clusterId: 'blue',
      founding: FOUNDING,
      term: 3,
      role: 'follower',
      leader: OTHER,
      members: MEMBERS,
      roundTripMs: 32
    })
    await settle()
    expect(client.control.closed).toBe(true)
  })

  it('a redirect names no leader while the leader is unknown or not ready', async () => {
    const client = new TestClient(group)
    await client.hello()
    expect(client.control.last('redirect')?.leader).toBe('')
  })

  it('a leader never serves a client that has seen a higher term', async () => {
    group.lead(3)
    const client = new TestClient(group)
    await client.hello({ fence: 4 })
    expect(client.control.last('redirect')).toMatchObject({ term: 3, leader: '' })
    expect(client.control.last('welcome')).toBeUndefined()
  })

  it('a leader tells a client its term before the client registers', async () => {
    group.lead(3)
    const client = new TestClient(group)
    await client.hello({ fence: 3, clusterId: 'blue' })
    expect(client.control.received).toHaveLength(1)
    expect(client.control.last('welcome')).toMatchObject({
      term: 3,
      clusterId: 'blue',
      leader: 'peer-1',
      members: MEMBERS
    })
  })

  it('a leader tells the round trip of the cluster, and gives a new session a TTL of at least sixteen round trips', async () => {
    group.found({ ...CONFIG, roundTripMs: 600 })
    group.lead(3)
    const client = await new TestClient(group).connect(0, 2000)
    expect(client.control.last('welcome')).toMatchObject({ roundTripMs: 600 })
    expect(client.control.last('registered')).toMatchObject({ ttlMs: 9600 })
    const { session } = client.control.last('registered')!
    expect(group.machine.session(session)).toMatchObject({ ttlMs: 9600 })
    const patient = await new TestClient(group, 'client-2').connect(0, 9700)
    expect(patient.control.last('registered')).toMatchObject({ ttlMs: 9700 })
  })

  it('a peer refuses another protocol version and another cluster, and names them', async () => {
    group.lead(3)
    const client = new TestClient(group)
    await client.hello({ version: 99 })
    expect(client.control.last('refused')?.error).toEqual({
      code: 'ERR_VERSION',
      facts: ['protocol', 99, PROTOCOL_VERSION]
    })
    await client.hello({ features: { lowest: 7, highest: 9 } })
    expect(client.control.last('refused')?.error).toEqual({ code: 'ERR_VERSION', facts: ['feature level', 7, 1] })
    await client.hello({ clusterId: 'green' })
    expect(client.control.last('refused')?.error).toEqual({
      code: 'ERR_NOT_AUTHORIZED',
      facts: ['client-1', 'it belongs to cluster green']
    })
    await settle()
    expect(client.control.closed).toBe(true)
  })

  it('a leader opens a session once both lanes are attached, in either order', async () => {
    group.lead(1)
    const client = new TestClient(group)
    await client.hello()
    await client.control.send({ type: 'register', session: 0, ttlMs: 2000 })
    expect(client.control.last('registered')).toBeUndefined()
    await client.attach()
    await settle()
    const registered = client.control.last('registered')
    expect(registered).toMatchObject({ term: 1, ttlMs: 2000 })
    expect(group.machine.session(registered!.session)).toMatchObject({ clientId: 'client-1', ttlMs: 2000 })
  })

  it('a leader attaches a bulk stream only to a connection of the same client', async () => {
    group.lead(1)
    const client = new TestClient(group)
    await client.hello()
    const thief = new TestClient(group, 'client-2')
    await thief.attach(client.control.last('welcome')!.attach)
    expect(thief.bulk.last('refused')?.error.code).toBe('ERR_NOT_AUTHORIZED')
    await client.attach()
    expect(client.bulk.last('attached')).toBeDefined()
  })

  it('a leader refuses a TTL out of bounds, and a session beyond the limit', async () => {
    limitGroup({ maxSessions: 1 })
    group.lead(1)
    const eager = await new TestClient(group).connect(0, 100)
    expect(eager.control.last('refused')?.error.facts).toEqual(['sessionTtlMs', 100, '500 to 600000'])
    expect((await new TestClient(group).connect()).session).toBeGreaterThan(0)
    const second = await new TestClient(group, 'client-2').connect()
    expect(second.control.last('refused')?.error).toEqual({ code: 'ERR_QUOTA', facts: ['sessions', 1] })
  })

  it('a leader proposes no session before a majority has confirmed it', async () => {
    group.lead(1)
    group.quorum = false
    const clients = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    clients[0]!.control.stream.close()
    await settle()
    expect(group.proposed()).toEqual([])
    group.autoCommit = false
    group.quorum = true
    await settle()
    expect(group.proposed()).toEqual([expect.objectContaining({ type: 'openSession', clientId: 'client-2' })])
  })

  it('a leader ends a session whose client left before it was open, which frees its place', async () => {
    limitGroup({ maxSessions: 1 })
    group.lead(1)
    group.autoCommit = false
    const lost = await new TestClient(group).connect()
    lost.control.stream.close()
    await settle()
    group.commit()
    expect([...group.machine.sessions()]).toHaveLength(1)
    expect(group.proposed()).toEqual([expect.objectContaining({ type: 'endSession' })])
    group.commit()
    group.autoCommit = true
    expect((await new TestClient(group).connect()).session).toBeGreaterThan(0)
  })

  it('a leader opens no session while too many bytes wait for the log', async () => {
    limitGroup({ maxProposalBytes: 1 })
    group.lead(1)
    group.autoCommit = false
    group.full = true
    await new TestClient(group).connect()
    const second = await new TestClient(group, 'client-2').connect()
    expect(second.control.last('refused')?.error.code).toBe('ERR_UNAVAILABLE')
    group.full = false
  })

  it('a leader reports a session of another client as ended', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    const thief = await new TestClient(group, 'client-2').connect(client.session)
    expect(thief.control.last('expired')).toEqual({ type: 'expired', session: client.session })
    const late = await new TestClient(group).connect(4711)
    expect(late.control.last('expired')).toEqual({ type: 'expired', session: 4711 })
  })

  it('a newer connection of a session replaces the older one', async () => {
    group.lead(1)
    const first = await new TestClient(group).connect()
    const second = await new TestClient(group).connect(first.session)
    expect(second.session).toBe(first.session)
    await settle()
    expect([first.control.closed, first.bulk.closed]).toEqual([true, true])
    await second.control.send({ type: 'keepAlive', nonce: 5 })
    expect(second.control.last('keepAliveAck')).toEqual({ type: 'keepAliveAck', term: 1, nonce: 5 })
  })

  it('a leader drops a connection that does not register in time', async () => {
    group.lead(1)
    const client = new TestClient(group)
    await client.hello()
    const silent = await client.dial(PROTOCOL_CONTROL)
    await group.clock.advance(10_200)
    expect([client.control.closed, silent.closed]).toEqual([true, true])
  })

  it('a peer answers a status request while it does not lead', async () => {
    group.follow(7, OTHER)
    const lane = await new TestClient(group).dial(PROTOCOL_CONTROL)
    await lane.send({ type: 'status', version: PROTOCOL_VERSION, seq: 1 })
    expect(lane.last('status')).toMatchObject({ seq: 1, role: 'follower', term: 7, leader: OTHER, clusterId: 'blue' })
    await settle()
    expect(lane.closed).toBe(true)
  })
})
