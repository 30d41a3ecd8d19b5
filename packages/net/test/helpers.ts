import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { FrameStream } from '@quire/protocol'
import type { Logger } from 'pino'
import { afterEach } from 'vitest'
import { createLibp2pNetwork, generatePrivateKey, type Libp2pNetwork, type Libp2pNetworkInit } from '../src/index.js'

export const ECHO = '/test/echo/1'
export const COUNT = '/test/count/1'
export const MAX_FRAME_BYTES = 1 << 20
export const LOOPBACK = '/ip4/127.0.0.1/tcp/0'
/** The options of a dial that opens a stream of the echo. */
export const echoOptions = { protocol: ECHO, maxFrameBytes: MAX_FRAME_BYTES }

// Loads libp2p before the time limit of the first test starts. A busy machine takes seconds for it.
await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [] }).then((node) => node.close())

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

export function cleanup(run: () => unknown): void {
  cleanups.push(run)
}

/** Starts a node on loopback that the test closes at its end. */
export async function createNode(init: Partial<Libp2pNetworkInit> = {}): Promise<Libp2pNetwork> {
  const node = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [LOOPBACK], ...init })
  cleanup(() => node.close())
  return node
}

/** Starts a node that echoes frames. */
export async function createEcho(init: Partial<Libp2pNetworkInit> = {}): Promise<Libp2pNetwork> {
  const node = await createNode(init)
  node.handle(ECHO, MAX_FRAME_BYTES, (stream) => {
    stream.onFrame = (bytes) => stream.send(frame(bytes))
  })
  return node
}

export function dialEcho(from: Libp2pNetwork, to: Libp2pNetwork, signal?: AbortSignal): Promise<FrameStream> {
  return from.dial(to.peerId, to.multiaddrs, { ...echoOptions, signal })
}

/** A frame on the wire: its length, then `bytes`. */
export function frame(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(4 + bytes.length)
  new DataView(result.buffer).setUint32(0, bytes.length, true)
  result.set(bytes, 4)
  return result
}

/** Bytes that differ between frames of different seeds. */
export function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + seed * 7) & 0xff)
}

export interface Collected {
  readonly frames: Uint8Array[]
  /** Resolves once this many frames have arrived. */
  count(frames: number): Promise<void>
  /** Resolves when the stream has closed, with its reason. */
  readonly closed: Promise<Error | undefined>
  /** The number of calls of onClose. */
  closes: number
}

/** Sets the handlers of a stream and collects their arguments. */
export function collect(stream: FrameStream): Collected {
  const waiters = new Set<() => void>()
  let resolveClosed: (reason: Error | undefined) => void
  const collected: Collected = {
    frames: [],
    closes: 0,
    closed: new Promise((resolve) => (resolveClosed = resolve)),
    count: (frames) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (collected.frames.length >= frames) resolve()
        }
        waiters.add(check)
        check()
      })
  }
  stream.onFrame = (bytes) => {
    collected.frames.push(bytes)
    for (const check of waiters) check()
  }
  stream.onClose = (reason) => {
    collected.closes++
    resolveClosed(reason)
  }
  return collected
}

const packageRoot = fileURLToPath(new URL('..', import.meta.url))

/** Starts a program of test/children, which uses the built package. */
export function startChild(name: string, args: readonly string[] = []): ChildProcess {
  const child = spawn(process.execPath, [`test/children/${name}.mjs`, ...args], {
    cwd: packageRoot,
    stdio: ['ignore', 'pipe', 'inherit']
  })
  cleanup(() => {
    if (child.exitCode === null) child.kill('SIGKILL')
  })
  return child
}

/** Starts an echo in a separate process. */
export async function startEchoProcess(): Promise<{ child: ChildProcess; peerId: string; address: string }> {
  const child = startChild('echo')
  const [address] = (await once(createInterface(child.stdout!), 'line')) as [string]
  return { child, address, peerId: address.slice(address.lastIndexOf('/') + 1) }
}

/** Runs a program of test/children and waits for its end. */
export async function runChild(
  name: string,
  args: readonly string[] = []
): Promise<{ output: string; code: number | null }> {
  const child = startChild(name, args)
  let output = ''
  child.stdout!.on('data', (bytes: Buffer) => (output += bytes.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { output: output.trim(), code }
}

/** Returns a port that accepts connections and never sends anything. */
export async function startSilence(): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => sockets.add(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A logger that keeps the fields of its warnings. */
export function recorder(): { logger: Logger; warnings: Record<string, unknown>[] } {
  const warnings: Record<string, unknown>[] = []
  const logger = { warn: (fields: Record<string, unknown>) => warnings.push(fields), error: () => {} }
  return { logger: logger as unknown as Logger, warnings }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
