/** Members tell each other of their states (docs/storage.md, Scrub and comparison). */
import { FakeNet, settle } from '@quire/testing'
import { expect, it } from 'vitest'
import { clock, start, stop, usePeers } from './support/linked-peers.js'

usePeers()

it('a peer tells all members of its state, and tells a new link the newest only', async () => {
  const net = new FakeNet()
  const ids = ['a', 'b', 'c']
  const a = await start(net, 'a', ids)
  const b = await start(net, 'b', ids)
  await clock.advance(200)
  a.links.tellState({ index: 5, hash: 'x' })
  await settle()
  expect(b.states).toEqual(['a: 5 x'])
  a.links.tellState({ index: 9, hash: '' })
  const c = await start(net, 'c', ids)
  await clock.advance(2_000)
  expect([b.states, c.states]).toEqual([['a: 5 x', 'a: 9 '], ['a: 9 ']])
  stop(b)
  await clock.advance(200)
  const again = await start(net, 'b', ids, { folder: b.folder })
  await clock.advance(5_000)
  expect(again.states).toEqual(['a: 9 '])
})
