/** The time limits of calls whose answer, page or connection does not come. */
import { describe, expect, it } from 'vitest'
import type { Mapping } from '../src/types.js'
import { failure, outcome, view } from './support/client.js'
import { PEERS } from './support/leader.js'
import { byte, client, connected, useWorld, withFile, world } from './support/session.js'

useWorld()

describe('calls without an answer', () => {
  it('a call waits for a connection, and rejects at its time-out with the reason for its absence', async () => {
    const { leader, file } = await withFile({ faultTimeoutMs: 5000 })
    world.net.down.add(PEERS[0])
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.cut()
    await expect(world.until(file.stat())).rejects.toThrow(
      /^unavailable: no peer answered; unreachable: …\w{8} at 192\.0\.2\.\d:4001 \(cannot reach 12D3.* \(waited 5000 ms\)$/
    )
  })

  it('the UnavailableError of a call names the leader if it answers only keep-alives', async () => {
    const { leader, file } = await withFile({ faultTimeoutMs: 5000 })
    leader.holding.add('statFile')
    await expect(world.until(file.stat())).rejects.toMatchObject({
      reason: `the leader …${PEERS[0].slice(-8)} has not answered (waited 5000 ms)`
    })
    expect(view(client).pendingRequests).toBe(0)
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

  it.each([
    { kind: 'pin', start: (mapping: Mapping): Promise<unknown> => mapping.pin(0, 4 * 4096, 'write') },
    { kind: 'read', start: (mapping: Mapping): Promise<unknown> => mapping.read(0, 4 * 4096) }
  ])(
    'a $kind rejects when no page arrives for faultTimeoutMs, and the error names the first missing page',
    async ({ start }) => {
      const { leader, mapping } = await withFile({ faultTimeoutMs: 5000 })
      leader.holding.add('fault')
      const waiting = start(mapping)
      await trickle('fault', 3, 4000)
      await world.clock.advance(4900)
      expect(await outcome(waiting)).toBe('waiting')
      await world.clock.advance(200)
      expect(await outcome(waiting)).toMatchObject({ name: 'BusyError', offset: 3 * 4096 })
      leader.release('fault')
    }
  )

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
