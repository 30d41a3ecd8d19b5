/** What a client logs about its session. */
import { settle } from '@quire/testing'
import { pino } from 'pino'
import { expect, it } from 'vitest'
import { TTL, byte, client, useWorld, withFile, world } from './support/session.js'

useWorld()

it('a client logs its session, each leader that it finds or loses, and its lost bytes', async () => {
  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'info', base: null }, { write: (line) => lines.push(JSON.parse(line)) })
  const said = (): unknown[] => lines.splice(0).map(({ level: _level, time: _time, ...line }) => line)
  const { leader, clock, mapping } = await withFile({ logger })
  await mapping.write(0, byte(5))
  const short = (id: string): string => `…${id.slice(-8)}`
  expect(said()).toEqual([
    { leader: short(leader.id), term: 1, msg: 'connected to the leader' },
    { session: 1, id: client.peerId, clusterId: 'blue', ttlMs: TTL, msg: 'session opened' }
  ])
  const next = world.peers[1]!
  world.elect(next, 2)
  leader.cut()
  await clock.advance(1000)
  expect(said()).toEqual([
    { leader: short(leader.id), term: 1, reason: expect.any(String) as string, msg: 'connection to the leader lost' },
    { leader: short(next.id), term: 2, msg: 'connected to the leader' }
  ])
  next.send({ type: 'expired', session: next.session })
  await settle()
  expect(said()).toEqual([{ session: 1, lostBytes: 4096, lostRanges: 1, msg: 'session expired' }])
  await world.until(client.open('/f'))
  expect(said()).toMatchObject([{ msg: 'connected to the leader' }, { msg: 'session opened' }])
  await world.until(client.close())
  expect(said()).toMatchObject([{ msg: 'session ended' }])
})
