import { once } from 'node:events'
import { connect, createServer, Socket, type AddressInfo } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { joinWrites } from '../src/node/joined-writes.js'
import { nodeEventLoop } from '../src/node/event-loop.js'
import { cleanup, collect, createEcho, createNode, dialEcho, frame, pattern } from './helpers.js'

/** Counts the writes of every socket of this process from now on. */
function countWrites(): { readonly count: () => number } {
  const spies = [vi.spyOn(Socket.prototype, '_write'), vi.spyOn(Socket.prototype, '_writev')]
  cleanup(() => spies.forEach((spy) => spy.mockRestore()))
  return { count: () => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0) }
}

interface FakeConnection {
  readonly socket: Socket
  sendData(data: Uint8Array[] & { byteLength: number }): { sentBytes: number; canSendMore: boolean }
}

function listOf(...pieces: Uint8Array[]): Uint8Array[] & { byteLength: number } {
  return Object.assign(pieces, { byteLength: pieces.reduce((sum, { length }) => sum + length, 0) })
}

async function connectedSocket(): Promise<{ readonly socket: Socket; readonly received: () => Buffer }> {
  const chunks: Buffer[] = []
  const server = createServer((remote) => remote.on('data', (chunk) => chunks.push(chunk))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  cleanup(() => {
    socket.destroy()
    server.close()
  })
  await once(socket, 'connect')
  return { socket, received: () => Buffer.concat(chunks) }
}

function joined(socket: Socket): FakeConnection {
  return joinWrites({ socket } as never)
}

describe('joined writes', () => {
  it('joined writes leave with one system call, also those of the end of the turn', async () => {
    const { socket, received } = await connectedSocket()
    const connection = joined(socket)
    const writes = countWrites()
    connection.sendData(listOf(Uint8Array.of(1), Uint8Array.of(2, 3)))
    connection.sendData(listOf(Uint8Array.of(4)))
    nodeEventLoop.atEndOfTurn(() => connection.sendData(listOf(Uint8Array.of(5))))
    expect(writes.count()).toBe(0)
    await expect.poll(() => received().length).toBe(5)
    expect([...received()]).toEqual([1, 2, 3, 4, 5])
    expect(writes.count()).toBe(1)
  })

  it('joined writes refuse more when the socket has much to write, and the socket drains', async () => {
    const { socket } = await connectedSocket()
    const connection = joined(socket)
    expect(connection.sendData(listOf(new Uint8Array(100_000)))).toEqual({ sentBytes: 100_000, canSendMore: true })
    const more = connection.sendData(listOf(new Uint8Array(100_000), new Uint8Array(100_000)))
    expect(more).toEqual({ sentBytes: 200_000, canSendMore: false })
    await once(socket, 'drain')
    expect(connection.sendData(listOf(Uint8Array.of(1))).canSendMore).toBe(true)
  })

  it('joined writes leave before a socket that is ended closes', async () => {
    const { socket, received } = await connectedSocket()
    joined(socket).sendData(listOf(pattern(1000, 1)))
    socket.destroySoon()
    await once(socket, 'close')
    await expect.poll(() => received().length).toBe(1000)
  })

  it('joined writes make one system call of a frame and its answer each', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const stream = await dialEcho(client, server)
    const echoed = collect(stream)
    stream.send(frame(pattern(100, 1)))
    await echoed.count(1)
    const writes = countWrites()
    for (let round = 2; round <= 51; round++) {
      stream.send(frame(pattern(5000, round)))
      await echoed.count(round)
    }
    // Besides, a probe may fall into the rounds.
    expect(writes.count()).toBeGreaterThanOrEqual(100)
    expect(writes.count()).toBeLessThanOrEqual(104)
  })
})
