import { connect, Socket } from 'node:net'
import { InvalidArgumentError } from '@quire/protocol'
import { describe, expect, it, vi } from 'vitest'
import {
  DialError,
  ListenError,
  StreamBrokenError,
  createLibp2pNetwork,
  generatePrivateKey,
  peerIdFromKey
} from '../src/index.js'
import {
  cleanup,
  collect,
  createEcho,
  createNode,
  dialEcho,
  echoOptions,
  frame,
  recorder,
  runChild,
  startEchoProcess
} from './helpers.js'

describe('a libp2p network', () => {
  it('a libp2p network reports the port that it has bound, and names a malformed address in its error', async () => {
    const node = await createNode()
    expect(node.multiaddrs).toHaveLength(1)
    expect(node.multiaddrs[0]).toMatch(new RegExp(`^/ip4/127.0.0.1/tcp/[1-9]\\d+/p2p/${node.peerId}$`))
    const privateKey = await generatePrivateKey()
    await expect(createLibp2pNetwork({ privateKey, listen: ['/ip4/nonsense'] })).rejects.toThrow(
      'listen is "/ip4/nonsense"'
    )
    await expect(node.dial(peerIdFromKey(privateKey), ['127.0.0.1:80'], echoOptions)).rejects.toBeInstanceOf(
      InvalidArgumentError
    )
  })

  it('a libp2p network disables the Nagle algorithm on both ends', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    collect(await dialEcho(client, server))
    const port = Number(/tcp\/(\d+)/.exec(server.multiaddrs[0]!)![1])
    const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles()
    const sockets = handles.filter(
      (each): each is Socket => each instanceof Socket && (each.localPort === port || each.remotePort === port)
    )
    expect(sockets).toHaveLength(2)
    for (const socket of sockets) {
      const flag = Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === 'kSetNoDelay')!
      expect((socket as unknown as Record<symbol, unknown>)[flag]).toBe(true)
    }
  })

  it('a libp2p network refuses a peer that is not listed, and logs the refusal once', async () => {
    const { logger, warnings } = recorder()
    const server = await createEcho({ logger, allow: () => 'not in the address book' })
    const client = await createNode({ listen: [] })
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(dialEcho(client, server)).rejects.toBeInstanceOf(DialError)
    }
    expect(warnings).toEqual([
      expect.objectContaining({ peer: client.peerId, direction: 'inbound', reason: 'not in the address book' })
    ])
    expect(server.connections).toBe(0)
  })

  it('a libp2p network closes the connections of a peer that is no longer allowed', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const collected = collect(await dialEcho(client, server))
    server.setAllow((peerId) => (peerId === client.peerId ? 'removed' : true))
    await collected.closed
    await expect(dialEcho(client, server)).rejects.toBeInstanceOf(DialError)
  })

  it('a libp2p network reports a killed remote on every stream within a second', async () => {
    const remote = await startEchoProcess()
    const client = await createNode({ listen: [] })
    const streams = await Promise.all([1, 2, 3].map(() => client.dial(remote.peerId, [remote.address], echoOptions)))
    const collected = streams.map((stream) => collect(stream))
    const killed = performance.now()
    remote.child.kill('SIGKILL')
    for (const each of collected) expect(await each.closed).toBeInstanceOf(StreamBrokenError)
    expect(performance.now() - killed).toBeLessThan(1000)
    expect(collected.map((each) => each.closes)).toEqual([1, 1, 1])
    expect(streams[0]!.send(frame(Uint8Array.of(1)))).toBe(false)
  })

  it('a libp2p network connects again after a break, even to a process that was restarted on the same port', async () => {
    const privateKey = await generatePrivateKey()
    const first = await createEcho({ privateKey })
    const client = await createNode({ listen: [] })
    const before = collect(await dialEcho(client, first))
    const addresses = first.multiaddrs
    await first.close()
    await before.closed
    await createEcho({ privateKey, listen: [addresses[0]!.replace(/\/p2p\/.*/, '')] })
    const stream = await client.dial(first.peerId, addresses, echoOptions)
    const after = collect(stream)
    stream.send(frame(Uint8Array.of(9)))
    await after.count(1)

    await client.hangUp(first.peerId)
    await after.closed
    collect(await client.dial(first.peerId, addresses, echoOptions))
  })

  it('a libp2p network limits the number and the lifetime of connections that stay silent', async () => {
    const node = await createEcho({ maxConnections: 4, maxPendingConnections: 8 })
    const port = Number(/\/tcp\/(\d+)/.exec(node.multiaddrs[0]!)![1])
    let closed = 0
    const strangers = Array.from({ length: 60 }, () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      return socket.on('close', () => closed++)
    })
    cleanup(() => {
      for (const socket of strangers) socket.destroy()
    })
    await vi.waitFor(() => expect(closed).toBe(60 - 8), { timeout: 3000, interval: 10 })
    await vi.waitFor(() => expect(closed).toBe(60), { timeout: 8000, interval: 50 })
    // Another client can connect now.
    const stream = await dialEcho(await createNode(), node)
    stream.close()
  })

  it('a libp2p network closes its streams in order, and refuses to dial afterwards', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const collected = collect(await dialEcho(client, server))
    await Promise.all([server.close(), server.close()])
    expect(await collected.closed).toBeUndefined()
    await expect(server.dial(client.peerId, [], echoOptions)).rejects.toMatchObject({ code: 'ERR_CLOSED' })
  })

  it('a closed libp2p network does not keep the process alive', async () => {
    expect(await runChild('close')).toEqual({ output: 'closed', code: 0 })
  })

  it('a libp2p network reports a port that is in use in one line', async () => {
    const node = await createNode()
    const listen = [node.multiaddrs[0]!.replace(/\/p2p\/.*/, '')]
    const failed: unknown = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen }).catch(
      (error: unknown) => error
    )
    expect(failed).toBeInstanceOf(ListenError)
    expect((failed as Error).message).toMatch(/^cannot listen on \S+: listen EADDRINUSE[^\n]*$/)
  })
})
