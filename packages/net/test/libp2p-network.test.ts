import { once } from 'node:events'
import { connect, createServer, Socket, type AddressInfo } from 'node:net'
import { InvalidArgumentError, NotAuthorizedError } from '@quire/protocol'
import type { Logger } from 'pino'
import { describe, expect, it, vi } from 'vitest'
import {
  DialError,
  ListenError,
  StreamBrokenError,
  createLibp2pNetwork,
  generatePrivateKey,
  peerIdFromKey
} from '../src/index.js'
import { createGate } from '../src/portable/gate.js'
import { startDelayProxy } from '../../../test/support/delay-proxy.js'
import {
  ECHO,
  MAX_FRAME_BYTES,
  cleanup,
  collect,
  createEcho,
  createNode,
  dialEcho,
  frame,
  runChild,
  sleep,
  startEchoProcess,
  startSilence
} from './helpers.js'

function recorder(): { logger: Logger; warnings: Record<string, unknown>[] } {
  const warnings: Record<string, unknown>[] = []
  const logger = { warn: (fields: Record<string, unknown>) => warnings.push(fields), error: () => {} }
  return { logger: logger as unknown as Logger, warnings }
}

const echoOptions = { protocol: ECHO, maxFrameBytes: MAX_FRAME_BYTES }

describe('a libp2p network', () => {
  it('reports the port that it has bound, and refuses a malformed address by name', async () => {
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

  it('disables the Nagle algorithm on both ends', async () => {
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

  it('uses one connection for concurrent and later dials to a peer, in both directions', async () => {
    const [server, client] = await Promise.all([createEcho(), createEcho()])
    const streams = await Promise.all(Array.from({ length: 24 }, () => dialEcho(client, server)))
    streams.push(await client.dial(server.peerId, [], echoOptions))
    streams.push(await server.dial(client.peerId, [], echoOptions))
    for (const stream of streams) collect(stream)
    expect([client.connections, server.connections]).toEqual([1, 1])
  })

  it('refuses an unlisted peer and logs it once', async () => {
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

  it('does not dial a peer that it does not allow', async () => {
    const server = await createEcho()
    const client = await createNode({ allow: (_, direction) => direction === 'inbound' || 'unknown' })
    await expect(dialEcho(client, server)).rejects.toEqual(new NotAuthorizedError(server.peerId, 'unknown'))
  })

  it('hangs up on a peer that is no longer allowed', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const collected = collect(await dialEcho(client, server))
    server.setAllow((peerId) => (peerId === client.peerId ? 'removed' : true))
    await collected.closed
    await expect(dialEcho(client, server)).rejects.toBeInstanceOf(DialError)
  })

  it('rejects when nobody answers, when another answers, and when the protocol is unknown', async () => {
    const [server, client, stranger] = await Promise.all([createEcho(), createNode(), generatePrivateKey()])
    const address = server.multiaddrs[0]!.replace(/\/p2p\/.*/, '')
    await expect(client.dial(peerIdFromKey(stranger), [address], echoOptions)).rejects.toMatchObject({
      name: 'DialError',
      reason: `another peer is there: ${server.peerId}`
    })
    await expect(client.dial(server.peerId, ['/ip4/127.0.0.1/tcp/1'], echoOptions)).rejects.toBeInstanceOf(DialError)
    await expect(client.dial(server.peerId, [], echoOptions)).rejects.toThrow('no address is known')
    await expect(client.dial(server.peerId, [address], { protocol: '/test/none/1', maxFrameBytes: 1 })).rejects.toThrow(
      'does not speak'
    )
    // A dead address beside a good one does no harm.
    collect(await client.dial(server.peerId, ['/ip4/127.0.0.1/tcp/1', address], echoOptions))
  })

  it('gives up at once when the signal aborts, and other dials to the same peer go on', async () => {
    const remote = await startEchoProcess()
    const client = await createNode({ listen: [] })
    remote.child.kill('SIGSTOP')
    const controller = new AbortController()
    const aborted = client.dial(remote.peerId, [remote.address], { ...echoOptions, signal: controller.signal })
    const other = client.dial(remote.peerId, [remote.address], echoOptions)
    await sleep(50)
    const reason = new Error('changed my mind')
    controller.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    remote.child.kill('SIGCONT')
    collect(await other)
    await expect(client.dial(remote.peerId, [], { ...echoOptions, signal: AbortSignal.abort() })).rejects.toMatchObject(
      { name: 'AbortError' }
    )
  })

  it('limits each step of a dial, and not the whole', async () => {
    const remote = await startEchoProcess()
    const client = await createNode({ listen: [] })
    const port = Number(/tcp\/(\d+)/.exec(remote.address)![1])
    await using proxy = await startDelayProxy({ roundTripMs: 400, target: () => ({ host: '127.0.0.1', port }) })
    const far = `/ip4/127.0.0.1/tcp/${proxy.port}`
    const startedAt = performance.now()
    // TCP and the upgrade are three round trips behind the proxy, the protocol one more.
    collect(await client.dial(remote.peerId, [far], { ...echoOptions, stepMs: 1500 }))
    expect(performance.now() - startedAt).toBeGreaterThan(1500)
    await client.hangUp(remote.peerId)
    remote.child.kill('SIGSTOP')
    const stuck = client.dial(remote.peerId, [remote.address], { ...echoOptions, stepMs: 100 })
    await expect(stuck).rejects.toThrow('no answer within 100 ms')
  })

  it('reaches a peer behind addresses that do not answer in a fraction of a step, and says which one did', async () => {
    const [server, ...silent] = await Promise.all([createEcho(), startSilence(), startSilence(), startSilence()])
    const client = await createNode({ listen: [] })
    const good = server.multiaddrs[0]!.replace(/\/p2p\/.*/, '')
    const addresses = [...silent.map((port) => `/ip4/127.0.0.1/tcp/${port}`), good]
    const answers: string[] = []
    const answered = (address: string): void => void answers.push(address)
    // One after the other, the silent ones would take half a minute.
    const options = { ...echoOptions, stepMs: 10_000, answered }
    const streams = await Promise.all([1, 2, 3].map(() => client.dial(server.peerId, addresses, options)))
    for (const stream of streams) collect(stream)
    expect(answers).toEqual([good, good, good])
    expect([client.connections, server.connections]).toEqual([1, 1])
    // Over the connection that is there now, no address has answered.
    collect(await client.dial(server.peerId, addresses, options))
    expect(answers).toHaveLength(3)
  })

  it('leaves no socket behind at the addresses that did not answer first', async () => {
    const server = await createEcho()
    const client = await createNode({ listen: [] })
    const open = new Set<Socket>()
    const silent = createServer((socket) => {
      open.add(socket.on('error', () => {}).resume())
      socket.on('close', () => open.delete(socket))
    }).listen(0, '127.0.0.1')
    cleanup(() => silent.close())
    await once(silent, 'listening')
    const dead = `/ip4/127.0.0.1/tcp/${(silent.address() as AddressInfo).port}`
    const options = { ...echoOptions, stepMs: 5000 }
    const dialing = client.dial(server.peerId, [dead, ...server.multiaddrs], options)
    await vi.waitFor(() => expect(open.size).toBe(1))
    collect(await dialing)
    await vi.waitFor(() => expect(open.size).toBe(0))
  })

  it('passes over addresses that it cannot dial, and refuses when there is no other', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const useless = [
      '/ip4/127.0.0.1/udp/4001/quic-v1',
      `/ip4/127.0.0.1/tcp/4001/ws/p2p/${server.peerId}`,
      `/ip4/127.0.0.1/tcp/4001/p2p/${client.peerId}`,
      'nonsense'
    ]
    await expect(client.dial(server.peerId, useless, echoOptions)).rejects.toThrow('no transport for /udp')
    collect(await client.dial(server.peerId, [...useless, ...server.multiaddrs, ...useless], echoOptions))
  })

  it('ends the dials that are under way when it is closed, and begins none of their other addresses', async () => {
    const client = await createNode({ listen: [] })
    const stranger = peerIdFromKey(await generatePrivateKey())
    const silent = await Promise.all([startSilence(), startSilence()])
    const addresses = silent.map((port) => `/ip4/127.0.0.1/tcp/${port}`)
    const dialing = client.dial(stranger, addresses, { ...echoOptions, stepMs: 600_000 })
    const failed = expect(dialing).rejects.toThrow('the network')
    await client.close()
    await failed
  })

  it('goes on to the next address when one takes too long for a step', async () => {
    const [server, silent] = await Promise.all([createEcho(), startSilence()])
    const client = await createNode({ listen: [] })
    const addresses = [`/ip4/127.0.0.1/tcp/${silent}`, ...server.multiaddrs]
    collect(await client.dial(server.peerId, addresses, { ...echoOptions, stepMs: 200 }))
  })

  it('reports a killed remote promptly on every stream', async () => {
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

  it('connects again after a break, also to a process that was restarted on the same port', async () => {
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

  it('keeps a bounded number of silent connections, each for a bounded time', async () => {
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
    // None of them is in the way any more.
    const stream = await dialEcho(await createNode(), node)
    stream.close()
  })

  it('closes its streams in order and then refuses to dial', async () => {
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
    const collected = collect(await dialEcho(client, server))
    await Promise.all([server.close(), server.close()])
    expect(await collected.closed).toBeUndefined()
    await expect(server.dial(client.peerId, [], echoOptions)).rejects.toMatchObject({ code: 'ERR_CLOSED' })
  })

  it('leaves nothing open that keeps the process alive', async () => {
    expect(await runChild('close')).toEqual({ output: 'closed', code: 0 })
  })

  it('says in one line when its port is taken', async () => {
    const node = await createNode()
    const listen = [node.multiaddrs[0]!.replace(/\/p2p\/.*/, '')]
    const failed: unknown = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen }).catch(
      (error: unknown) => error
    )
    expect(failed).toBeInstanceOf(ListenError)
    expect((failed as Error).message).toMatch(/^cannot listen on \S+: listen EADDRINUSE[^\n]*$/)
  })
})

describe('the gate', () => {
  it('remembers a bounded number of refusals', () => {
    const { logger, warnings } = recorder()
    let nowMs = 0
    const gate = createGate(
      () => 'no',
      logger,
      () => (nowMs += 2000)
    )
    for (let round = 0; round < 2; round++) gate.check('first', 'inbound')
    expect(warnings).toHaveLength(1)
    for (let index = 0; index < 1024; index++) gate.check(`peer ${index}`, 'inbound')
    gate.check('first', 'inbound')
    expect(warnings).toHaveLength(1026)
  })

  it('logs 32 refusals a minute, under however many keys they come, and then how many there were', () => {
    const { logger, warnings } = recorder()
    let nowMs = 0
    const gate = createGate(
      () => 'no',
      logger,
      () => nowMs
    )
    for (let index = 0; index < 3000; index++) gate.check(`peer ${index}`, 'inbound')
    expect(warnings).toHaveLength(32)
    nowMs = 60_000
    gate.check('peer 2999', 'inbound')
    expect(warnings.slice(32)).toMatchObject([{ refusals: 2968 }, { peer: 'peer 2999' }])
  })

  it('refuses when the check itself fails', () => {
    const gate = createGate(() => {
      throw new Error('broken')
    })
    expect(gate.check('peer', 'inbound')).toBe('the check failed: broken')
  })
})
