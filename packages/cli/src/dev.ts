/** `quire dev`: a cluster on this machine, with one process per peer. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { folderProblem, makeFolder } from '@quire/store/internal/cli'
import { InvalidArgumentError, UnavailableError } from '@quire/protocol'
import type { Command } from 'commander'
import { stopRequests } from './cluster-commands.js'
import { openDevCluster, type DevCluster, type DevPeer } from './dev-cluster.js'
import {
  fileName,
  clientsOf,
  namingOptions,
  withJson,
  withLogLevel,
  withStorage,
  type JsonOption,
  type StorageOptions
} from './options.js'
import { printJson, printLine, printNote, whenOutputFails } from './output.js'
import { createProbe, type Probe } from './probe.js'

const BIN = fileURLToPath(new URL('../bin/quire.js', import.meta.url))
const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 10_000
const PROBE_TIMEOUT_MS = 1_000
const PROBE_PAUSE_MS = 50

interface DevOptions extends JsonOption, StorageOptions {
  readonly peers?: number
  readonly dataDir?: string
  readonly clients: readonly string[]
  readonly logLevel: string
}

/** The process of a peer. */
interface Running {
  readonly peer: DevPeer
  readonly child: ChildProcess
  readonly exited: Promise<void>
  /** Empty until the peer listens. */
  multiaddr: string
}

export function addDevCommand(program: Command): void {
  withStorage(withLogLevel(withJson(program.command('dev')), 'error'))
    .description('run a cluster on this machine, with one process per peer, until Ctrl-C')
    .option('--peers <count>', 'number of peers; default: 3, or as many as the data directory has', parseCount)
    .option(
      '--data-dir <folder>',
      'folder that keeps the cluster; default: a temporary folder, removed at the end',
      fileName('--data-dir')
    )
    .option('--clients <ids...>', "PeerIds of the clients that may connect, or 'any'", ['any'])
    .action(runDev)
}

async function runDev(options: DevOptions): Promise<void> {
  const stop = stopRequests(false)
  void stop.then(() => {
    stopping = true
  })
  const temporary = options.dataDir === undefined ? mkdtempSync(join(tmpdir(), 'quire-dev-')) : undefined
  // Runs at every exit, also at one that skips the end of this function.
  const removeTemporary = (): void => {
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
  }
  process.on('exit', removeTemporary)
  const folder = temporary ?? resolve(options.dataDir!)
  try {
    makeFolder(folder)
  } catch (error) {
    throw new Error(`${folder}: ${folderProblem(folder, error)}`, { cause: error })
  }
  const clients = clientsOf(options.clients)
  const cluster = await namingOptions({ clients: '--clients' }, () =>
    openDevCluster({ folder, peers: options.peers, clients })
  )
  const running = cluster.peers.map((peer) => startPeer(peer, cluster, options, temporary))
  const probe = await createProbe(cluster.adminKey)
  try {
    const served = await Promise.race([waitForService(running, probe).then(() => true), stop.then(() => false)])
    if (served) {
      announce(running, options)
      const allGone = Promise.all(running.map(({ exited }) => exited)).then(() => 'gone')
      if ((await Promise.race([stop, allGone, whenOutputFails()])) === 'gone')
        throw new UnavailableError('all peers have ended')
    }
  } finally {
    await probe.close()
    await stopAll(running)
  }
}

function storageArguments(options: DevOptions): Record<string, string | number | undefined> {
  const { retainedLog, snapshotRate, scrubInterval, scrubRate } = options
  return {
    '--retained-log': retainedLog,
    '--snapshot-rate': snapshotRate,
    '--scrub-interval': scrubInterval && (scrubInterval === Infinity ? 'never' : `${scrubInterval}ms`),
    '--scrub-rate': scrubRate
  }
}

function startPeer(peer: DevPeer, cluster: DevCluster, options: DevOptions, temporary: string | undefined): Running {
  const args = ['peer', '--exit-with-stdin', '--log-level', options.logLevel]
  // The peer writes to this process's standard error, so its failures take the same form.
  if (options.json === true) args.push('--json')
  args.push('--data-dir', peer.dataDir, '--key', peer.keyFile, '--listen', peer.listen, '--cluster', cluster.file)
  for (const [name, value] of Object.entries(storageArguments(options))) {
    if (value !== undefined) args.push(name, String(value))
  }
  if (temporary !== undefined) args.push('--temporary', temporary)
  // The peer's standard input is a pipe that ends when this process does, even by SIGKILL.
  const child = spawn(process.execPath, [BIN, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.on('error', () => {})
  const started: Running = {
    peer,
    child,
    multiaddr: '',
    exited: once(child, 'exit').then(([code, signal]) => {
      // A dead peer stays down: a developer who kills one wants to watch the others.
      if (!stopping) printNote(`peer ${peer.peerId} has ended (${signal ?? `exit ${code}`})`)
    })
  }
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (started.multiaddr !== '') return
    started.multiaddr = options.json === true ? (JSON.parse(line) as { multiaddr: string }).multiaddr : line
  })
  return started
}

let stopping = false

/** Resolves when every peer listens and one of them leads and serves. */
async function waitForService(running: readonly Running[], probe: Probe): Promise<void> {
  const until = performance.now() + START_TIMEOUT_MS
  while (performance.now() < until) {
    const dead = running.find(({ child }) => child.exitCode !== null || child.signalCode !== null)
    if (dead !== undefined) throw new UnavailableError(`peer ${dead.peer.peerId} did not start`)
    if (running.every(({ multiaddr }) => multiaddr !== '')) {
      const answers = running.map(({ multiaddr }) => probe.serves(multiaddr, PROBE_TIMEOUT_MS).catch(() => false))
      if ((await Promise.all(answers)).includes(true)) return
    }
    await new Promise((next) => setTimeout(next, PROBE_PAUSE_MS))
  }
  throw new UnavailableError(`no leader within ${START_TIMEOUT_MS} ms`)
}

function announce(running: readonly Running[], { json }: DevOptions): void {
  for (const { peer, child, multiaddr } of running) {
    const { peerId, dataDir, keyFile } = peer
    if (json === true) printJson({ peerId, multiaddr, pid: child.pid, dataDir, key: keyFile })
    else printLine(multiaddr)
  }
  if (json === true) printJson({ ready: true })
  else printLine('ready')
}

async function stopAll(running: readonly Running[]): Promise<void> {
  stopping = true
  for (const { child } of running) child.kill('SIGTERM')
  const timer = setTimeout(() => {
    for (const { child } of running) child.kill('SIGKILL')
  }, STOP_TIMEOUT_MS)
  await Promise.all(running.map(({ exited }) => exited))
  clearTimeout(timer)
}

function parseCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 9) throw new InvalidArgumentError('--peers', text, '1 to 9')
  return count
}
