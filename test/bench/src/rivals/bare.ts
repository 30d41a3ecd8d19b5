/**
 * The rival: the time that libp2p itself takes to carry a request of 32 bytes and an answer of a page over one
 * long-lived stream with Noise and Yamux, without anything of Quire.
 */
// Adds what libp2p needs on Node 20.
import { generatePrivateKey } from '@quire/net'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import type { Libp2p, Stream } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const PROTOCOL = '/quire-bench/bare/1'
/**
 * A request names a number of bytes and a direction. The answer has as many bytes, or one byte when they have arrived.
 */
const BULK_PROTOCOL = '/quire-bench/bulk/1'
const BULK_REQUEST_BYTES = 8
const BULK_CHUNK_BYTES = 65_536
const REQUEST_BYTES = 32
const ANSWER_BYTES = 4096

export interface Bare {
  roundTrip(): Promise<void>
  /** Carries so many bytes in one direction. */
  receive(bytes: number): Promise<void>
  send(bytes: number): Promise<void>
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
  await node.handle(BULK_PROTOCOL, (stream) => serveBulk(stream))
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
    receive: (bytes) => transfer(node, address, bytes, false),
    send: (bytes) => transfer(node, address, bytes, true),
    close: async () => {
      await stream.close()
      await node.stop()
    }
  }
}

function serveBulk(stream: Stream): void {
  let request: Uint8Array | undefined
  let missing = 0
  stream.addEventListener('message', ({ data }) => {
    let bytes = data.subarray()
    if (request === undefined) {
      request = Uint8Array.from(bytes.subarray(0, BULK_REQUEST_BYTES))
      bytes = bytes.subarray(BULK_REQUEST_BYTES)
      const view = new DataView(request.buffer)
      missing = view.getUint32(4)
      if (view.getUint32(0) === 0) return end(push(stream, missing))
    }
    missing -= bytes.length
    if (missing > 0) return
    stream.send(new Uint8Array(1))
    end()
  })
  // A stream that only the other side has closed counts against the limit of a protocol's streams.
  function end(sent = Promise.resolve()): void {
    sent.then(() => stream.close()).catch((error: Error) => stream.abort(error))
  }
}

async function transfer(node: Libp2p, address: string, bytes: number, isSent: boolean): Promise<void> {
  const stream = await node.dialProtocol(multiaddr(address), BULK_PROTOCOL)
  const done = new Promise<void>((resolve) => onBytes(stream, isSent ? 1 : bytes, resolve))
  const request = new Uint8Array(BULK_REQUEST_BYTES)
  const view = new DataView(request.buffer)
  view.setUint32(0, isSent ? 1 : 0)
  view.setUint32(4, bytes)
  stream.send(request)
  if (isSent) await push(stream, bytes)
  await done
  await stream.close()
}

async function push(stream: Stream, bytes: number): Promise<void> {
  const chunk = new Uint8Array(BULK_CHUNK_BYTES).fill(7)
  for (let left = bytes; left > 0; left -= chunk.length) {
    if (stream.send(chunk.subarray(0, left))) continue
    await new Promise((resolve) => stream.addEventListener('drain', resolve, { once: true }))
  }
}

/** Calls `whole` for every `length` bytes that have arrived. */
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
