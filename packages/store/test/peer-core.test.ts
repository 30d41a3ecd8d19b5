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

describe('a peer whose log finds no more space', () => {
  it('takes no writes, goes on for as long as its last file lasts, and takes writes again when there is room', async () => {
    const peer = await new LonePeer().start({ segmentBytes: 64 * 1024 })
    const readOnly: (string | undefined)[] = []
    const { node, service } = peer.core
    service!.setReadOnly = (fault) => readOnly.push(fault?.name)
    peer.disk.setCapacity(peer.disk.usedBytes)
    while (readOnly.length === 0) {
      peer.store(10)
      await peer.clock.advance(100)
    }
    expect(readOnly).toEqual(['NoSpaceError'])
    peer.store(1)
    await peer.clock.advance(100)
    expect(node!.status().appliedIndex).toBe(node!.status().lastIndex)
    peer.disk.setCapacity(Infinity)
    await peer.clock.advance(1500)
    expect(readOnly).toEqual(['NoSpaceError', undefined])
    expect(peer.fatal).toEqual([])
    await peer.within(
      1000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.clock.pending).toBe(0)
  })
})

describe('a peer whose log is full to the last sector', () => {
  async function full(): Promise<LonePeer> {
    const peer = await new LonePeer().start({ segmentBytes: 64 * 1024 })
    peer.disk.setCapacity(peer.disk.usedBytes)
    for (let i = 0; peer.core.node!.status().room !== 'none' && i < 1000; i++) {
      peer.store(10)
      await peer.clock.advance(20)
    }
    return peer
  }

  async function close(peer: LonePeer): Promise<void> {
    await peer.within(
      1000,
      peer.core.stop().then(() => peer.core.close())
    )
    expect(peer.fatal).toEqual([])
    expect(peer.clock.pending).toBe(0)
  }

  it('does not end, serves what it has, and goes on by itself when there is room', async () => {
    const peer = await full()
    const { node } = peer.core
    const { appliedIndex, lastIndex } = node!.status()
    expect(appliedIndex).toBeLessThan(lastIndex)
    await peer.clock.advance(20_000)
    expect(node!.status()).toMatchObject({ role: 'leader', ready: true, room: 'none', appliedIndex, lastIndex })
    await peer.within(1000, node!.readIndex())
    peer.disk.setCapacity(Infinity)
    await peer.clock.advance(3000)
    expect(node!.status()).toMatchObject({ room: 'enough', appliedIndex: node!.status().lastIndex })
    expect(node!.status().appliedIndex).toBeGreaterThanOrEqual(lastIndex)
    await close(peer)
  })

  it('closes although entries wait for room', async () => {
    await close(await full())
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
