/** A session is active while its lease is valid, and suspect until the leader confirms it again. */
import { describe, expect, it } from 'vitest'
import { outcome, view } from './support/client.js'
import { PEERS } from './support/leader.js'
import { byte, client, connect, connected, TTL, useWorld, withFile, world } from './support/session.js'

useWorld()

describe('a session', () => {
  it('a client sends a keep-alive every quarter of its TTL', async () => {
    const { leader, clock } = await connected()
    await clock.advance(TTL * 5)
    const { length } = leader.of('keepAlive')
    expect(length).toBeGreaterThanOrEqual(17)
    expect(length).toBeLessThanOrEqual(20)
    expect(client.session.state).toBe('active')
    expect(leader.connections).toBe(1)
  })

  it('a client uses the granted TTL instead of the requested one', async () => {
    world.cluster.sessions.set(1, { ttlMs: 2000 })
    world.leader.registration = {
      type: 'registered',
      term: 1,
      session: 1,
      ttlMs: 2000,
      creditBytes: 65_536,
      maxFaults: 8
    }
    await connect(world.create({ sessionTtlMs: TTL }))
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
    expect(client.session.state).toBe('active')
  })

  it('a session is suspect after its lease, and becomes active without loss when the cluster confirms it', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(5))
    world.net.down.add(PEERS[0])
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.cut()
    await clock.advance(TTL / 2)
    expect(client.session.state).toBe('active')
    // A valid lease covers the cached pages even without a connection.
    expect(await mapping.read(0, 1)).toEqual(byte(5))
    await clock.advance(TTL / 2)
    expect(client.session.state).toBe('suspect')
    const reading = mapping.read(0, 1)
    const writing = mapping.write(1, byte(6))
    expect([await outcome(reading), await outcome(writing)]).toEqual(['waiting', 'waiting'])
    const { id } = client.session
    world.net.down.clear()
    await clock.advance(1000)
    expect(client.session).toMatchObject({ id, state: 'active' })
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
    for (const page of view(client).pages) expect(page.frame!.bytes[0]).toBe(5)
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
    expect(client.session.state).toBe('suspect')
  })
})
