import { describe, expect, it } from 'vitest'
import { RECEIVE_WINDOW_BYTES, updateLate } from '../src/portable/late-window-updates.js'
import { collect, createEcho, createNode, dialEcho, frame } from './helpers.js'

const ESTABLISHED = 3
const SYN_RECEIVED = 2

/** Counts the updates of a stream of Yamux. */
class StubStream {
  recvWindow = 256 * 1024
  recvWindowCapacity = this.recvWindow
  updates = 0

  constructor(readonly state: number) {}

  sendWindowUpdate(): void {
    this.updates++
    this.recvWindowCapacity = this.recvWindow
  }

  read(bytes: number): void {
    this.recvWindowCapacity -= bytes
    this.sendWindowUpdate()
  }
}

function stubStream(state: number): StubStream {
  return updateLate(new StubStream(state) as never) as StubStream
}

describe('late window updates', () => {
  it('late window updates wait until half of the window was read', () => {
    const stream = stubStream(ESTABLISHED)
    stream.sendWindowUpdate()
    expect([stream.updates, stream.recvWindowCapacity]).toEqual([1, RECEIVE_WINDOW_BYTES])
    stream.read(RECEIVE_WINDOW_BYTES / 2 - 1)
    expect(stream.updates).toBe(1)
    stream.read(1)
    expect([stream.updates, stream.recvWindowCapacity]).toEqual([2, RECEIVE_WINDOW_BYTES])
    stream.read(1)
    expect(stream.updates).toBe(2)
  })

  it('late window updates do not delay the update that accepts a stream', () => {
    const stream = stubStream(SYN_RECEIVED)
    stream.sendWindowUpdate()
    stream.read(1)
    expect(stream.updates).toBe(2)
  })

  it('late window updates let a stream carry many windows in both directions', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const stream = await dialEcho(client, server)
    const echoed = collect(stream)
    const sizes = Array.from({ length: 40 }, (_, index) => 100_000 + index * 7_919)
    for (const size of sizes) {
      if (!stream.send(frame(new Uint8Array(size)))) await new Promise<void>((resolve) => (stream.onDrain = resolve))
    }
    await echoed.count(sizes.length)
    expect(echoed.frames.map(({ length }) => length)).toEqual(sizes)
  })
})
