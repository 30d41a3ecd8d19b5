/** Real peers relay their clients to each other: docs/ARCHITECTURE.md, "Relays". */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLibp2pNetwork, generatePrivateKey, peerIdFromKey, type Libp2pNetwork, type PrivateKey } from '@quire/net'
import {
  MAX_CONTROL_FRAME_BYTES,
  MAX_RAFT_FRAME_BYTES,
  PROTOCOL_CONTROL,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  encodeFrame,
  leaderMessage,
  type LeaderMessage
} from '@quire/protocol'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createPeer, type ClusterConfig, type Peer } from '../src/index.js'

const waitMs = { timeout: 20_000, interval: 20 }
const closing: (() => Promise<unknown>)[] = []
let root: string
let keys: readonly PrivateKey[]
let cluster: ClusterConfig
/** The key of the only client that is listed. */
let listed: PrivateKey

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'quire-relay-'))
  listed = await generatePrivateKey()
  keys = [await generatePrivateKey(), await generatePrivateKey()]
  const voters = []
  for (const key of keys) voters.push({ peerId: peerIdFromKey(key), addresses: [await freeAddress()] })
  cluster = { clusterId: 'blue', voters, admins: [], clients: [peerIdFromKey(listed)] }
})

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
  rmSync(root, { recursive: true, force: true })
})

async function freeAddress(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return `/ip4/127.0.0.1/tcp/${port}`
}

async function start(i: number): Promise<Peer> {
  const privateKey = keys[i]!
  const listen = cluster.voters[i]!.addresses
  const peer = await createPeer({ dataDir: join(root, String(i)), privateKey, listen, cluster })
  closing.push(() => peer.close())
  return peer
}

async function startBoth(): Promise<[Peer, Peer]> {
  const peers: [Peer, Peer] = [await start(0), await start(1)]
  for (const peer of peers) await vi.waitFor(() => expect(peer.status().leader).toBeDefined(), waitMs)
  return peers
}

async function createNode(privateKey: PrivateKey): Promise<Libp2pNetwork> {
  const node = await createLibp2pNetwork({ privateKey, listen: [] })
  closing.push(() => node.close())
  return node
}

/** Asks `peer` for its status, through `relay`. */
async function statusThrough(node: Libp2pNetwork, relay: Peer, peer: Peer): Promise<LeaderMessage> {
  const stream = await node.dial(String(peer.peerId), [], {
    protocol: PROTOCOL_CONTROL,
    maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
    relay: { peerId: String(relay.peerId), addresses: relay.multiaddrs }
  })
  const answer = new Promise<Uint8Array>((resolve) => (stream.onFrame = resolve))
  stream.send(encodeFrame(clientMessage, { type: 'status', version: PROTOCOL_VERSION, seq: 1 }, 0))
  return decodeFrame(leaderMessage, await answer).message
}

it('each peer relays a listed client to the other one, also after that one was restarted', async () => {
  const [one, two] = await startBoth()
  const node = await createNode(listed)
  expect(await statusThrough(node, one, two)).toMatchObject({ type: 'status', id: String(two.peerId) })
  expect(await statusThrough(node, two, one)).toMatchObject({ type: 'status', id: String(one.peerId) })
  await two.close()
  await expect(statusThrough(node, one, two)).rejects.toThrow('it has no connection to the peer')
  const again = await start(1)
  await vi.waitFor(async () => expect(await statusThrough(node, one, again)).toMatchObject({ type: 'status' }), waitMs)
}, 30_000)

it('a peer relays no client that is not listed', async () => {
  const [one, two] = await startBoth()
  const node = await createNode(await generatePrivateKey())
  await expect(statusThrough(node, one, two)).rejects.toMatchObject({ code: 'ERR_DIAL' })
})

it('a peer cuts a Raft stream that comes through a relay, before it reads a frame', async () => {
  const [one, two] = await startBoth()
  const node = await createNode(listed)
  const relay = { peerId: String(one.peerId), addresses: one.multiaddrs }
  const options = { protocol: PROTOCOL_RAFT, maxFrameBytes: MAX_RAFT_FRAME_BYTES, relay }
  const outcome = await node.dial(String(two.peerId), [], options).then(
    (stream) => new Promise<Error | undefined>((resolve) => (stream.onClose = resolve)),
    (error: Error) => error
  )
  expect(outcome).toBeInstanceOf(Error)
})
