import type { Connection, Stream } from '@libp2p/interface'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { nodeEventLoop } from '../src/node/event-loop.js'
import { OpenStreams } from '../src/portable/open-streams.js'

const TIMEOUT_MS = 1000
const connection = { remotePeer: 'peer' } as unknown as Connection
let open: OpenStreams
/** True once `close` has resolved. */
let isClosed: boolean
let aborts: Error[]

/** The part of libp2p's stream that a close uses. */
function addStream(status = 'open'): EventTarget {
  const stream = Object.assign(new EventTarget(), {
    status,
    remoteWriteStatus: 'writable',
    writableNeedsDrain: false,
    writeBufferLength: 0,
    close: () => Promise.resolve(),
    abort: (reason: Error) => aborts.push(reason)
  })
  open.add(stream as unknown as Stream, connection, 100)
  return stream
}

async function close(): Promise<void> {
  void open.close(TIMEOUT_MS, new Error('the node closes')).then(() => (isClosed = true))
  await vi.advanceTimersByTimeAsync(0)
}

beforeEach(() => {
  vi.useFakeTimers()
  open = new OpenStreams(nodeEventLoop, undefined)
  isClosed = false
  aborts = []
})
afterEach(() => {
  vi.useRealTimers()
})

describe('closing the open streams of a node', () => {
  it('closing the open streams of a node ends when the last stream reports its close, without a timer', async () => {
    const [first, second] = [addStream(), addStream()]
    await close()
    first.dispatchEvent(new Event('close'))
    await vi.advanceTimersByTimeAsync(0)
    expect(isClosed).toBe(false)
    second.dispatchEvent(new Event('close'))
    await vi.advanceTimersByTimeAsync(0)
    expect(isClosed).toBe(true)
    expect(aborts).toEqual([])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('closing the open streams of a node ends at once when no stream is open', async () => {
    addStream('closed')
    addStream().dispatchEvent(new Event('close'))
    await close()
    expect(isClosed).toBe(true)
  })

  it('closing the open streams of a node aborts the streams that are still open after the timeout', async () => {
    addStream()
    await close()
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS - 1)
    expect(isClosed).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(isClosed).toBe(true)
    expect(aborts).toEqual([new Error('the node closes')])
  })
})
