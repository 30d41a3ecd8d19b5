import type { MultiaddrConnection } from '@libp2p/interface'
import type { FrameStream } from '@quire/protocol'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { DialError, type Libp2pNetwork } from '../src/index.js'
import { nodeEventLoop } from '../src/node/event-loop.js'
import { MAX_STRANGERS, STRANGER_LIFE_MS, Strangers } from '../src/portable/strangers.js'
import { ECHO, MAX_FRAME_BYTES, collect, createNode, dialEcho, frame } from './helpers.js'

const OTHER = '/test/other/1'
const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 10 })

interface Closed {
  readonly server: Libp2pNetwork
  readonly accepted: string[]
  readonly refused: { readonly stream: FrameStream; readonly reason: string }[]
}

/** Starts a node that knows the peers `known`. One of its two protocols answers a stranger's first frame. */
async function createClosed(answers = true, known = new Set<string>()): Promise<Closed> {
  const server = await createNode({ allow: (peerId) => known.has(peerId) || 'unknown' })
  const accepted: string[] = []
  const refused: { stream: FrameStream; reason: string }[] = []
  server.handle(
    ECHO,
    MAX_FRAME_BYTES,
    () => accepted.push(ECHO),
    (stream, reason) => {
      refused.push({ stream, reason })
      stream.onFrame = () => {
        if (!answers) return
        stream.send(frame(Uint8Array.of(4, 0, 3)))
        stream.close()
      }
    }
  )
  server.handle(OTHER, MAX_FRAME_BYTES, () => accepted.push(OTHER))
  return { server, accepted, refused }
}

describe('a stranger', () => {
  it('a stranger receives the reason on a protocol that answers strangers, and is then cut off', async () => {
    const { server, accepted, refused } = await createClosed()
    const client = await createNode({ listen: [] })
    const stream = await dialEcho(client, server)
    const collected = collect(stream)
    stream.send(frame(Uint8Array.of(1)))
    await collected.count(1)
    expect(collected.frames.map((bytes) => [...bytes])).toEqual([[4, 0, 3]])
    await collected.closed
    expect(refused.map(({ stream: { remote }, reason }) => [remote, reason])).toEqual([[client.peerId, 'unknown']])
    expect(accepted).toEqual([])
    await until(() => expect([server.connections, client.connections]).toEqual([0, 0]))
  })

  it('a stranger gets no stream of a protocol without an answer, and no second stream', async () => {
    const { server, accepted, refused } = await createClosed(false)
    const client = await createNode({ listen: [] })
    const first = collect(await dialEcho(client, server))
    const options = { protocol: OTHER, maxFrameBytes: MAX_FRAME_BYTES }
    for (const protocol of [OTHER, ECHO]) {
      // The node cuts the stream after both sides have agreed on the protocol.
      const cut = await client.dial(server.peerId, [], { ...options, protocol }).catch(() => undefined)
      if (cut !== undefined) expect(await collect(cut).closed).toBeInstanceOf(Error)
    }
    expect(refused).toHaveLength(1)
    expect(accepted).toEqual([])
    expect(first.closes).toBe(0)
  })

  it(`a stranger is cut off without a reason if ${MAX_STRANGERS} others are connected, until one of them leaves`, async () => {
    const { server, refused } = await createClosed(false)
    const clients = await Promise.all(Array.from({ length: MAX_STRANGERS + 1 }, () => createNode({ listen: [] })))
    const last = clients.pop()!
    // All at once, because the server soon cuts strangers off.
    await Promise.all(clients.map(async (client) => collect(await dialEcho(client, server))))
    await until(() => expect(refused).toHaveLength(MAX_STRANGERS))
    await expect(dialEcho(last, server)).rejects.toBeInstanceOf(DialError)
    expect(server.connections).toBe(MAX_STRANGERS)
    await clients[0]!.close()
    await until(() => expect(server.connections).toBe(MAX_STRANGERS - 1))
    collect(await dialEcho(last, server))
    await until(() => expect(refused).toHaveLength(MAX_STRANGERS + 1))
  })

  it('a stranger takes no place from a peer that may connect', async () => {
    const known = await createNode({ listen: [] })
    const { server, accepted, refused } = await createClosed(false, new Set([known.peerId]))
    const clients = await Promise.all(Array.from({ length: MAX_STRANGERS }, () => createNode({ listen: [] })))
    // All at once, because the server soon cuts strangers off.
    await Promise.all(clients.map(async (client) => collect(await dialEcho(client, server))))
    collect(await dialEcho(known, server))
    await until(() => expect(accepted).toEqual([ECHO]))
    expect(refused).toHaveLength(MAX_STRANGERS)
  })
})

describe('the connections of strangers', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  class FakeConnection extends EventTarget {
    status = 'open'
    aborted: Error | undefined
    abort(reason: Error): void {
      this.aborted = reason
      this.end()
    }
    end(): void {
      this.status = 'closed'
      this.dispatchEvent(new Event('close'))
    }
  }

  const admit = (strangers: Strangers, connection: FakeConnection): boolean =>
    strangers.admit(connection as unknown as MultiaddrConnection)

  it('the connections of strangers are cut when their time is over, and make room for others', () => {
    vi.useFakeTimers()
    const strangers = new Strangers(nodeEventLoop)
    strangers.open()
    const connections = Array.from({ length: MAX_STRANGERS }, () => new FakeConnection())
    for (const connection of connections) expect(admit(strangers, connection)).toBe(true)
    expect(admit(strangers, new FakeConnection())).toBe(false)
    vi.advanceTimersByTime(STRANGER_LIFE_MS - 1)
    expect(connections.every(({ aborted }) => aborted === undefined)).toBe(true)
    vi.advanceTimersByTime(1)
    expect(connections.every(({ aborted }) => aborted !== undefined)).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
    // Each makes room once, although it is both cut and closed.
    for (let i = 0; i < MAX_STRANGERS; i++) expect(admit(strangers, new FakeConnection())).toBe(true)
    expect(admit(strangers, new FakeConnection())).toBe(false)
  })

  it('the connections of strangers are refused while no protocol answers strangers, and if they have already closed', () => {
    const strangers = new Strangers(nodeEventLoop)
    expect(admit(strangers, new FakeConnection())).toBe(false)
    strangers.open()
    const closed = new FakeConnection()
    closed.end()
    expect(admit(strangers, closed)).toBe(false)
  })
})
