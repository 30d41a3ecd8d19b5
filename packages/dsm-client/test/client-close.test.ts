/** A client flushes and ends its session when it closes. */
import { UnavailableError, type LostRange } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { failure, outcome, view } from './support/client.js'
import { byte, client, connected, useWorld, withFile, world } from './support/session.js'

useWorld()

describe('close', () => {
  it('closing a client flushes, ends the session, and leaves no timer', async () => {
    const { leader, mapping, cluster } = await withFile()
    await mapping.write(0, byte(3))
    await client.close()
    expect(cluster.pages.get('100:0')!.bytes[0]).toBe(3)
    expect(leader.of('endSession')).toHaveLength(1)
    expect(cluster.sessions.size).toBe(0)
    expect(world.clock.pending).toBe(0)
    expect(client.stats().frameBytesUsed).toBe(0)
    expect(await outcome(client.close())).toBe('resolved')
  })

  it('closing a client fails waiting calls with ClosedError', async () => {
    const { leader, mapping, clock } = await withFile()
    leader.holding.add('fault')
    leader.holding.add('stat')
    const waiting = [mapping.read(0, 1), mapping.pin(4096, 1, 'write'), client.stat('/f')]
    const outcomes = Promise.all(waiting.map((each) => failure(each)))
    await clock.advance(1)
    await world.until(client.close())
    for (const error of await outcomes) expect(error).toMatchObject({ name: 'ClosedError', what: 'the client' })
    expect(view(client)).toMatchObject({ isEnded: true, pendingRequests: 0 })
  })

  it('closing a client without a leader rejects with UnavailableError within its time-outs', async () => {
    const { leader, mapping } = await withFile({ faultTimeoutMs: 3000 })
    await mapping.write(0, byte(3))
    for (const peer of world.peers) world.net.down.add(peer.id)
    leader.cut()
    const start = world.clock.now()
    await expect(world.until(client.close())).rejects.toBeInstanceOf(UnavailableError)
    expect(world.clock.now() - start).toBeLessThanOrEqual(6100)
  })

  it('closing a client flushes every other file if the flush of one fails, and reports the lost ranges of the failed file', async () => {
    // The credit allows one page in flight.
    const { leader, cluster } = await connected((w) => (w.leader.creditBytes = 4096), { faultTimeoutMs: 2000 })
    const lost: LostRange[] = []
    client.addEventListener('sessionlost', ({ detail }) => lost.push(...detail.lost))
    const full = await client.open('/full', { create: true, size: 4096 })
    const other = await client.open('/other', { create: true, size: 4096 })
    await full.write(0, byte(1))
    await other.write(0, byte(2))
    leader.refuses = ({ file }) => String(file) === full.id
    const start = world.clock.now()
    await expect(world.until(client.close())).rejects.toMatchObject({ name: 'NoSpaceError' })
    expect(world.clock.now() - start).toBeLessThan(2200)
    expect(cluster.pages.get(`${other.id}:0`)!.bytes[0]).toBe(2)
    expect(lost).toMatchObject([{ file: full.id, path: '/full', offset: 0, length: 4096 }])
    expect(leader.of('endSession')).toHaveLength(1)
  })

  it('closing a client repeats failed writebacks', async () => {
    const { leader, cluster, file, mapping } = await withFile()
    await mapping.write(0, byte(7))
    let refusals = 0
    leader.refuses = () => ++refusals < 4
    await world.until(client.close())
    expect(cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
  })

  it('closing a client flushes writes under a live pin, and reports no loss', async () => {
    const { cluster, file, mapping } = await withFile()
    const lost: LostRange[] = []
    client.addEventListener('sessionlost', ({ detail }) => lost.push(...detail.lost))
    const pin = await mapping.pin(0, 1, 'write')
    pin.bytes[0] = 5
    await world.until(client.close())
    expect(cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(5)
    expect(lost).toEqual([])
    pin.release()
  })

  it('closing a client that cannot flush does not also wait for the end of the session', async () => {
    const { leader, clock, mapping } = await withFile({ faultTimeoutMs: 3000 })
    await mapping.write(0, byte(3))
    leader.holding.add('writeback').add('endSession')
    const start = clock.now()
    await expect(world.until(client.close())).rejects.toBeInstanceOf(UnavailableError)
    expect(clock.now() - start).toBeLessThan(4000)
  })

  it('closing a client after a lost session rejects with the lost ranges', async () => {
    const { leader, cluster, mapping } = await withFile()
    await mapping.write(0, byte(7))
    cluster.expire()
    leader.send({ type: 'expired', session: leader.session })
    await world.clock.advance(1)
    await expect(world.until(client.close())).rejects.toMatchObject({
      name: 'SessionExpiredError',
      lost: [{ path: '/f', offset: 0, length: 4096 }]
    })
  })

  it('aborting one close of a client also rejects a concurrent close, and the unflushed bytes are lost', async () => {
    const { leader, mapping } = await withFile()
    await mapping.write(0, byte(7))
    leader.holding.add('writeback')
    const controller = new AbortController()
    const patient = client.close()
    const hasty = client.close({ signal: controller.signal })
    expect(await outcome(patient)).toBe('waiting')
    controller.abort(new Error('now'))
    await expect(world.until(hasty)).rejects.toThrow('now')
    await expect(world.until(patient)).rejects.toThrow('now')
  })

  it('closing a client emits no sessionlost event if the answer to its endSession is lost', async () => {
    const { leader, clock, cluster } = await connected()
    const events: unknown[] = []
    client.addEventListener('sessionlost', (event) => events.push(event.detail))
    leader.holding.add('endSession')
    const closing = client.close()
    await clock.advance(1)
    cluster.expire()
    leader.cut()
    await world.until(closing)
    expect(events).toEqual([])
  })
})
