/** Numbered requests, which the client repeats until they are answered. */
import { InvalidArgumentError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { outcome } from './support/client.js'
import { client, connected, useWorld, world } from './support/session.js'

useWorld()

describe('requests', () => {
  it('a client repeats a request with the same seq after a reconnection, and it takes effect once', async () => {
    const { leader, clock, cluster } = await connected()
    leader.holding.add('open')
    const opening = client.open('/f', { create: true })
    await clock.advance(10)
    const { seq } = leader.last('open')
    leader.cut()
    leader.holding.clear()
    await clock.advance(100)
    expect(leader.of('open').map((open) => open.seq)).toEqual([seq, seq])
    expect((await opening).id).toBe('100')
    expect(cluster.files.size).toBe(1)
  })

  it('a request tells the leader below which seq all answers have arrived', async () => {
    const { leader, clock } = await connected()
    leader.holding.add('stat')
    await client.open('/f', { create: true })
    const stats = [client.stat('/f'), client.stat('/f')]
    await clock.advance(1)
    await client.open('/g', { create: true })
    const sent = leader.received.map(({ message }) => message).filter((message) => message.type === 'open')
    const [first, second] = leader.of('stat')
    // The client sends the second open before the stats are answered, so only lower seqs are settled.
    expect(sent.map(({ seq, settled }) => [seq, settled])).toEqual([
      [first!.seq - 1, first!.seq - 1],
      [second!.seq + 1, first!.seq]
    ])
    leader.release('stat')
    await Promise.all(stats)
    await client.open('/h', { create: true })
    const last = leader.last('open')
    expect(last.settled).toBe(last.seq)
  })

  it('a client keeps at most 32 requests in flight, and queues further calls', async () => {
    const { leader, clock } = await connected()
    await client.open('/f', { create: true })
    leader.holding.add('stat')
    const stats = Array.from({ length: 100 }, () => client.stat('/f'))
    await clock.advance(1)
    expect(leader.of('stat').length).toBeLessThanOrEqual(32)
    let answered = 0
    while (answered < leader.of('stat').length) {
      leader.answer(leader.of('stat')[answered++]!)
      await clock.advance(1)
      expect(leader.of('stat').length - answered).toBeLessThanOrEqual(32)
    }
    expect(await Promise.all(stats)).toHaveLength(100)
    expect(leader.connections).toBe(1)
  })

  it('an aborted request counts as in flight until its answer arrives', async () => {
    const { leader, clock } = await connected()
    await client.open('/f', { create: true })
    leader.holding.add('stat')
    for (let round = 0; round < 4; round++) {
      const controller = new AbortController()
      const stats = Array.from({ length: 20 }, () => client.stat('/f', { signal: controller.signal }))
      await clock.advance(1)
      controller.abort()
      await Promise.allSettled(stats)
    }
    expect(leader.of('stat').length).toBeLessThanOrEqual(32)
    leader.release('stat')
    await clock.advance(1)
    expect((await client.stat('/f')).path).toBe('/f')
    expect(leader.connections).toBe(1)
  })

  it('a failed request rejects with the typed error of the leader', async () => {
    const { leader, clock } = await connected()
    leader.holding.add('open')
    const opening = client.open('/f')
    await clock.advance(1)
    leader.send({ type: 'failed', seq: leader.last('open').seq, error: { code: 'ERR_NO_ENTRY', facts: ['/f'] } })
    expect(await outcome(opening)).toMatchObject({ name: 'NoSuchFileError', path: '/f' })
  })

  it('a client ignores answers without a request', async () => {
    const { leader } = await connected()
    leader.send({ type: 'done', seq: 9999 })
    leader.fail(9998, new InvalidArgumentError('seq', 1, 'another'))
    leader.send({ type: 'keepAliveAck', term: 1, nonce: 77 })
    leader.send({ type: 'attached' })
    await world.clock.advance(10)
    expect(client.session.state).toBe('active')
    expect(leader.connections).toBe(1)
  })
})
