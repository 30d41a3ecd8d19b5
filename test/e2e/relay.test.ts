/** A client whose packets to the leader are dropped works through another peer: docs/ARCHITECTURE.md, "Relays". */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { INIT, keygen, quire, startQuire, type Running } from '../../packages/cli/test/support/quire.js'
import { until } from './support/cluster.js'
import { TwoMachines, canSeparate } from './support/namespaces.js'

const CLIENT = fileURLToPath(new URL('children/busy-client.mjs', import.meta.url))
const PATH = '/numbers'
const MAY_LAST_MS = 120_000

interface Report {
  readonly rounds: number
  readonly errors: readonly string[]
  readonly id: string
  readonly state: string
  /** Those after the first one. */
  readonly leaders: readonly string[]
  readonly path: string
  readonly relay?: string
}

/** A peer with an address of its own. */
interface TestPeer {
  readonly id: string
  readonly ip: string
  readonly multiaddr: string
  readonly args: readonly string[]
  running: Running
}

/** A busy client on the other machine. */
class BusyClient {
  private readonly lines: Interface
  private readonly child: ChildProcess
  private errors = ''

  constructor(namespace: string, peers: readonly TestPeer[]) {
    const command = ['netns', 'exec', namespace, process.execPath, CLIENT, PATH, ...peers.map((peer) => peer.multiaddr)]
    this.child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stderr!.on('data', (chunk: Buffer) => (this.errors += String(chunk)))
    this.lines = createInterface({ input: this.child.stdout! })
    undo.push(() => this.end())
  }

  async report(word = 'report'): Promise<Report> {
    this.child.stdin!.write(`${word}\n`)
    const [line] = (await Promise.race([
      once(this.lines, 'line'),
      once(this.child, 'exit').then(() => Promise.reject(new Error(`the client has ended: ${this.errors}`)))
    ])) as [string]
    return JSON.parse(line) as Report
  }

  /** Resolves once `rounds` more rounds are done, with the report after them. */
  async work(rounds = 20): Promise<Report> {
    const { rounds: before } = await this.report()
    return this.until((report) => report.rounds >= before + rounds, `${rounds} rounds`)
  }

  async until(condition: (report: Report) => boolean, what: string): Promise<Report> {
    let report: Report | undefined
    await until(async () => condition((report = await this.report())), what).catch((error: unknown) => {
      throw new Error(`${String(error)}; the client reports ${JSON.stringify(report)}`)
    })
    return report!
  }

  private async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const exit = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exit
  }
}

const undo: (() => unknown)[] = []
let machines: TwoMachines
let peers: TestPeer[]

function start(peer: TestPeer): void {
  peer.running = startQuire(peer.args, { namespace: machines.first })
}

/** Ends the process of the peer; SIGTERM lets it hand leadership over. */
async function stop({ running: { child } }: TestPeer, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

/** The peer that leads. Waits until there is one. */
async function leader(): Promise<TestPeer> {
  const args = ['health', '--json', '--peers', peers.map(({ multiaddr }) => multiaddr).join(',')]
  let id: string | null = null
  await until(async () => {
    const { stdout } = await quire(args, { namespace: machines.first })
    id = (JSON.parse(stdout) as { leader: string | null }).leader
    return id !== null
  }, 'a leader')
  return peers.find((peer) => peer.id === id)!
}

async function startPeers(): Promise<void> {
  machines = new TwoMachines(3)
  undo.push(() => machines[Symbol.dispose]())
  const folder = await mkdtemp(join(tmpdir(), 'quire-relay-'))
  undo.push(() => rm(folder, { recursive: true, force: true }))
  peers = []
  for (const ip of machines.addresses) {
    const key = join(folder, `${ip}.key`)
    const id = await keygen(key)
    const listen = `/ip4/${ip}/tcp/4001`
    const args = ['peer', '--data-dir', join(folder, ip), '--key', key, '--listen', listen]
    const founding = ['--cluster', join(folder, 'cluster.json')]
    peers.push({ id, ip, multiaddr: `${listen}/p2p/${id}`, args: [...args, ...founding], running: undefined! })
  }
  const voters = peers.map(({ multiaddr }) => multiaddr)
  await quire([...INIT, '--out', join(folder, 'cluster.json'), '--clients', 'any', '--voters', ...voters])
  for (const peer of peers) {
    start(peer)
    undo.push(() => stop(peer))
  }
}

describe.skipIf(!canSeparate)(
  'a client whose packets to the leader are dropped (needs root, ip and nft)',
  { timeout: MAY_LAST_MS },
  () => {
    beforeEach(startPeers)

    afterEach(async () => {
      for (const each of undo.splice(0).toReversed()) await each()
    })

    it('a client that never reaches the leader writes, flushes and reads through a relay, and moves to a direct path once there is one', async () => {
      const first = await leader()
      const others = peers.filter((peer) => peer !== first)
      machines.drop(first.ip)
      const client = new BusyClient(machines.second, peers)
      const relayed = await client.work()
      expect(relayed).toMatchObject({ path: 'relayed', state: 'active', errors: [] })
      expect(others.map(({ id }) => id)).toContain(relayed.relay)

      machines.drop()
      const direct = await client.until(({ path }) => path === 'direct', 'a direct path')
      expect(direct.relay).toBeUndefined()
      // The client has not cost the leader its office.
      expect(await client.work()).toMatchObject({ path: 'direct', id: relayed.id, leaders: [], errors: [] })
      expect((await client.report('close')).errors).toEqual([])
    })

    it('a client that loses its leader on the way keeps its session: through a relay, through another one when that is killed, and to the next leader', async () => {
      const first = await leader()
      const client = new BusyClient(machines.second, peers)
      const { id } = await client.work()
      expect(await client.report()).toMatchObject({ path: 'direct' })

      machines.drop(first.ip)
      const relayed = await client.until(({ path }) => path === 'relayed', 'a relay')
      expect(await client.work()).toMatchObject({ id, leaders: [] })

      const relay = peers.find((peer) => peer.id === relayed.relay)!
      await stop(relay)
      const other = peers.find((peer) => peer !== first && peer !== relay)!
      await client.until((report) => report.path === 'relayed' && report.relay === other.id, 'the other relay')
      await client.work()

      start(relay)
      await until(() => relay.running.stdout.includes(relay.id), 'the killed relay to come back')
      await stop(first, 'SIGTERM')
      await client.until(({ path }) => path === 'direct', 'the next leader')
      expect(await client.work()).toMatchObject({ id, state: 'active', errors: [] })
      expect((await client.report('close')).errors).toEqual([])
    })

    it('a client that reaches one peer only follows every change of leader through it', async () => {
      const first = await leader()
      const [relay, other] = peers.filter((peer) => peer !== first) as [TestPeer, TestPeer]
      machines.drop(first.ip, other.ip)
      const client = new BusyClient(machines.second, peers)
      const { id } = await client.work()
      expect(await client.report()).toMatchObject({ path: 'relayed', relay: relay.id })
      await stop(first)
      const { leaders } = await client.until((report) => report.leaders.length > 0, 'the next leader')
      const expected = leaders.at(-1) === relay.id ? { path: 'direct' } : { path: 'relayed', relay: relay.id }
      expect(await client.work()).toMatchObject({ ...expected, id, state: 'active', errors: [] })
      expect((await client.report('close')).errors).toEqual([])
    })
  }
)
