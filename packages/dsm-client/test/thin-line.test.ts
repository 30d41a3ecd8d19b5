/** The driver on slow and silent lines, in virtual time: docs/coherence.md, "Silence" and "Thin lines". */
import { SILENCE_LIMIT_MS } from '@quire/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import type { DsmClient, Mapping } from '../src/types.js'
import { World, outcome } from './support/client.js'
import { PEERS } from './support/leader.js'

const PAGE = 4096
let world: World
let client: DsmClient
let mapping: Mapping

afterEach(async () => {
  const closing = client.close().catch(() => {})
  await world.until(closing)
  expect(world.clock.pending).toBe(0)
})

async function start(init: Parameters<World['create']>[0] = {}): Promise<void> {
  world = new World()
  client = await world.until(world.create(init))
  const file = await world.until(client.open('/f', { create: true, size: 64 * PAGE }))
  mapping = await file.mmap()
}

/** Frames from the leader vanish, and its streams stay open: it was stopped. */
function stop(): void {
  for (const stream of [world.leader.control!, world.leader.bulk!]) {
    stream.isSilent = true
    stream.other.isSilent = true
  }
}

describe('a leader that says nothing any more', () => {
  it.each([10_000, 600_000])('is left for the next within seconds, with a TTL of %d ms', async (sessionTtlMs) => {
    await start({ sessionTtlMs })
    await world.clock.advance(3000)
    const { session } = world.leader
    stop()
    world.net.mute.add(PEERS[0])
    world.elect(world.peers[1]!, 2)
    // A ping after a second, then the silence, the tick that notices it, and the handshake with whoever is asked first.
    await world.clock.advance(1000 + SILENCE_LIMIT_MS + 500)
    await world.clock.advance(2500)
    expect(world.peers[1]!.of('register')).toMatchObject([{ session }])
    expect(client.session.state).toBe('active')
  })

  it('is asked with a ping each second while a patient client is idle, and with no keep-alive', async () => {
    await start({ sessionTtlMs: 600_000 })
    await world.clock.advance(60_000)
    expect(world.leader.of('ping').length).toBeGreaterThan(30)
    expect(world.leader.of('ping').length).toBeLessThanOrEqual(60)
    expect(world.leader.of('keepAlive')).toEqual([])
    expect(world.leader.connections).toBe(1)
  })

  it('is not judged by a client that stood still itself, before that has read what came meanwhile', async () => {
    await start({ sessionTtlMs: 60_000 })
    world.leader.holding.add('ping')
    await world.clock.advance(2000)
    world.clock.sleep(20_000)
    await world.clock.advance(0)
    world.leader.release('ping')
    await world.clock.advance(5000)
    expect(world.leader.connections).toBe(1)
  })
})

describe('page bytes that arrive while keep-alives are late', () => {
  const TTL = 12_000

  async function trickling(forMs: number): Promise<void> {
    world.leader.holding.add('fault')
    world.leader.holding.add('keepAlive')
    world.leader.holding.add('ping')
    void mapping.read(0, 64 * PAGE).catch(() => {})
    for (let spent = 0; spent < forMs; spent += 1000) {
      await world.clock.advance(1000)
      world.leader.releaseNext('fault')
    }
  }

  it('keep the connection, and do not extend the lease by a moment', async () => {
    await start({ sessionTtlMs: TTL })
    await trickling(TTL)
    expect(world.leader.connections).toBe(1)
    expect(client.session.state).toBe('suspect')
    world.leader.release('keepAlive')
    await world.clock.advance(10)
    expect(client.session.state).toBe('active')
    world.leader.release('fault')
    world.leader.release('ping')
  })

  it('a leader that only answers pings is left, since it confirms nothing', async () => {
    await start({ sessionTtlMs: TTL })
    const { session } = world.leader
    world.leader.holding.add('keepAlive')
    world.elect(world.peers[1]!, 2)
    await world.clock.advance(TTL / 4 + TTL / 3 + 1000)
    expect(world.peers[1]!.of('register')).toMatchObject([{ session }])
  })
})

describe('on a thin line', () => {
  it('no more dirty bytes leave than it carries in a short time, and a keep-alive passes those that wait', async () => {
    await start({ sessionTtlMs: 10_000 })
    world.leader.isBulkUnread = true
    await mapping.write(0, new Uint8Array(64 * PAGE).fill(1))
    const flushing = mapping.msync()
    await world.clock.advance(5000)
    const left = world.leader.of('writeback').flatMap(({ pages }) => pages)
    expect(left.length * PAGE).toBeGreaterThan(0)
    expect(left.length * PAGE).toBeLessThanOrEqual(32 * 1024)
    expect(world.leader.of('keepAlive').length).toBeGreaterThan(0)
    world.leader.readBulk()
    await world.until(flushing)
  })

  it('a page that is on its way is not asked for again, however often calls give it up and repeat', async () => {
    await start({ faultTimeoutMs: 1000 })
    world.leader.holding.add('fault')
    for (let i = 0; i < 3; i++) {
      await expect(world.until(mapping.read(0, 1))).rejects.toMatchObject({ name: 'BusyError' })
    }
    const reading = mapping.read(0, 1)
    await world.clock.advance(500)
    expect(world.leader.of('fault')).toHaveLength(1)
    world.leader.release('fault')
    await world.until(reading)
    expect(world.leader.of('fault')).toHaveLength(1)
  })

  it('a call waits on while what was asked for before it comes, and no longer', async () => {
    await start({ faultTimeoutMs: 4000 })
    world.leader.holding.add('fault')
    const first = mapping.read(0, 8 * PAGE)
    await world.clock.advance(10)
    const second = outcomeOf(mapping.read(20 * PAGE, 1))
    for (let i = 0; i < 8; i++) {
      await world.clock.advance(3000)
      expect(second.value).toBe('waiting')
      world.leader.releaseNext('fault')
    }
    await first
    // Others come for ever: they were asked for later.
    for (let page = 30; second.value === 'waiting' && page < 60; page++) {
      void mapping.read(page * PAGE, 1).catch(() => {})
      await world.clock.advance(500)
      world.leader.grant(world.leader.last('fault'))
    }
    expect(second.value).toMatchObject({ name: 'BusyError', offset: 20 * PAGE })
    world.leader.release('fault')
  })

  it('each step of the handshake has the whole time', async () => {
    await start()
    const { leader } = world
    leader.cut()
    leader.holding.add('hello')
    leader.holding.add('register')
    const before = leader.of('hello').length
    await world.clock.advance(100)
    expect(leader.of('hello')).toHaveLength(before + 1)
    await world.clock.advance(1500)
    leader.releaseNext('hello')
    await world.clock.advance(1500)
    leader.releaseNext('hello')
    await world.clock.advance(1500)
    leader.release('register')
    await world.clock.advance(10)
    expect(leader.connections).toBe(2)
    expect(await outcome(mapping.read(0, 1))).toBe('resolved')
    leader.release('hello')
  })
})

function outcomeOf(promise: Promise<unknown>): { value: unknown } {
  const found: { value: unknown } = { value: 'waiting' }
  promise.then(
    () => (found.value = 'resolved'),
    (error: unknown) => (found.value = error)
  )
  return found
}
