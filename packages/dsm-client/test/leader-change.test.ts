/** A client follows a change of leader, and repeats to the new leader what the old one has not answered. */
import { describe, expect, it } from 'vitest'
import { outcome } from './support/client.js'
import { PEERS } from './support/leader.js'
import { byte, client, connected, useWorld, withFile, world } from './support/session.js'

useWorld()

describe('a change of leader', () => {
  it('a client follows the redirect of the old leader to the new one at once', async () => {
    const { leader, clock } = await withFile()
    world.elect(world.peers[2]!, 5)
    leader.redirect(PEERS[2])
    await clock.advance(100)
    expect(world.net.dialed).toEqual([PEERS[0], PEERS[2]])
    expect(world.peers[2]!.last('register').session).toBe(leader.session)
  })

  it('a client emits one leaderchange event for each new term', async () => {
    const { leader, clock } = await connected()
    const events: unknown[] = []
    const listener = (event: CustomEvent<unknown>) => events.push(event.detail)
    client.addEventListener('leaderchange', listener)
    leader.cut()
    await clock.advance(100)
    expect(events).toEqual([])
    world.elect(world.peers[1]!, 5)
    leader.redirect(PEERS[1])
    await clock.advance(100)
    expect(events).toEqual([{ leader: PEERS[1], term: 5 }])
    client.removeEventListener('leaderchange', listener)
    world.elect(world.peers[2]!, 6)
    world.peers[1]!.redirect(PEERS[2])
    await clock.advance(100)
    expect(events).toHaveLength(1)
  })

  it('a client repeats only its unanswered faults to a new leader', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.advise(0, mapping.length, 'random')
    leader.holding.add('writeback')
    leader.holding.add('fault')
    const reading = mapping.read(8192, 1)
    await clock.advance(1)
    leader.release('fault')
    await clock.advance(1)
    leader.holding.add('fault')
    const waiting = mapping.read(4096, 1)
    await mapping.read(8192, 1)
    await clock.advance(1)
    world.elect(world.peers[1]!, 2)
    leader.redirect(PEERS[1])
    await clock.advance(100)
    expect([await outcome(reading), await outcome(waiting)]).toEqual(['resolved', 'resolved'])
    expect(world.peers[1]!.of('fault').map((fault) => fault.page)).toEqual([1])
  })

  it('a client repeats its writebacks to a new leader, with the current bytes', async () => {
    const { leader, clock, mapping, cluster } = await withFile()
    leader.holding.add('writeback')
    await mapping.write(0, byte(1))
    const flushing = mapping.msync()
    await clock.advance(1)
    await mapping.write(0, byte(2))
    world.elect(world.peers[1]!, 2)
    leader.redirect(PEERS[1])
    await clock.advance(100)
    expect(await outcome(flushing)).toBe('resolved')
    expect(cluster.pages.get('100:0')!.bytes[0]).toBe(2)
  })
})

describe('messages right behind registered', () => {
  it('a client handles a message that arrives in the same turn as registered', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(9))
    leader.cut()
    const order = { term: 1, op: 31, file: 100, page: 0, count: 1, after: 0 }
    leader.behindRegistered = [{ type: 'downgrade', ...order }]
    await clock.advance(100)
    expect(leader.last('ownerAckDirty')).toMatchObject({ op: 31, pages: [{ file: 100, page: 0 }] })
  })

  it('a client ignores messages behind registered if it has dropped the connection', async () => {
    const { leader, clock, mapping } = await withFile()
    await mapping.write(0, byte(9))
    leader.cut()
    leader.behindRegistered = [
      leader.redirection(''),
      { type: 'revoke', term: 1, op: 31, file: 100, page: 0, count: 1, after: 0 }
    ]
    await clock.advance(1)
    await clock.advance(100)
    expect(leader.of('ownerAckDirty')).toEqual([])
    expect(client.stats().handovers).toBe(0)
    expect(await mapping.read(0, 1)).toEqual(byte(9))
  })
})
