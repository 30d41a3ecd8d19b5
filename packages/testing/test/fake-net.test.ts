import { PROTOCOL_BULK, PROTOCOL_CONTROL, type FrameStream } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { FakeClock, FakeNet, settle } from '../src/index.js'

/** A frame as a sender hands it over: its length, then its bytes. */
const frame = (byte: number): Uint8Array => Uint8Array.of(1, 0, 0, 0, byte)

async function connect(net: FakeNet) {
  let far: FrameStream | undefined
  net.node('b').handle(PROTOCOL_BULK, 100, (stream) => (far = stream))
  const near = await net.dial('a', 'b', { protocol: PROTOCOL_BULK })
  return { near, far: far! }
}

describe('a fake stream', () => {
  it('a fake stream delivers frames in order, without their lengths', async () => {
    const { near, far } = await connect(new FakeNet())
    const received: number[] = []
    far.onFrame = (bytes) => received.push(...bytes)
    near.send(frame(1))
    near.send(frame(2))
    await settle()
    expect(received).toEqual([1, 2])
  })

  it('a fake stream delivers the frames that were sent before the close, then closes both ends', async () => {
    const { near, far } = await connect(new FakeNet())
    const seen: string[] = []
    far.onFrame = () => seen.push('frame')
    far.onClose = () => seen.push('far end closed')
    near.onClose = () => seen.push('near end closed')
    near.send(frame(1))
    near.close()
    await settle()
    expect(seen.indexOf('frame')).toBe(0)
    expect(seen).toHaveLength(3)
    expect(near.send(frame(2))).toBe(false)
  })

  it('a fake stream tells a listener that comes late that it is closed, and why, once', async () => {
    const { near, far } = await connect(new FakeNet())
    near.abort(new Error('the cable was pulled'))
    await settle()
    const reasons: (string | undefined)[] = []
    for (const end of [near, far]) end.onClose = (reason) => reasons.push(reason?.message)
    await settle()
    expect(reasons).toEqual(['the cable was pulled', 'the cable was pulled'])
  })
})

describe('a fake network', () => {
  it('a fake network takes the time of a real one: four round trips for a first connection, half of one for a frame', async () => {
    const clock = new FakeClock()
    const net = new FakeNet(clock)
    net.roundTripMs = 100
    let arrivedAt = 0
    net.listen('b', PROTOCOL_CONTROL, (stream) => {
      stream.onFrame = () => (arrivedAt = clock.now())
    })
    const dialing = net.dial('a', 'b', { protocol: PROTOCOL_CONTROL })
    await clock.advance(400)
    const stream = await dialing
    stream.send(frame(1))
    await clock.advance(100)
    expect(arrivedAt).toBe(450)
  })

  it('a fake network refuses a dial to a node that is down, or at an address where the node is not', async () => {
    const net = new FakeNet()
    await connect(net)
    net.places.set('b', 'there')
    await expect(net.dial('a', 'b', { protocol: PROTOCOL_BULK }, ['here'])).rejects.toThrow('b is not there')
    await net.dial('a', 'b', { protocol: PROTOCOL_BULK }, ['there'])
    net.down.add('b')
    await expect(net.dial('a', 'b', { protocol: PROTOCOL_BULK }, ['there'])).rejects.toThrow('cannot reach b')
  })
})
