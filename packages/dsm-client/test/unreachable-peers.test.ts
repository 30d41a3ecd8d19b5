/** A client that finds no leader: createDsmClient rejects at its time-out, with the reason. */
import { UnavailableError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { failure } from './support/client.js'
import { PEERS, addressOf, type FakePeer } from './support/leader.js'
import { STEP_MS, useWorld, world } from './support/session.js'

useWorld()

describe('unreachable peers', () => {
  it('createDsmClient rejects after faultTimeoutMs, and names each unreachable peer', async () => {
    world.net.down.add(PEERS[0])
    const start = world.clock.now()
    expect(await failure(world.until(world.create({ faultTimeoutMs: 5000 })))).toMatchObject({
      name: 'UnavailableError',
      reason: `no peer answered; unreachable: …${PEERS[0].slice(-8)} at 192.0.2.1:4001 (cannot reach ${PEERS[0]}) (waited 5000 ms)`
    })
    expect(world.clock.now() - start).toBeLessThanOrEqual(5020)
  })

  it('the UnavailableError of createDsmClient states that no peer knows a leader', async () => {
    for (const peer of world.peers) peer.greeting = peer.redirection('')
    expect(await failure(world.until(world.create({ faultTimeoutMs: 5000 })))).toMatchObject({
      reason: 'no leader: 3 of 3 peers answered (3 followers) (waited 5000 ms)'
    })
  })

  it('the UnavailableError of createDsmClient states that the only reachable leader did not answer the registration', async () => {
    world.net.down.add(PEERS[1]).add(PEERS[2])
    world.leader.holding.add('register')
    expect(await failure(world.until(world.create({ faultTimeoutMs: 2405 })))).toMatchObject({
      reason: expect.stringMatching(
        /^no leader with a majority: 1 of 3 peers answered \(leader\).* \(waited 2405 ms\)$/
      ) as string
    })
  })

  it('the UnavailableError of createDsmClient counts the peers that answered, and states for each other peer why it did not', async () => {
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

  it('the UnavailableError of createDsmClient includes the answer of a peer that the client asked after hanging peers', async () => {
    const [first, second, third] = world.peers as [FakePeer, FakePeer, FakePeer]
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

  it('the UnavailableError of createDsmClient names an unreachable leader to which the other peers still redirect', async () => {
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

  it('the UnavailableError of createDsmClient names the peers that have not answered by the time-out', async () => {
    for (const id of PEERS) world.net.mute.add(id)
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf), faultTimeoutMs: 1000 })))
    const names = PEERS.map((id, i) => `…${id.slice(-8)} at 192.0.2.${i + 1}:4001`)
    expect(error).toMatchObject({ reason: `no peer answered; no answer yet: ${names.join(', ')} (waited 1000 ms)` })
  })

  it('the UnavailableError of createDsmClient states the unexpected message if the client knows no other peer', async () => {
    world.leader.greeting = { type: 'done', seq: 5 }
    expect(await failure(world.until(world.create({ faultTimeoutMs: 1000 })))).toMatchObject({
      reason: expect.stringContaining('(unexpected done in the handshake) (waited 1000 ms)') as string
    })
  })

  it('a timed-out createDsmClient ends its connection attempt', async () => {
    world.leader.holding.add('hello')
    const creating = world.create({ faultTimeoutMs: 700 })
    expect(await failure(world.until(creating))).toBeInstanceOf(UnavailableError)
    expect(world.clock.pending).toBe(0)
  })
})
