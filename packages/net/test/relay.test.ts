/** Relays on loopback: docs/ARCHITECTURE.md, "Relays". */
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import type { Connection, Libp2p, Stream, Upgrader } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import type { FrameStream } from '@quire/protocol'
import { createLibp2p } from 'libp2p'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { generatePrivateKey, peerIdFromKey, type Libp2pNetwork } from '../src/index.js'
import { MAX_RELAYED_OF_A_CLIENT, PEER_WINDOW_BYTES } from '../src/portable/relay/relay-limits.js'
import { HOP_PROTOCOL, STATUS, STOP_PROTOCOL, hopMessage, stopMessage } from '../src/portable/relay/relay-messages.js'
import { relayStream } from '../src/portable/relay/relay-stream.js'
import { RelayedSocket } from '../src/portable/relay/relayed-socket.js'
import { COUNT, ECHO, LOOPBACK, MAX_FRAME_BYTES, cleanup, collect, createNode, echoOptions, frame } from './helpers.js'

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 10 })
const soon = (): AbortSignal => AbortSignal.timeout(20_000)

/** What the members know: each other, and the clients that may connect. */
let members: Set<string>
let clients: Set<string>
/** The PeerIds of the remotes whose streams the leader has accepted. */
let accepted: string[]

beforeEach(() => {
  members = new Set()
  clients = new Set()
  accepted = []
})

/** Starts a member that echoes frames. Relayed connections may carry ECHO, but not COUNT. */
async function createMember(allows = (peerId: string) => clients.has(peerId)): Promise<Libp2pNetwork> {
  const privateKey = await generatePrivateKey()
  members.add(peerIdFromKey(privateKey))
  const node = await createNode({
    privateKey,
    allow: (peerId) => members.has(peerId) || allows(peerId) || 'unknown',
    relay: { isMember: (peerId) => members.has(peerId), protocols: [ECHO] }
  })
  for (const protocol of [ECHO, COUNT]) {
    node.handle(protocol, MAX_FRAME_BYTES, (stream) => {
      accepted.push(stream.remote)
      stream.onFrame = (bytes) => stream.send(frame(bytes))
    })
  }
  return node
}

/** Two members with a connection between them. */
async function createPair(
  allows?: (peerId: string) => boolean
): Promise<[relay: Libp2pNetwork, leader: Libp2pNetwork]> {
  const relay = await createMember()
  const leader = await createMember(allows)
  await relay.dial(leader.peerId, leader.multiaddrs, { ...echoOptions, protocol: COUNT })
  await until(() => expect(accepted).toEqual([relay.peerId]))
  accepted = []
  return [relay, leader]
}

async function createClient(): Promise<Libp2pNetwork> {
  const client = await createNode({ listen: [] })
  clients.add(client.peerId)
  return client
}

function dialThrough(
  client: Libp2pNetwork,
  relay: Libp2pNetwork,
  remote: Libp2pNetwork,
  protocol = ECHO
): Promise<FrameStream> {
  const place = { peerId: relay.peerId, addresses: relay.multiaddrs }
  return client.dial(remote.peerId, [], { ...echoOptions, protocol, relay: place })
}

async function echoOn(stream: FrameStream, bytes: Uint8Array): Promise<void> {
  const collected = collect(stream)
  stream.send(frame(bytes))
  await collected.count(1)
  expect(Buffer.compare(collected.frames[0]!, bytes)).toBe(0)
}

type Raw = Libp2p<{ upgrader: Upgrader }>

/** A node of libp2p's own, which can break every rule. */
async function createRaw(init: { readonly listen?: string[]; readonly circuit?: boolean } = {}): Promise<Raw> {
  const privateKey = await generatePrivateKey()
  // The library's transport asks for a service that only its search for relays would use.
  const circuit: ReturnType<typeof circuitRelayTransport> = (components) => {
    const transport = circuitRelayTransport()(components)
    return new Proxy(transport, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target)
        if (Array.isArray(value) && value.includes('@libp2p/identify')) return []
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      }
    })
  }
  const node = await createLibp2p<{ upgrader: Upgrader }>({
    privateKey,
    addresses: { listen: init.listen ?? [] },
    transports: init.circuit === true ? [tcp(), circuit] : [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    connectionMonitor: { enabled: false },
    services: { upgrader: ({ upgrader }) => upgrader }
  })
  cleanup(() => node.stop())
  return node
}

function rawDial(from: Libp2p, to: Libp2pNetwork): Promise<Connection> {
  return from.dial(multiaddr(to.multiaddrs[0]))
}

/** Resolves with the status that the relay answers, or with the error of a stream that it cuts. */
async function hop(connection: Connection, request: Parameters<typeof hopMessage.encode>[0]): Promise<unknown> {
  try {
    const messages = relayStream(await connection.newStream(HOP_PROTOCOL, { signal: soon() }), hopMessage)
    await messages.write(request, soon())
    const answer = await messages.read(soon())
    return answer.type === 'status' ? answer.status : answer
  } catch (error) {
    return error
  }
}

describe('a client that a member relays', () => {
  it('a relayed stream carries frames both ways, and both ends know each other, not the relay, as the remote', async () => {
    const [relay, leader] = await createPair()
    const client = await createClient()
    const stream = await dialThrough(client, relay, leader)
    await echoOn(stream, crypto.getRandomValues(new Uint8Array(60_000)))
    expect(stream.remote).toBe(leader.peerId)
    expect(accepted).toEqual([client.peerId])
  })

  it('a second stream through the same relay shares the connection, and the connection ends with the last of them', async () => {
    const [relay, leader] = await createPair()
    const client = await createClient()
    const streams = [await dialThrough(client, relay, leader), await dialThrough(client, relay, leader)]
    // The relay has a connection to each of the two, the others have one to the relay and the relayed one.
    expect([client, relay, leader].map(({ connections }) => connections)).toEqual([2, 2, 2])
    streams[0]!.close()
    await collect(streams[0]!).closed
    await echoOn(streams[1]!, Uint8Array.of(1))
    streams[1]!.close()
    await until(() => expect([client, relay, leader].map(({ connections }) => connections)).toEqual([1, 2, 1]))
  })

  it('a dial without a relay does not use a relayed connection', async () => {
    const [relay, leader] = await createPair()
    const client = await createClient()
    await echoOn(await dialThrough(client, relay, leader), Uint8Array.of(1))
    await expect(client.dial(leader.peerId, [], echoOptions)).rejects.toThrow('no address is known')
    const direct = await client.dial(leader.peerId, leader.multiaddrs, echoOptions)
    await echoOn(direct, Uint8Array.of(2))
    await until(() => expect(leader.connections).toBe(3))
  })

  it('a relayed stream breaks when its relay ends', async () => {
    const [relay, leader] = await createPair()
    const client = await createClient()
    const stream = await dialThrough(client, relay, leader)
    const { closed } = collect(stream)
    await relay.close()
    expect(await closed).toBeInstanceOf(Error)
    await until(() => expect([client.connections, leader.connections]).toEqual([0, 0]))
  })

  it('a relay without a connection to the member says so, and makes none', async () => {
    const relay = await createMember()
    const leader = await createMember()
    const client = await createClient()
    await expect(dialThrough(client, relay, leader)).rejects.toThrow(/relay ….* it has no connection to the peer/)
    expect(leader.connections).toBe(0)
  })

  it("the relay protocol is libp2p's circuit relay v2: a node with the library's own transport comes through", async () => {
    const [relay, leader] = await createPair()
    const node = await createRaw({ circuit: true })
    clients.add(node.peerId.toString())
    const connection = await node.dial(multiaddr(`${relay.multiaddrs[0]}/p2p-circuit/p2p/${leader.peerId}`))
    const stream = await connection.newStream(ECHO, { signal: soon() })
    const answer = new Promise<Uint8Array>((resolve) =>
      stream.addEventListener('message', ({ data }) => resolve(data.subarray()))
    )
    stream.send(frame(Uint8Array.of(7)))
    expect([...(await answer)]).toEqual([1, 0, 0, 0, 7])
    expect(accepted).toEqual([node.peerId.toString()])
  })
})

describe('who may use a relay', () => {
  it('a stranger gets nothing relayed and no reason, even to a member that would let it in', async () => {
    const [relay, leader] = await createPair(() => true)
    // Strangers may live for a moment, to be told why.
    relay.handle(
      '/test/other/1',
      MAX_FRAME_BYTES,
      () => {},
      () => {}
    )
    const stranger = await createRaw()
    const outcome = await hop(await rawDial(stranger, relay), { type: 'connect', peer: leader.peerId })
    expect(outcome).toBeInstanceOf(Error)
    expect(accepted).toEqual([])
  })

  it('a member that does not allow the client refuses it, whatever the relay says', async () => {
    const [relay, leader] = await createPair(() => false)
    const client = await createClient()
    await expect(dialThrough(client, relay, leader)).rejects.toThrow('the peer has not accepted the connection')
    expect(leader.connections).toBe(1)
  })

  it('a relay that names another client than the one that connects gains it nothing', async () => {
    const [, leader] = await createPair()
    const listed = await createClient()
    // A member that lies: it relays for a stranger under the name of a listed client.
    const liar = await createRaw()
    members.add(liar.peerId.toString())
    const stop = await (await rawDial(liar, leader)).newStream(STOP_PROTOCOL, { signal: soon() })
    const messages = relayStream(stop, stopMessage)
    await messages.write({ type: 'connect', peer: listed.peerId }, soon())
    expect(await messages.read(soon())).toEqual({ type: 'status', status: STATUS.OK })
    const socket = new RelayedSocket(messages.unwrap(), multiaddr(leader.multiaddrs[0]))
    // The liar's side of Noise is done with its last message. The leader then finds another identity in it.
    const secured = await liar.services.upgrader.upgradeOutbound(socket, { signal: soon() })
    await until(() => expect(secured.status).not.toBe('open'))
    expect(accepted).toEqual([])
    expect(leader.connections).toBe(2)
  })

  it('a client is relayed to members only', async () => {
    const [relay] = await createPair()
    const client = await createRaw()
    const other = await createClient()
    clients.add(client.peerId.toString())
    const connection = await rawDial(client, relay)
    expect(await hop(connection, { type: 'connect', peer: other.peerId })).toBe(STATUS.PERMISSION_DENIED)
  })

  it('members do not use relays among themselves', async () => {
    const [relay, leader] = await createPair()
    const member = await createMember()
    await expect(dialThrough(member, relay, leader)).rejects.toThrow('it may not relay this connection')
  })

  it('a member accepts relayed connections only from members', async () => {
    const [, leader] = await createPair()
    const node = await createRaw()
    const client = await createClient()
    clients.add(node.peerId.toString())
    const stop = await (await rawDial(node, leader)).newStream(STOP_PROTOCOL, { signal: soon() })
    const messages = relayStream(stop, stopMessage)
    await messages.write({ type: 'connect', peer: client.peerId }, soon()).catch(() => {})
    await expect(messages.read(soon())).rejects.toThrow()
  })

  it('a member accepts no relayed connection of another member', async () => {
    const [relay, leader] = await createPair()
    const liar = await createRaw()
    members.add(liar.peerId.toString())
    const stop = await (await rawDial(liar, leader)).newStream(STOP_PROTOCOL, { signal: soon() })
    const messages = relayStream(stop, stopMessage)
    await messages.write({ type: 'connect', peer: relay.peerId }, soon())
    expect(await messages.read(soon())).toEqual({ type: 'status', status: STATUS.PERMISSION_DENIED })
  })

  it('a relay takes no reservations', async () => {
    const [relay] = await createPair()
    const node = await createRaw()
    clients.add(node.peerId.toString())
    expect(await hop(await rawDial(node, relay), { type: 'reserve' })).toBe(STATUS.RESERVATION_REFUSED)
  })

  it('a protocol that is not for relayed connections is refused there, such as that of Raft', async () => {
    const [relay, leader] = await createPair()
    const client = await createClient()
    const stream = await dialThrough(client, relay, leader, COUNT).catch((error: unknown) => error)
    // The remote cuts the stream after both sides have agreed on the protocol.
    if (!(stream instanceof Error)) expect(await collect(stream as FrameStream).closed).toBeInstanceOf(Error)
    expect(accepted).toEqual([])
  })

  it('a client that is no longer allowed loses its relayed connection', async () => {
    const [relay, leader] = await createPair()
    const client = await createClient()
    const { closed } = collect(await dialThrough(client, relay, leader))
    clients.delete(client.peerId)
    leader.setAllow((peerId) => members.has(peerId) || 'removed')
    await closed
    await until(() => expect(leader.connections).toBe(1))
  })
})

describe('the limits of a relay', () => {
  it(`a client has ${MAX_RELAYED_OF_A_CLIENT} relayed connections at a relay at most, and another one once one ends`, async () => {
    const [relay, leader] = await createPair()
    const node = await createRaw()
    clients.add(node.peerId.toString())
    const connections = [await rawDial(node, relay), await rawDial(node, relay)]
    const request = { type: 'connect', peer: leader.peerId } as const
    const ask = (i: number): Promise<unknown> => hop(connections[i % 2]!, request)
    for (let i = 0; i < MAX_RELAYED_OF_A_CLIENT; i++) expect(await ask(i)).toBe(STATUS.OK)
    expect(await ask(0)).toBe(STATUS.RESOURCE_LIMIT_EXCEEDED)
    connections[0]!.streams.find(({ protocol }) => protocol === HOP_PROTOCOL)!.abort(new Error('enough'))
    await until(async () => expect(await ask(1)).toBe(STATUS.OK))
  })

  it('a destination that does not read stops the source after some windows, and then gets every byte in order', async () => {
    const relay = await createMember()
    const destination = await createRaw({ listen: [LOOPBACK] })
    members.add(destination.peerId.toString())
    let arrive: (stream: Stream) => void
    const arrived = new Promise<Stream>((resolve) => (arrive = resolve))
    await destination.handle(STOP_PROTOCOL, async (stream) => {
      const messages = relayStream(stream, stopMessage)
      await messages.read(soon())
      await messages.write({ type: 'status', status: STATUS.OK }, soon())
      const raw = messages.unwrap()
      raw.pause()
      arrive(raw)
    })
    await rawDial(destination, relay)
    const source = await createRaw()
    clients.add(source.peerId.toString())
    const stream = await (await rawDial(source, relay)).newStream(HOP_PROTOCOL, { signal: soon() })
    const messages = relayStream(stream, hopMessage)
    await messages.write({ type: 'connect', peer: destination.peerId.toString() }, soon())
    expect(await messages.read(soon())).toEqual({ type: 'status', status: STATUS.OK })
    messages.unwrap()

    const total = 24 << 20
    const bytes = crypto.getRandomValues(new Uint8Array(65_536))
    let sent = 0
    const send = (): void => {
      while (sent < total && !stream.writableNeedsDrain) {
        stream.send(bytes)
        sent += bytes.length
      }
    }
    stream.addEventListener('drain', () => queueMicrotask(() => queueMicrotask(send)))
    send()
    let before = -1
    await vi.waitFor(
      () => {
        const grows = sent > before
        before = sent
        if (grows) throw new Error(`${sent} bytes have left`)
      },
      { timeout: 20_000, interval: 500 }
    )
    // A window at the destination, a window of unsent and a window of unread bytes at the relay.
    expect(sent).toBeLessThan(2.5 * PEER_WINDOW_BYTES)

    const sink = await arrived
    let received = 0
    sink.addEventListener('message', ({ data }) => {
      const chunk = data.subarray()
      // Compares the ends of the chunk, because a difference in order shifts them all.
      for (const at of [0, chunk.length - 1]) expect(chunk[at]).toBe(bytes[(received + at) % bytes.length])
      received += chunk.length
    })
    sink.resume()
    await until(() => expect(received).toBe(total))
  })
})
