/** A client that does not reach the leader itself: docs/ARCHITECTURE.md, "Relays". */
import { describe, expect, it } from 'vitest'
import { SELF, failure } from './support/client.js'
import { PEERS, addressOf } from './support/leader.js'
import { byte, client, connect, connected, STEP_MS, TTL, useWorld, world } from './support/session.js'

useWorld()

const [LEADER, SECOND, THIRD] = PEERS
const through = (relay: string, leader: string = LEADER): string => `${leader} through ${relay}`

/** Drops the client's packets to a peer, and those of its open connection to it. */
function cut(peerId: string): void {
  world.net.cut.add(`${SELF} ${peerId}`)
  for (const stream of world.net.streams) {
    if (stream.remote === peerId) stream.isSilent = stream.other.isSilent = true
  }
}

/** A client that is relayed to the leader, and knows all peers. */
async function relayed(init: Parameters<typeof connected>[1] = {}) {
  const all = { peers: PEERS.map(addressOf), ...init }
  const connection = await connected((w) => w.net.cut.add(`${SELF} ${LEADER}`), all)
  expect(client.stats()).toMatchObject({ path: 'relayed', relay: SECOND })
  return connection
}

describe('a client whose packets to the leader are lost', () => {
  it('a client goes through a peer once the addresses of the leader have failed, and says so in stats', async () => {
    const startMs = world.clock.now()
    await relayed()
    // The addresses had their whole step. The relay took no time after that, apart from the pause between two attempts.
    expect(world.clock.now() - startMs).toBeGreaterThanOrEqual(STEP_MS)
    expect(world.clock.now() - startMs).toBeLessThan(STEP_MS + 600)
    expect(world.net.dialed.at(-1)).toBe(through(SECOND))
    const file = await world.until(client.open('/f', { create: true, size: 4096 }))
    await world.until(file.write(0, byte(7)))
    await world.until(file.sync())
    expect(await world.until(file.read(0, 1))).toEqual(byte(7))
  })

  it('a client that reaches the leader uses no relay, and says so in stats', async () => {
    await connected(undefined, { peers: PEERS.map(addressOf) })
    expect(client.stats()).toMatchObject({ path: 'direct', relay: undefined })
    world.leader.cut()
    await world.clock.advance(1000)
    expect(client.stats()).toMatchObject({ path: 'direct', relay: undefined })
    expect(world.net.dialed.filter((dialed) => dialed.includes('through'))).toEqual([])
  })

  it('a client that has no connection to the leader says so in stats', async () => {
    await connected()
    for (const id of PEERS) world.net.down.add(id)
    world.leader.cut()
    await world.clock.advance(100)
    expect(client.stats()).toMatchObject({ path: 'none', relay: undefined })
    world.net.down.clear()
    await world.clock.advance(2000)
  })

  it('a client tries the next peer if one does not relay', async () => {
    world.net.unwilling.add(SECOND)
    world.net.cut.add(`${SELF} ${LEADER}`)
    await connect(world.create({ peers: PEERS.map(addressOf) }))
    expect(world.net.dialed.filter((dialed) => dialed.includes('through'))).toEqual([through(SECOND), through(THIRD)])
    expect(client.stats()).toMatchObject({ path: 'relayed', relay: THIRD })
  })

  it('a client tries only peers that answer it as relays', async () => {
    world.net.cut.add(`${SELF} ${LEADER}`).add(`${SELF} ${SECOND}`)
    await connect(world.create({ peers: PEERS.map(addressOf) }))
    expect(world.net.dialed.filter((dialed) => dialed.includes('through'))).toEqual([through(THIRD)])
  })

  it('a client whose connection falls silent keeps its session and its calls: it does not wait for the addresses to fail', async () => {
    const { clock } = await connected(undefined, { sessionTtlMs: 10_000, peers: PEERS.map(addressOf) })
    const { id } = client.session
    const file = await client.open('/f', { create: true, size: 4096 })
    cut(LEADER)
    const cutAt = clock.now()
    const writing = file.write(0, byte(1)).then(() => file.sync())
    await world.until(writing)
    expect(client.session).toMatchObject({ id, state: 'active' })
    expect(client.stats()).toMatchObject({ path: 'relayed', relay: SECOND })
    // Far less than the silence and two failed steps.
    expect(clock.now() - cutAt).toBeLessThan(3200 + STEP_MS)
  })

  it('a relayed client goes through another peer when its relay is gone, without a pause for the addresses of the leader', async () => {
    const { leader, clock } = await relayed()
    const { id } = client.session
    world.net.down.add(SECOND)
    leader.cut()
    await clock.advance(STEP_MS / 4)
    expect(client.stats()).toMatchObject({ path: 'relayed', relay: THIRD })
    expect(client.session).toMatchObject({ id, state: 'active' })
  })

  it('a relayed client reaches a new leader directly', async () => {
    const { leader, clock } = await relayed()
    const { id } = client.session
    world.elect(world.peers[2]!, 2)
    leader.redirect(THIRD)
    await clock.advance(500)
    expect(client.stats()).toMatchObject({ path: 'direct' })
    expect(world.peers[2]!.session).toBe(Number(id))
  })

  it('a relayed client whose new leader is out of reach as well goes through a peer again', async () => {
    const { leader, clock } = await relayed()
    const { id } = client.session
    world.net.cut.add(`${SELF} ${SECOND}`)
    world.elect(world.peers[1]!, 2)
    leader.redirect(SECOND)
    await clock.advance(STEP_MS + 1000)
    expect(client.stats()).toMatchObject({ path: 'relayed', relay: THIRD })
    expect(client.session).toMatchObject({ id, state: 'active' })
    expect(world.net.dialed.at(-1)).toBe(through(THIRD, SECOND))
  })

  it('a client reports a leader that neither its addresses nor a relay reach, with the reason of the addresses', async () => {
    world.net.cut.add(`${SELF} ${LEADER}`)
    world.net.unwilling.add(SECOND).add(THIRD)
    const error = await failure(world.until(world.create({ peers: PEERS.map(addressOf), faultTimeoutMs: 9000 })))
    expect(error).toMatchObject({
      name: 'UnavailableError',
      reason: expect.stringMatching(
        new RegExp(`^the leader is …${LEADER.slice(-8)} .*which cannot be reached.*did not answer within ${STEP_MS} ms`)
      ) as string
    })
  })

  it('a step of an attempt through a relay may take one round trip between the peers longer', async () => {
    for (const peer of world.peers) peer.roundTripMs = 1000
    world.elect(world.leader, 1)
    const { leader, clock } = await relayed({ sessionTtlMs: 100_000 })
    leader.holding.add('hello')
    leader.cut()
    const { control } = leader
    while (leader.control === control) await clock.advance(10)
    const attempt = leader.control!
    const startMs = clock.now()
    while (!attempt.isOver) await clock.advance(10)
    // Four round trips to a peer, and four from there to the leader.
    expect(Math.round((clock.now() - startMs) / 100)).toBe(80)
    leader.release('hello')
    await clock.advance(20_000)
  })
})

describe('a relayed client that could reach the leader directly again', () => {
  it('a relayed client moves to a direct connection, and rejects no call that waits meanwhile', async () => {
    const { leader, clock } = await relayed()
    const { id } = client.session
    const file = await client.open('/f', { create: true, size: 4096 })
    leader.holding.add('fault')
    const reading = file.read(0, 1)
    world.net.cut.clear()
    leader.holding.delete('fault')
    await clock.advance(4500)
    expect(client.stats()).toMatchObject({ path: 'direct', relay: undefined })
    expect(client.session).toMatchObject({ id, state: 'active' })
    expect(await world.until(reading)).toEqual(byte(0))
    expect(leader.connections).toBe(2)
  })

  it('a relayed client tries the direct path ever more rarely, once a minute at least, and stays connected meanwhile', async () => {
    const { leader, clock } = await relayed()
    const direct = (): number => world.net.dialed.filter((dialed) => dialed === LEADER).length
    const attempts: number[] = []
    let before = direct()
    for (let second = 1; second <= 300; second++) {
      await clock.advance(1000)
      if (direct() > before) attempts.push(second)
      before = direct()
    }
    const pauses = attempts.map((second, i) => second - (attempts[i - 1] ?? 0))
    expect(pauses[0]).toBeLessThanOrEqual(2)
    // The test looks once a second, so two equal pauses may seem to differ.
    expect(pauses.every((pause, i) => i === 0 || pause >= pauses[i - 1]! - 1)).toBe(true)
    expect(Math.max(...pauses)).toBeLessThanOrEqual(60 + STEP_MS / 1000)
    expect(attempts.length).toBeGreaterThan(6)
    expect(leader.connections).toBe(1)
    expect(client.stats().path).toBe('relayed')
  })

  it('a relayed client ends its attempts at a direct path when it closes', async () => {
    const { clock } = await relayed({ sessionTtlMs: TTL })
    await clock.advance(2000)
    await world.until(client.close())
    expect(clock.pending).toBe(0)
  })

  it('a client drops a direct connection that comes up while it closes', async () => {
    const { clock } = await relayed()
    world.leader.holding.add('hello')
    world.net.cut.clear()
    await clock.advance(2000)
    const closing = client.close()
    world.leader.release('hello')
    await world.until(closing)
    expect(world.net.streams.filter((stream) => !stream.isOver)).toEqual([])
  })
})
