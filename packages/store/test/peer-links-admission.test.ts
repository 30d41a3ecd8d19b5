/** How an empty folder comes to take part. */
import { FakeNet, settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { decodeMemory } from '../src/peer/identity.js'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import { LinkedPeer, folderOf, founded } from './support/linked-peer.js'
import { clock, start, started, stop, usePeers } from './support/linked-peers.js'

usePeers()

describe('an empty folder', () => {
  const ids = ['a', 'b', 'c']

  const fresh = (net: FakeNet, id: string): Promise<LinkedPeer> =>
    start(net, id, ids, { folder: folderOf(`new folder of ${id}`, false) })

  it('an empty folder does not take part until every founder has agreed', async () => {
    const net = new FakeNet()
    const a = await fresh(net, 'a')
    const b = await fresh(net, 'b')
    await clock.advance(5000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.received, a.identity.missing]).toEqual([false, [], ['c']])
    await fresh(net, 'c')
    await clock.advance(5000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.identity.isAdmitted, b.received]).toEqual([true, true, ['0 a heartbeat']])
  })

  it('an empty folder does not take part while the founders have more than the founding entry and no leader', async () => {
    const net = new FakeNet()
    const others = [await start(net, 'b', ids), await start(net, 'c', ids)]
    for (const each of others) each.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    const a = await fresh(net, 'a')
    await clock.advance(10_000)
    others[0]!.send('a')
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, a.received, others[0]!.received]).toEqual([false, [], []])
  })

  it('an empty folder takes part when a leader with a majority admits it', async () => {
    const net = new FakeNet()
    const leader = await start(net, 'b', ids)
    leader.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    await start(net, 'c', ids)
    const a = await fresh(net, 'a')
    await clock.advance(5000)
    expect(a.identity.isAdmitted).toBe(false)
    leader.leads = true
    await clock.advance(2000)
    leader.send('a')
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, a.received, leader.received]).toEqual([true, ['0 b heartbeat'], ['0 a heartbeat']])
    expect(a.folder.admitted).toBe(true)
  })

  it('an empty folder does not take part while its peer cannot write the admission to disk, and the peer tries again', async () => {
    const net = new FakeNet()
    const folder = folderOf('new folder of a', false)
    const admit = folder.admit.bind(folder)
    folder.admit = () => {
      throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
    }
    const pairIds = ['a', 'b']
    const a = await start(net, 'a', pairIds, { folder })
    const b = await start(net, 'b', pairIds, { folder: folderOf('new folder of b', false) })
    await clock.advance(10_000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.identity.isAdmitted, b.received]).toEqual([false, true, []])
    expect(a.errors()).toEqual(['this peer may take part, but cannot write that down yet'])
    folder.admit = admit
    await clock.advance(1000)
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.received]).toEqual([true, ['0 a heartbeat']])
  })

  it('a leader admits an empty folder only when every other voter knows it, because one may hold a vote of an earlier folder', async () => {
    const net = new FakeNet()
    const leader = await start(net, 'b', ids)
    leader.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    leader.leads = true
    const a = await fresh(net, 'a')
    await clock.advance(20_000)
    expect(a.identity.isAdmitted).toBe(false)
    const c = new LinkedPeer('c', { net, clock, config: founded(ids) })
    await started(c)
    await clock.advance(10_000)
    expect([a.identity.isAdmitted, c.links.quarantined]).toEqual([true, []])
  })

  it('an empty folder is not admitted while one voter remembers an earlier folder that took part', async () => {
    const net = new FakeNet()
    const former = await start(net, 'a', ids)
    const c = await start(net, 'c', ids)
    await clock.advance(5000)
    stop(former)
    const a = await fresh(net, 'a')
    const leader = await start(net, 'b', ids)
    leader.log = { term: 2, lastTerm: 2, lastIndex: 7 }
    leader.leads = true
    await clock.advance(20_000)
    expect([a.identity.isAdmitted, c.links.quarantined.map(({ peerId }) => peerId)]).toEqual([false, ['a']])
  })

  it('an empty folder may be replaced as long as it has never taken part', async () => {
    const net = new FakeNet()
    const a = await fresh(net, 'a')
    const first = await start(net, 'c', ids, { folder: folderOf('c, made at 1', false) })
    await clock.advance(5000)
    stop(first)
    const c = await start(net, 'c', ids, { folder: folderOf('c, made at 2', false) })
    const b = await fresh(net, 'b')
    await clock.advance(10_000)
    expect([a, b, c].map(({ identity }) => identity.isAdmitted)).toEqual([true, true, true])
    expect([a, b, c].flatMap((each) => each.errors())).toEqual([])
  })

  it('an empty folder counts at another peer only after its admission is durable there', async () => {
    const net = new FakeNet()
    const writes: (() => void)[] = []
    let isSlow = false
    const slow = createMemoryIdentity({
      incarnation: 'folder of b',
      schedule: (done) => (isSlow ? writes.push(done) : done())
    })
    slow.admit()
    const a = await fresh(net, 'a')
    const b = await start(net, 'b', ids, { folder: slow })
    await clock.advance(2000)
    isSlow = true
    await fresh(net, 'c')
    await clock.advance(500)
    while (!a.identity.isAdmitted) {
      for (const done of writes.splice(0)) done()
      await settle()
    }
    a.send('b')
    await settle()
    expect([a.identity.isAdmitted, b.received]).toEqual([true, []])
    isSlow = false
    for (const done of writes.splice(0)) done()
    await settle()
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
    const admitted = decodeMemory(slow.remembered).peers.find(({ member }) => member === 'a')
    expect(admitted?.admitted).toBe(true)
  })
})
