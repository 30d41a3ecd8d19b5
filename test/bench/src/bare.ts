/**
 * The rival: what libp2p itself takes to carry a request of 32 bytes and an answer of a page, over one long-lived stream with Noise and
 * Yamux, and nothing of Quire around it.
 */
// Brings what libp2p needs on Node 20.
import { generatePrivateKey } from '@quire/net'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import type { Libp2p, Stream } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const PROTOCOL = '/quire-bench/bare/1'
const REQUEST_BYTES = 32
const ANSWER_BYTES = 4096

export interface Bare {
  roundTrip(): Promise<void>
  close(): Promise<void>
}

async function createNode(listen: string[]): Promise<Libp2p> {
  return createLibp2p({
    privateKey: await generatePrivateKey(),
    addresses: { listen },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    connectionMonitor: { enabled: false }
  })
}

/** Answers requests until the process ends. Resolves with its address. */
export async function serveBare(): Promise<string> {
  const node = await createNode(['/ip4/127.0.0.1/tcp/0'])
  const answer = new Uint8Array(ANSWER_BYTES).fill(7)
  await node.handle(PROTOCOL, (stream) => {
    onBytes(stream, REQUEST_BYTES, () => stream.send(answer))
  })
  return node.getMultiaddrs()[0]!.toString()
}

export async function connectBare(address: string): Promise<Bare> {
  const node = await createNode([])
  const stream = await node.dialProtocol(multiaddr(address), PROTOCOL)
  const request = new Uint8Array(REQUEST_BYTES).fill(3)
  let arrived = () => {}
  onBytes(stream, ANSWER_BYTES, () => arrived())
  return {
    roundTrip: () =>
      new Promise((resolve) => {
        arrived = resolve
        stream.send(request)
      }),
    close: async () => {
      await stream.close()
      await node.stop()
    }
  }
}

/** Calls `whole` for every `length` bytes that have come. */
function onBytes(stream: Stream, length: number, whole: () => void): void {
  let received = 0
  stream.addEventListener('message', ({ data }) => {
    received += data.byteLength
    while (received >= length) {
      received -= length
      whole()
    }
  })
}
