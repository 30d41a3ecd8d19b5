/** The cluster expires a session: its calls fail with the lost ranges, and the next call opens a new session. */
import { QuotaExceededError, SessionExpiredError, errorToWire, type LostRange } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { failure, outcome } from './support/client.js'
import { byte, client, useWorld, withFile, world } from './support/session.js'

useWorld()

describe('an expired session', () => {
  async function expired() {
    const set = await withFile()
    const { mapping, cluster, leader, clock } = set
    const lost: (readonly LostRange[])[] = []
    client.addEventListener('sessionlost', (event) => lost.push(event.detail.lost))
    await mapping.write(0, byte(1))
    await mapping.msync()
    await mapping.write(4096, new Uint8Array(8192))
    const pin = await mapping.pin(4096, 10, 'write')
    leader.holding.add('fault')
    const waiting = mapping.read(10 * 4096, 1)
    waiting.catch(() => {})
    await clock.advance(1)
    const { id } = client.session
    cluster.expire()
    return { ...set, lost, pin, waiting, oldId: id }
  }

  const ranges = [{ file: '100', path: '/f', offset: 4096, length: 8192 }]

  it('a client learns of the expiry when it registers, and its calls fail with the lost ranges', async () => {
    const { leader, clock, lost, pin, waiting, mapping, file } = await expired()
    leader.cut()
    await clock.advance(100)
    expect(client.session.state).toBe('expired')
    expect(lost).toEqual([ranges])
    expect(pin.lost.aborted).toBe(true)
    expect(pin.lost.reason).toBeInstanceOf(SessionExpiredError)
    const error = await outcome(waiting)
    expect(error).toMatchObject({ name: 'SessionExpiredError', lost: ranges })
    expect((error as Error).message).toBe(
      'session 1 has expired: the cluster did not hear from this client for its time to live; ' +
        '8192 unflushed bytes in 1 range are lost; open the file again'
    )
    expect(await outcome(mapping.read(0, 1))).toBe(error)
    expect(await outcome(file.stat())).toBe(error)
    pin.release()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('a client learns of the expiry from an expired message on its connection', async () => {
    const { leader, lost, waiting } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    expect(await outcome(waiting)).toBeInstanceOf(SessionExpiredError)
    expect(lost).toEqual([ranges])
  })

  it('every call on the files of an expired session fails with the lost ranges, also munmap and close', async () => {
    const { leader, file, mapping, pin } = await expired()
    const copy = await file.mmap({ flags: 'private', length: 4096 })
    await copy.write(0, byte(9))
    const other = await client.open('/clean', { create: true, size: 4096 })
    const clean = await other.mmap()
    leader.send({ type: 'expired', session: leader.session })
    await world.clock.advance(1)
    const at = async (call: () => unknown): Promise<unknown> => call()
    const calls = [
      () => file.stat(),
      () => file.read(0, 1),
      () => file.write(0, byte(1)),
      () => file.truncate(0),
      () => file.punchHole(0, 1),
      () => file.sync(),
      () => file.mmap(),
      () => at(() => file.addressSpace.unmapMappingRange(0, 0)),
      () => file.addressSpace.writeMappingRange(0, 0),
      () => file.addressSpace.evictMappingRange(0, 0),
      ...[mapping, copy].flatMap((map) => [
        () => map.read(0, 1),
        () => map.readInto(0, byte(0)),
        () => map.write(0, byte(1)),
        () => map.pin(0, 1, 'write'),
        () => map.msync(),
        () => at(() => map.tryRead(0, byte(0))),
        () => at(() => map.tryWrite(0, byte(1)))
      ]),
      () => mapping.munmap(),
      () => file.close(),
      () => file.close()
    ]
    for (const call of calls) {
      const error = await failure(call())
      expect(error).toBeInstanceOf(SessionExpiredError)
      expect(error).toMatchObject({ code: 'ERR_SESSION_EXPIRED', session: '1', lost: ranges })
    }
    // These lost no shared write, so munmap and close succeed.
    await copy.munmap()
    await clean.munmap()
    await other.close()
    pin.release()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('a call rejects if the cluster refuses a new session, and the next call tries again', async () => {
    const { leader, clock, pin } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    await clock.advance(100)
    leader.registration = { type: 'refused', error: errorToWire(new QuotaExceededError('sessions', 3)) }
    const calls: (() => Promise<unknown>)[] = [
      () => client.open('/f'),
      () => client.stat('/f'),
      () => client.rename('/f', '/g'),
      () => client.unlink('/f'),
      () => client.list()[Symbol.asyncIterator]().next()
    ]
    for (const call of calls) {
      const error = await failure(world.until(call()))
      expect(error).toMatchObject({ name: 'QuotaExceededError', code: 'ERR_QUOTA', quota: 'sessions', limit: 3 })
    }
    leader.registration = undefined
    expect((await world.until(client.stat('/f'))).path).toBe('/f')
    pin.release()
  })

  it('the next open after an expiry registers a new session', async () => {
    const { leader, clock, oldId, pin, mapping } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    await clock.advance(100)
    leader.holding.clear()
    expect(leader.of('register')).toHaveLength(1)
    const file = await world.until(client.open('/f'))
    expect(client.session.id).not.toBe(oldId)
    expect(client.session.state).toBe('active')
    expect(leader.last('register').session).toBe(0)
    const fresh = await file.mmap()
    expect(await fresh.read(0, 1)).toEqual(byte(1))
    expect(await outcome(mapping.read(0, 1))).toMatchObject({ name: 'SessionExpiredError' })
    // Writes through a pin of the expired session reach no page of the new one.
    pin.bytes.fill(66)
    for (let page = 0; page < 16; page++) expect(await fresh.read(page * 4096, 1)).toEqual(byte(page === 0 ? 1 : 0))
    pin.release()
    pin.release()
  })

  it('concurrent calls after an expiry share one new session, and aborting one leaves it to the others', async () => {
    const { leader, clock } = await expired()
    leader.send({ type: 'expired', session: leader.session })
    await clock.advance(100)
    leader.holding.add('register')
    const controller = new AbortController()
    const impatient = client.stat('/f', { signal: controller.signal })
    const patient = client.stat('/f')
    const opening = client.open('/f')
    await clock.advance(10)
    const reason = new Error('changed my mind')
    controller.abort(reason)
    expect(await outcome(impatient)).toBe(reason)
    expect(await outcome(patient)).toBe('waiting')
    leader.release('register')
    leader.holding.clear()
    await world.until(Promise.allSettled([patient, opening]))
    expect([await outcome(patient), await outcome(opening)]).toEqual(['resolved', 'resolved'])
  })
})
