import { CorruptionError, NoSpaceError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { Backend } from '../src/pages/index.js'
import { LonePeer } from './support/lone-peer.js'

/** A table of which few entries fill a generation. */
const SMALL = { maxTableBytes: 8192 }

describe('a peer whose page store is damaged', () => {
  it('does not start, and leaves the store closed', async () => {
    const peer = new LonePeer()
    let closed = 0
    const storage = peer.storage()
    const openPages = (): Backend => {
      const backend = storage.openPages()
      const close = backend.close.bind(backend)
      backend.get = () => {
        throw new CorruptionError('pages', 0, 'bad checksum')
      }
      backend.close = () => {
        closed++
        return close()
      }
      return backend
    }
    await expect(peer.within(1000, peer.open({}, { ...storage, openPages }))).rejects.toThrow(CorruptionError)
    expect(closed).toBe(1)
  })
})

describe('a peer whose page store is full', () => {
  it('closes although entries wait for room', async () => {
    const peer = await new LonePeer().start(SMALL)
    peer.pages.failWith(new NoSpaceError('pages'))
    peer.store(500)
    await peer.clock.advance(5000)
    const { node } = peer.core
    expect(node!.status().appliedIndex).toBeLessThan(node!.status().commitIndex)
    await peer.within(
      5000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.fatal).toEqual([])
    expect(peer.clock.pending).toBe(0)
  })
})
