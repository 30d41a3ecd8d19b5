/** The driver on slow and silent lines, in virtual time: docs/coherence.md, "Silence" and "Thin lines". */
import { SILENCE_LIMIT_MS } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { Mapping } from '../src/types.js'
import { outcome, type World } from './support/client.js'
import { PEERS } from './support/leader.js'
import { client, connect, useWorld, world } from './support/session.js'

useWorld()

const PAGE = 4096
let mapping: Mapping

async function start(init: Parameters<World['create']>[0] = {}): Promise<void> {
  await connect(world.create(init))
  const file = await world.until(client.open('/f', { create: true, size: 64 * PAGE }))
  mapping = await file.mmap()
}

/** Stops the leader like SIGSTOP: its frames vanish, and its streams stay open. */
function stop(): void {
  for (const stream of [world.leader.control!, world.leader.bulk!]) {
    stream.isSilent = true
    stream.other.isSilent = true
  }
}

describe('a leader that falls silent', () => {
  it.each([10_000, 600_000])(
    'a leader that falls silent is replaced by the next one within seconds, with a TTL of %d ms',
    async (sessionTtlMs) => {
      await start({ sessionTtlMs })
      await world.clock.advance(3000)
      const { session } = world.leader
      stop()
      world.net.mute.add(PEERS[0])
      world.elect(world.peers[1]!, 2)
      // The ping after a second, the silence, the tick that notices it, and the handshake with the next peer.
      await world.clock.advance(1000 + SILENCE_LIMIT_MS + 500)
      await world.clock.advance(2500)
      expect(world.peers[1]!.of('register')).toMatchObject([{ session }])
      expect(client.session.state).toBe('active')
    }
  )

  it('a leader that falls silent gets a ping each second and no keep-alive from an idle client with a long TTL', async () => {
    await start({ sessionTtlMs: 600_000 })
    await world.clock.advance(60_000)
    expect(world.leader.of('ping').length).toBeGreaterThan(30)
    expect(world.leader.of('ping').length).toBeLessThanOrEqual(60)
    expect(world.leader.of('keepAlive')).toEqual([])
    expect(world.leader.connections).toBe(1)
  })

  it('a client that was suspended does not give up its leader before it has read the frames that arrived', async () => {
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

describe('while keep-alives are late', () => {
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

  it('page bytes keep the connection while keep-alives are late, but do not extend the lease', async () => {
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

  it('a client leaves a leader that answers only pings, because pings confirm no lease', async () => {
    await start({ sessionTtlMs: TTL })
    const { session } = world.leader
    world.leader.holding.add('keepAlive')
    world.elect(world.peers[1]!, 2)
    await world.clock.advance(TTL / 4 + TTL / 3 + 1000)
    expect(world.peers[1]!.of('register')).toMatchObject([{ session }])
  })
})

describe('on a thin line', () => {
  it('the client sends only as many dirty bytes as the line soon carries, so that a keep-alive passes', async () => {
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

  it('the client does not repeat the fault for a page in flight, however often calls time out and repeat', async () => {
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

  it('a call waits while answers to earlier requests arrive, and no longer', async () => {
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
    // Answers to later requests keep arriving.
    for (let page = 30; second.value === 'waiting' && page < 60; page++) {
      void mapping.read(page * PAGE, 1).catch(() => {})
      await world.clock.advance(500)
      world.leader.grant(world.leader.last('fault'))
    }
    expect(second.value).toMatchObject({ name: 'BusyError', offset: 20 * PAGE })
    world.leader.release('fault')
  })

  it('each step of the handshake has the whole step limit', async () => {
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
