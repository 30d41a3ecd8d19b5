/** Peers refuse a client: when a refusal is final, and the error that it becomes. */
import { NotAuthorizedError, QuotaExceededError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { SELF, World, failure, outcome } from './support/client.js'
import { PEERS, addressOf } from './support/leader.js'
import { byte, client, connect, STEP_MS, TTL, useWorld, withFile, world } from './support/session.js'

useWorld()

const unlisted = () =>
  ({
    type: 'refused',
    error: errorToWire(new NotAuthorizedError(SELF, 'it is not listed under "clients"'))
  }) as const

describe('a refusal', () => {
  it('createDsmClient rejects at once when a peer refuses the hello', async () => {
    const error = new NotAuthorizedError('someone', 'it is not on the list')
    world.leader.greeting = { type: 'refused', error: errorToWire(error) }
    const creating = world.create()
    const settled = await outcome(creating)
    expect(settled).toMatchObject({ name: 'NotAuthorizedError', who: 'someone', reason: 'it is not on the list' })
  })

  it('createDsmClient rejects at once when the only known peer refuses it, and names the client once', async () => {
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
    for (const peer of world.peers) peer.greeting = unlisted()
    const peers = PEERS.map(addressOf)
    const start = world.clock.now()
    expect(await failure(world.until(world.create({ peers })))).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect([...world.net.dialed].sort()).toEqual([...PEERS].sort())
    expect(world.clock.now() - start).toBeLessThanOrEqual(50)
  })

  it('a client connects even if a peer with an old configuration refuses it', async () => {
    world.elect(world.peers[2]!, 4)
    world.leader.greeting = unlisted()
    const peers = [PEERS[0], PEERS[1]].map(addressOf)
    await connect(world.create({ peers }))
    expect(client.session.state).toBe('active')
    // The client asked the refusing peer only once, and the second peer named the leader.
    expect(world.net.dialed).toEqual([PEERS[0], PEERS[1], PEERS[2]])
  })

  it('a refusal of this client is final after one second, even if the other peers do not answer', async () => {
    world.leader.greeting = unlisted()
    world.net.mute.add(PEERS[1]).add(PEERS[2])
    const start = world.clock.now()
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf) })))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect(world.clock.now() - start).toBeLessThanOrEqual(1010)
    expect(world.clock.pending).toBe(0)
  })

  it('a refusal of this client is final soon even if the peers asked before do not answer', async () => {
    world.net.mute.add(PEERS[0]).add(PEERS[1])
    world.peers[2]!.greeting = unlisted()
    const start = world.clock.now()
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf) })))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect(world.clock.now() - start).toBeLessThanOrEqual(1000 + STEP_MS / 10 + 10)
    expect(world.clock.pending).toBe(0)
  })

  it('a refusal of this client is final if the other peers know only the leader that refused it', async () => {
    world.leader.greeting = unlisted()
    for (const peer of world.peers.slice(1)) peer.greeting = peer.redirection(PEERS[0])
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf) })))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', who: SELF })
    expect([...world.net.dialed].sort()).toEqual([...PEERS].sort())
  })

  it('createDsmClient rejects when the leader refuses the registration', async () => {
    const error = new NotAuthorizedError('someone', 'it was banned')
    world.leader.registration = { type: 'refused', error: errorToWire(error) }
    expect(await outcome(world.create())).toMatchObject({ name: 'NotAuthorizedError', reason: 'it was banned' })
  })

  it('createDsmClient rejects with QuotaExceededError when the leader has no room for a session', async () => {
    world.leader.registration = { type: 'refused', error: errorToWire(new QuotaExceededError('sessions', 3)) }
    const error = await outcome(world.create())
    expect(error).toBeInstanceOf(QuotaExceededError)
    expect(error).toMatchObject({ code: 'ERR_QUOTA', quota: 'sessions', limit: 3 })
    expect(world.clock.pending).toBe(0)
  })

  it('createDsmClient rejects with VersionMismatchError when a peer refuses the protocol version', async () => {
    world.leader.greeting = { type: 'refused', error: { code: 'ERR_VERSION', facts: ['protocol', 1, 2] } }
    expect(await outcome(world.create())).toMatchObject({ name: 'VersionMismatchError', found: 1, supported: 2 })
  })

  it('createDsmClient refuses the private key of a peer, given or named by the cluster', async () => {
    for (const [self, dialled] of [
      [PEERS[0], []],
      [PEERS[2], [PEERS[0]]]
    ] as const) {
      const world = new World()
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
    expect(client.session.state).toBe('suspect')
    leader.greeting = undefined
    await clock.advance(1000)
    expect(client.session.state).toBe('active')
    expect(await mapping.read(0, 1)).toEqual(byte(5))
  })

  it('a call of a denied client rejects with NotAuthorizedError at its timeout, and the session lives on', async () => {
    const { leader, clock, mapping } = await withFile()
    for (const peer of world.peers) peer.greeting = unlisted()
    leader.send(unlisted())
    await clock.advance(TTL)
    const error = await failure(world.until(mapping.read(0, 1)))
    expect(error).toMatchObject({ name: 'NotAuthorizedError', code: 'ERR_NOT_AUTHORIZED', who: SELF })
    for (const peer of world.peers) peer.greeting = undefined
    await clock.advance(1000)
    expect(client.session.state).toBe('active')
  })

  it('a call rejects with UnavailableError if one peer refuses the client and another one knows no leader', async () => {
    const { leader, clock, mapping } = await withFile()
    leader.greeting = unlisted()
    for (const peer of world.peers.slice(1)) peer.greeting = peer.redirection('')
    leader.send(unlisted())
    await clock.advance(TTL)
    const error = await failure(world.until(mapping.read(0, 1)))
    expect(error).toMatchObject({ name: 'UnavailableError' })
    expect(error.message).toContain('refused by')
    leader.greeting = undefined
    await clock.advance(1000)
  })
})
