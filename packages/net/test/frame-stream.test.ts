import { connect } from 'node:net'
import type { Stream } from '@libp2p/interface'
import { FrameTooLargeError, type FrameStream } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { SendQueueFullError, StreamBrokenError } from '../src/index.js'
import { nodeEventLoop } from '../src/node/event-loop.js'
import type { EventLoop } from '../src/portable/event-loop.js'
import { MAX_QUEUED_BYTES, createFrameStream } from '../src/portable/frame-stream.js'
import {
  COUNT,
  ECHO,
  MAX_FRAME_BYTES,
  collect,
  createEcho,
  createNode,
  dialEcho,
  frame,
  pattern,
  sleep,
  startEchoProcess
} from './helpers.js'

/** The part of libp2p's stream that sending uses. It keeps the bytes of each `send`. */
function createSink(): { stream: Stream; sends: Uint8Array[] } {
  const sends: Uint8Array[] = []
  const stream = Object.assign(new EventTarget(), {
    status: 'open',
    remoteWriteStatus: 'writable',
    writableNeedsDrain: false,
    writeBufferLength: 0,
    send: (bytes: Uint8Array) => sends.push(bytes) > 0,
    abort: () => {}
  })
  return { stream: stream as unknown as Stream, sends }
}

describe('a frame stream', () => {
  it('a frame stream joins the frames of one turn into one send, including those of promise continuations', async () => {
    const { stream, sends } = createSink()
    const frames = createFrameStream({ eventLoop: nodeEventLoop, stream, remote: 'peer', maxFrameBytes: 100 })
    const gate = Promise.resolve()
    for (let index = 0; index < 10; index++) {
      frames.send(Uint8Array.of(index))
      void gate.then(() => gate.then(() => frames.send(Uint8Array.of(100 + index))))
    }
    expect(sends).toEqual([])
    await new Promise((resolve) => setImmediate(resolve))
    expect(sends.map((bytes) => bytes.length)).toEqual([20])

    frames.send(new Uint8Array(200_000))
    frames.send(new Uint8Array(200_000))
    frames.send(Uint8Array.of(1))
    await new Promise((resolve) => setImmediate(resolve))
    expect(sends.map((bytes) => bytes.length)).toEqual([20, 200_000, 200_001])
  })

  it('a frame stream sends its queue exactly when its event loop reports the end of the turn', async () => {
    const { stream, sends } = createSink()
    const tasks: (() => void)[] = []
    const eventLoop: EventLoop = {
      atEndOfTurn: (task) => void tasks.push(task),
      scheduleInBackground: () => () => {}
    }
    const frames = createFrameStream({ eventLoop, stream, remote: 'peer', maxFrameBytes: 100 })
    frames.send(Uint8Array.of(1))
    frames.send(Uint8Array.of(2))
    await sleep(5)
    expect([sends.length, tasks.length]).toEqual([0, 1])
    tasks[0]!()
    expect(sends).toEqual([Uint8Array.of(1, 2)])
  })

  it('a frame stream sends nothing while libp2p waits for a drain, and its whole queue afterwards', async () => {
    const { stream, sends } = createSink()
    const frames = createFrameStream({ eventLoop: nodeEventLoop, stream, remote: 'peer', maxFrameBytes: 100 })
    stream.writableNeedsDrain = true
    frames.send(Uint8Array.of(1))
    await sleep(5)
    frames.send(Uint8Array.of(2))
    expect(sends).toEqual([])
    stream.writableNeedsDrain = false
    stream.dispatchEvent(new Event('drain'))
    await sleep(5)
    expect(sends).toEqual([Uint8Array.of(1, 2)])
  })

  it('a frame stream carries frames of 0 bytes to 1 MiB unchanged and in order', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const stream = await dialEcho(client, server)
    const collected = collect(stream)
    const sizes = [0, 1, 3, 4, 5, 255, 4096, 65_507, 65_536, 70_000, 262_144, 300_000, MAX_FRAME_BYTES]
    const sent = sizes.map((size, index) => pattern(size, index))
    for (const bytes of sent) stream.send(frame(bytes))
    await collected.count(sent.length)
    for (const [index, bytes] of sent.entries()) {
      expect(Buffer.compare(collected.frames[index]!, bytes), `frame ${index}`).toBe(0)
    }
  })

  it('a frame stream carries many small frames that are queued in one turn', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const stream = await dialEcho(client, server)
    const collected = collect(stream)
    const sent = Array.from({ length: 5000 }, (_, index) => pattern(1 + (index % 97), index))
    for (const bytes of sent) stream.send(frame(bytes))
    await collected.count(sent.length)
    expect(Buffer.concat(collected.frames).equals(Buffer.concat(sent))).toBe(true)
  })

  it('a frame stream keeps what arrives before the caller has set its handlers', async () => {
    const [server, client] = await Promise.all([createNode(), createNode({ listen: [] })])
    server.handle(ECHO, MAX_FRAME_BYTES, (stream) => {
      stream.send(frame(Uint8Array.of(1)))
      stream.send(frame(Uint8Array.of(2)))
      stream.close()
    })
    const stream = await dialEcho(client, server)
    await sleep(100)
    const collected = collect(stream)
    expect(collected.frames).toEqual([])
    expect(await collected.closed).toBeUndefined()
    expect(collected.frames.map((bytes) => bytes[0])).toEqual([1, 2])
  })

  it('a frame stream returns false above the high-water mark, waits for a stopped remote and continues after onDrain', async () => {
    const remote = await startEchoProcess()
    const client = await createNode({ listen: [] })
    const stream = await client.dial(remote.peerId, [remote.address], { protocol: COUNT, maxFrameBytes: 64 })
    const collected = collect(stream)
    remote.child.kill('SIGSTOP')

    const page = frame(pattern(4096, 1))
    let frames = 1
    while (stream.send(page)) {
      frames++
      if (frames % 16 === 0) await sleep(0)
    }
    let drained = false
    const drain = new Promise<void>((resolve) => (stream.onDrain = resolve)).then(() => (drained = true))
    await sleep(200)
    expect(drained).toBe(false)

    remote.child.kill('SIGCONT')
    await drain
    await collected.count(frames)
    const last = collected.frames.at(-1)!
    expect(new DataView(last.buffer, last.byteOffset).getFloat64(0, true)).toBe(frames * 4096)
  })

  it('a frame stream aborts with SendQueueFullError if the caller ignores a false', async () => {
    const remote = await startEchoProcess()
    const client = await createNode({ listen: [] })
    const stream = await client.dial(remote.peerId, [remote.address], { protocol: COUNT, maxFrameBytes: 64 })
    const collected = collect(stream)
    const page = frame(pattern(65_536, 1))
    for (let bytes = 0; bytes <= MAX_QUEUED_BYTES; bytes += page.length) stream.send(page)
    expect(await collected.closed).toBeInstanceOf(SendQueueFullError)
    expect(stream.send(page)).toBe(false)
  })

  it('a frame stream that receives an oversized frame aborts alone', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const reasons: unknown[] = []
    server.handle('/test/small/1', 100, (stream) => {
      stream.onFrame = () => {}
      stream.onClose = (reason) => reasons.push(reason)
    })
    const other = await dialEcho(client, server)
    const others = collect(other)
    const stream = await client.dial(server.peerId, [], { protocol: '/test/small/1', maxFrameBytes: 100 })
    const collected = collect(stream)
    stream.send(frame(new Uint8Array(101)))
    expect(await collected.closed).toBeInstanceOf(StreamBrokenError)
    expect(reasons).toEqual([new FrameTooLargeError(101, 100)])

    other.send(frame(Uint8Array.of(5)))
    await others.count(1)
    expect(others.closes).toBe(0)
    expect(collected.closes).toBe(1)
  })

  it('a frame stream that receives malformed bytes, or an end inside a frame, aborts alone', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const reasons: (Error | undefined)[] = []
    server.handle('/test/strict/1', 100, (stream) => {
      stream.onFrame = () => {}
      stream.onClose = (reason) => reasons.push(reason)
    })
    const open = (): Promise<FrameStream> =>
      client.dial(server.peerId, server.multiaddrs, { protocol: '/test/strict/1', maxFrameBytes: 100 })
    const garbage = await open()
    garbage.send(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3))
    await collect(garbage).closed
    const half = await open()
    half.send(Uint8Array.of(50, 0, 0, 0, 1))
    half.close()
    await collect(half).closed
    expect(reasons.map((reason) => reason?.name)).toEqual(['FrameTooLargeError', 'StreamBrokenError'])
    await collect(await dialEcho(client, server)).count(0)
  })

  it('a frame stream works after a connection that does not speak libp2p', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const port = Number(/tcp\/(\d+)/.exec(server.multiaddrs[0]!)![1])
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(100)))
    await sleep(100)
    socket.destroy()
    const stream = await dialEcho(client, server)
    const collected = collect(stream)
    stream.send(frame(Uint8Array.of(5)))
    await collected.count(1)
  })

  it('a frame stream closes with the error that onFrame throws', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const stream = await dialEcho(client, server)
    const boom = new Error('boom')
    const closed = new Promise((resolve) => (stream.onClose = resolve))
    stream.onFrame = () => {
      throw boom
    }
    stream.send(frame(Uint8Array.of(1)))
    stream.send(frame(Uint8Array.of(2)))
    expect(await closed).toBe(boom)
  })

  it('a frame stream sends its queue before it closes, and both sides see one orderly close', async () => {
    const [server, client] = await Promise.all([createNode(), createNode({ listen: [] })])
    const accepted = new Promise<FrameStream>((resolve) => {
      server.handle(ECHO, MAX_FRAME_BYTES, (stream) => resolve(stream))
    })
    const stream = await dialEcho(client, server)
    const mine = collect(stream)
    const theirs = accepted.then((each) => collect(each))
    for (let index = 0; index < 100; index++) stream.send(frame(pattern(65_536, index)))
    stream.close()
    stream.close()
    expect(stream.send(frame(Uint8Array.of(1)))).toBe(false)
    const remote = await theirs
    expect(await Promise.all([mine.closed, remote.closed])).toEqual([undefined, undefined])
    expect(remote.frames).toHaveLength(100)
    stream.abort(new Error('late'))
    await sleep(20)
    expect([mine.closes, remote.closes]).toEqual([1, 1])
  })

  it('a frame stream reports an abort with its reason to this side, and as a broken stream to the remote', async () => {
    const [server, client] = await Promise.all([createNode(), createNode({ listen: [] })])
    const closed = new Promise<Error | undefined>((resolve) => {
      server.handle(ECHO, MAX_FRAME_BYTES, (stream) => {
        stream.onFrame = () => {}
        stream.onClose = resolve
      })
    })
    const stream = await dialEcho(client, server)
    const collected = collect(stream)
    const reason = new Error('enough')
    stream.abort(reason)
    expect(collected.closes).toBe(0)
    expect(await collected.closed).toBe(reason)
    expect(await closed).toBeInstanceOf(StreamBrokenError)
  })
})
