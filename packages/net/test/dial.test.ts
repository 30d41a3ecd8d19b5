import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { NotAuthorizedError } from '@quire/protocol'
import { describe, expect, it, vi } from 'vitest'
import { DialError, generatePrivateKey, peerIdFromKey } from '../src/index.js'
import { startDelayProxy } from '../../../test/support/delay-proxy.js'
import {
  cleanup,
  collect,
  createEcho,
  createNode,
  dialEcho,
  echoOptions,
  sleep,
  startEchoProcess,
  startSilence
} from './helpers.js'

describe('a dial', () => {
  it('a dial uses one connection for concurrent and later dials, from either side', async () => {
    const [server, client] = await Promise.all([createEcho(), createEcho()])
    const streams = await Promise.all(Array.from({ length: 24 }, () => dialEcho(client, server)))
    streams.push(await client.dial(server.peerId, [], echoOptions))
    streams.push(await server.dial(client.peerId, [], echoOptions))
    for (const stream of streams) collect(stream)
    expect([client.connections, server.connections]).toEqual([1, 1])
  })

  it('a dial is refused if the gate does not allow the peer', async () => {
    const server = await createEcho()
    const client = await createNode({ allow: (_, direction) => direction === 'inbound' || 'unknown' })
    await expect(dialEcho(client, server)).rejects.toEqual(new NotAuthorizedError(server.peerId, 'unknown'))
  })

  it('a dial fails if no address or another peer answers, or if the remote does not handle the protocol', async () => {
    const [server, client, stranger] = await Promise.all([createEcho(), createNode(), generatePrivateKey()])
    const address = server.multiaddrs[0]!.replace(/\/p2p\/.*/, '')
    await expect(client.dial(peerIdFromKey(stranger), [address], echoOptions)).rejects.toMatchObject({
      name: 'DialError',
      reason: `another peer is there: ${server.peerId}`
    })
    await expect(client.dial(server.peerId, ['/ip4/127.0.0.1/tcp/1'], echoOptions)).rejects.toBeInstanceOf(DialError)
    await expect(client.dial(server.peerId, [], echoOptions)).rejects.toThrow('no address is known')
    await expect(client.dial(server.peerId, [address], { protocol: '/test/none/1', maxFrameBytes: 1 })).rejects.toThrow(
      'does not accept this protocol'
    )
    // A dead address beside a good one does no harm.
    collect(await client.dial(server.peerId, ['/ip4/127.0.0.1/tcp/1', address], echoOptions))
  })

  it('a dial ends at once when its signal aborts, while other dials to the same peer continue', async () => {
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

  it('a dial has a time limit for each step and none for the whole', async () => {
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

  it('a dial needs a fraction of a step although earlier addresses are silent, and reports the one that answers', async () => {
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

  it('a dial closes its sockets to the addresses that lost the race', async () => {
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

  it('a dial skips addresses that cannot be dialed, and fails if there is no other', async () => {
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

  it('a dial ends when its network closes, and tries no further address', async () => {
    const client = await createNode({ listen: [] })
    const stranger = peerIdFromKey(await generatePrivateKey())
    const silent = await Promise.all([startSilence(), startSilence()])
    const addresses = silent.map((port) => `/ip4/127.0.0.1/tcp/${port}`)
    const dialing = client.dial(stranger, addresses, { ...echoOptions, stepMs: 600_000 })
    const failed = expect(dialing).rejects.toThrow('the network')
    await client.close()
    await failed
  })

  it('a dial continues with the next address when one exceeds the time of a step', async () => {
    const [server, silent] = await Promise.all([createEcho(), startSilence()])
    const client = await createNode({ listen: [] })
    const addresses = [`/ip4/127.0.0.1/tcp/${silent}`, ...server.multiaddrs]
    collect(await client.dial(server.peerId, addresses, { ...echoOptions, stepMs: 1000 }))
  })
})
