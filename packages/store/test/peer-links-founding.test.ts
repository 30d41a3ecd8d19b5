/** Peers that were founded from different configurations. */
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { founded } from './support/linked-peer.js'
import { clock, start, stop, usePeers } from './support/linked-peers.js'

usePeers()

describe('peers that were founded from different configurations', () => {
  it('peers that were founded from different configurations never link, and both log the difference', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    const b = await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], { clients: ['x'] }) })
    await clock.advance(10_000)
    a.send('b')
    b.send('a')
    await settle()
    expect([a.received, b.received]).toEqual([[], []])
    expect(a.errors().join('\n')).toContain('clients: any here, 1 (with x) there')
    expect(b.errors().join('\n')).toContain('clients: 1 (with x) here, any there')
    expect(a.errors().length + b.errors().length).toBeLessThan(8)
  })

  it('a peer logs that the founding round trips differ if nothing else differs', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], { roundTripMs: 600 }) })
    await clock.advance(10_000)
    expect(a.errors().join('\n')).toContain('round trip: 32 ms here, 600 ms there')
  })

  it('a peer logs the next difference of the founding configurations after the first was put right', async () => {
    const net = new FakeNet()
    const a = await start(net, 'a', ['a', 'b'])
    for (const config of [{ clients: ['x'] }, { admins: ['y'] }]) {
      const b = await start(net, 'b', ['a', 'b'], { config: founded(['a', 'b'], config) })
      await clock.advance(30_000)
      stop(b)
    }
    const differences = a.errors().filter((line) => line.includes('here, '))
    expect(differences).toEqual([
      expect.stringContaining('clients: any here, 1 (with x) there'),
      expect.stringContaining('admins: 0 here, 1 (with y) there')
    ])
  })

  it('peers log the difference of their founding configurations even if only one lists the other as a voter', async () => {
    const net = new FakeNet()
    const lone = await start(net, 'c', ['c'])
    const a = await start(net, 'a', ['a', 'c'])
    await clock.advance(10_000)
    a.send('c')
    await settle()
    expect(lone.received).toEqual([])
    // The other peer is a stranger to the lone one, which therefore only warns.
    expect(lone.logged.map(({ reason }) => reason)).toContain(
      'a is refused: it was founded from another configuration: voters: c here, a, c there'
    )
    expect(a.errors().join()).toContain('it was founded from another configuration')
  })
})
