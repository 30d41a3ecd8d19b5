/** A cluster of real processes on loopback, as `quire dev` makes it. Its peers can be killed and started again. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDsmClient, type DsmClient, type DsmClientInit } from '@quire/dsm-client'
import { isAlive, quire, startQuire, type Running, type RunOptions } from '../../../packages/cli/test/support/quire.js'

export interface PeerProcess {
  readonly peerId: string
  readonly multiaddr: string
  readonly dataDir: string
  readonly key: string
  pid: number
}

export interface TestCluster extends AsyncDisposable {
  readonly peers: readonly PeerProcess[]
  readonly addresses: string[]
  /** More options of `quire peer` for the peers that are started again. */
  peerOptions: readonly string[]
  client(init?: Partial<DsmClientInit>): Promise<DsmClient>
  /** Kills these peers at once with SIGKILL. Resolves when they are gone. */
  kill(...peers: PeerProcess[]): Promise<void>
  /** Stops these peers with SIGTERM, as an operator does. Resolves when they are gone. */
  stop(...peers: PeerProcess[]): Promise<void>
  /** Starts killed peers on their data directories and at their old addresses. Resolves when they listen. */
  restart(...peers: PeerProcess[]): Promise<void>
  /** Like `restart`, at another address. Resolves with the output of the process. */
  restartAt(peer: PeerProcess, listen: string): Promise<Running>
  /** Returns the peer that the others believe leads. Waits until there is one. */
  leader(): Promise<PeerProcess>
}

const WAIT_MS = 30_000

export async function startCluster(options: readonly string[] = [], run: RunOptions = {}): Promise<TestCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'quire-e2e-'))
  const dev = startQuire(['dev', '--json', '--data-dir', folder, ...options], run)
  const cluster = new Cluster(folder, dev)
  try {
    await until(() => dev.stdout.includes('"ready":true') || dev.child.exitCode !== null, 'the cluster to start')
    if (dev.child.exitCode !== null) throw new Error(`quire dev ended: ${dev.stderr}`)
    cluster.read()
    return cluster
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

class Cluster implements TestCluster {
  peers: PeerProcess[] = []
  peerOptions: readonly string[] = []
  private readonly clients: DsmClient[] = []
  private readonly restarted = new Map<PeerProcess, Running>()

  constructor(
    private readonly folder: string,
    private readonly dev: Running
  ) {}

  get addresses(): string[] {
    return this.peers.map((peer) => peer.multiaddr)
  }

  read(): void {
    const lines = this.dev.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as PeerProcess)
    this.peers = lines.filter((line) => line.peerId !== undefined)
  }

  async client(init: Partial<DsmClientInit> = {}): Promise<DsmClient> {
    const client = await createDsmClient({ peers: this.addresses, ...init })
    this.clients.push(client)
    return client
  }

  kill(...peers: PeerProcess[]): Promise<void> {
    return end(peers, 'SIGKILL')
  }

  stop(...peers: PeerProcess[]): Promise<void> {
    return end(peers, 'SIGTERM')
  }

  async restart(...peers: PeerProcess[]): Promise<void> {
    await Promise.all(peers.map((peer) => this.restartAt(peer, peer.multiaddr.replace(/\/p2p\/.*$/, ''))))
  }

  async restartAt(peer: PeerProcess, listen: string): Promise<Running> {
    const args = ['--data-dir', peer.dataDir, '--key', peer.key, '--listen', listen, '--json']
    const running = startQuire(['peer', ...args, ...this.peerOptions])
    this.restarted.set(peer, running)
    peer.pid = running.child.pid!
    await until(() => running.stdout.includes(peer.peerId) || running.child.exitCode !== null, 'a peer to start')
    if (running.child.exitCode !== null) throw new Error(`quire peer ended: ${running.stderr}`)
    return running
  }

  async leader(): Promise<PeerProcess> {
    let leader: PeerProcess | undefined
    await until(async () => {
      const { stdout } = await quire(['status', '--json', '--peers', this.addresses.join(',')])
      const statuses = stdout
        .trim()
        .split('\n')
        .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as { id: string; role: string }]))
      const id = statuses.find((status) => status.role === 'leader')?.id
      leader = this.peers.find((peer) => peer.peerId === id)
      return leader !== undefined
    }, 'a leader')
    return leader!
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.restarted.values()) child.kill('SIGKILL')
    // Ends the peers first: a client that finds no peer to close its session would wait for one.
    const closing = this.clients.map((client) => client.close({ signal: AbortSignal.timeout(2000) }).catch(() => {}))
    await Promise.all(closing)
    if (this.dev.child.exitCode === null && this.dev.child.signalCode === null) {
      this.dev.child.kill('SIGTERM')
      await once(this.dev.child, 'exit')
    }
    await rm(this.folder, { recursive: true, force: true })
  }
}

async function end(peers: readonly PeerProcess[], signal: NodeJS.Signals): Promise<void> {
  for (const peer of peers) process.kill(peer.pid, signal)
  await until(() => peers.every((peer) => !isAlive(peer.pid)), 'peers to be gone')
}

/** Polls until `condition` holds. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  waitMs = WAIT_MS
): Promise<void> {
  const deadline = Date.now() + waitMs
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${waitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
