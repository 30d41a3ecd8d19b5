/**
 * Clients behind a line that carries less during a lease than they ask for. Everything is slow, and no session is lost.
 */
import { createDsmClientOn, type DsmClient, type DsmClientInit } from '@quire/dsm-client'
import { createClock, createLibp2pNetwork, createRandom, generatePrivateKey } from '@quire/net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from './support/cluster.js'
import { ThinLine } from './support/thin-line.js'

const PAGE = 4096
/** Overhead on the line around the pages: frames, encryption, acknowledgments, the handshake. */
const OVERHEAD = 1.15

interface ThinClient extends AsyncDisposable {
  readonly client: DsmClient
  /** Records the loss of the session, and all its states except active. */
  readonly troubles: string[]
}

/** The client dials every peer through the line, whatever addresses it has learned. */
async function thinClient(line: ThinLine, init: Partial<DsmClientInit> = {}): Promise<ThinClient> {
  const ports = new Map<string, number>()
  for (const { peerId, multiaddr } of cluster.peers) {
    ports.set(peerId, await line.to(Number(/\/tcp\/(\d+)/.exec(multiaddr)![1])))
  }
  const network = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [] })
  const through: typeof network.dial = (remote, _addresses, options) =>
    network.dial(remote, [`/ip4/127.0.0.1/tcp/${ports.get(remote)}/p2p/${remote}`], options)
  const components = {
    network: { id: network.id, dial: through, handle: () => {} },
    clock: createClock(),
    random: createRandom()
  }
  const client = await createDsmClientOn(components, { peers: cluster.addresses, ...init })
  const troubles: string[] = []
  client.addEventListener('sessionlost', () => troubles.push('lost'))
  const watching = setInterval(() => {
    if (client.session.state !== 'active') troubles.push(client.session.state)
  }, 50)
  return {
    client,
    troubles,
    [Symbol.asyncDispose]: async () => {
      clearInterval(watching)
      await client.close({ signal: AbortSignal.timeout(5000) }).catch(() => {})
      await network.close()
    }
  }
}

/** Random bytes, written by a client on a fast line. */
async function fill(path: string, bytes: number): Promise<Uint8Array> {
  const content = new Uint8Array(bytes)
  for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(content.subarray(at, Math.min(bytes, at + 65_536)))
  const client = await cluster.client()
  const file = await client.open(path, { create: true, size: bytes })
  await file.write(0, content)
  await file.sync()
  await client.close()
  return content
}

let cluster: TestCluster

beforeAll(async () => {
  cluster = await startCluster()
})

afterAll(() => cluster?.[Symbol.asyncDispose]())

// Each client has a line of its own, and mostly waits for it. All at once take as long as the slowest.
describe.concurrent.each([
  ['1 Mbit/s', 125_000, 2 << 20],
  ['256 kbit/s', 32_000, 384 << 10],
  ['40 kbit/s', 5_000, 64 << 10]
])('a client on a line of %s with 128 KiB of buffers', (rate, bytesPerSecond, bytes) => {
  const init = { bytesPerSecond, bufferBytes: 128 << 10 }

  it('a client reads more in one call than its line carries during a lease: slowly, each page once, and never suspect', async () => {
    const path = `/read at ${rate}`
    const content = await fill(path, bytes)
    await using line = new ThinLine(init)
    await using thin = await thinClient(line)
    const file = await thin.client.open(path)
    const read = await file.read(0, bytes)
    expect(Buffer.compare(read, content)).toBe(0)
    expect(thin.troubles).toEqual([])
    expect(line.downBytes).toBeLessThan(bytes * OVERHEAD)
  })

  it('a client writes and flushes more in one call than its line carries during a lease, and loses no byte', async () => {
    await using line = new ThinLine(init)
    await using thin = await thinClient(line)
    const path = `/written at ${rate}`
    const content = new Uint8Array(bytes).map((_, at) => (at / PAGE) * 31 + at)
    const file = await thin.client.open(path, { create: true, size: bytes })
    const mapping = await file.mmap()
    await mapping.write(0, content)
    await mapping.msync()
    expect(thin.troubles).toEqual([])
    const other = await cluster.client()
    const copy = await (await other.open(path)).read(0, bytes)
    expect(Buffer.compare(copy, content)).toBe(0)
  })
})

it.concurrent('three clients share a line of 256 kbit/s, the last connects while the others read, and no session becomes suspect', async () => {
  const bytes = 192 << 10
  const path = '/shared'
  const content = await fill(path, bytes)
  await using line = new ThinLine({ bytesPerSecond: 32_000, bufferBytes: 128 << 10 })
  const readAll = async ({ client }: ThinClient): Promise<void> => {
    const file = await client.open(path)
    expect(Buffer.compare(await file.read(0, bytes), content)).toBe(0)
  }
  await using first = await thinClient(line)
  const reading = [readAll(first)]
  await using second = await thinClient(line)
  reading.push(readAll(second))
  await using third = await thinClient(line)
  reading.push(readAll(third))
  await Promise.all(reading)
  expect([first, second, third].flatMap(({ troubles }) => troubles)).toEqual([])
})
