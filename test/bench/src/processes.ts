/** The processes of a benchmark: a cluster of three peers, and workers. */
import { fork, spawn, execFile, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { StageCounts } from './rows.js'
import type { Report, TaskName, Tasks } from './worker.js'

const require = createRequire(import.meta.url)
const QUIRE = join(dirname(require.resolve('@quire/cli/package.json')), 'bin/quire.js')
const TETHER = `data:text/javascript,${encodeURIComponent(
  "process.stdin.on('error', () => process.exit(1)).on('close', () => process.exit(1)).resume(); process.stdin.unref()"
)}`
const children = new Set<ChildProcess>()

export interface Cluster {
  readonly addresses: readonly string[]
  put(local: string, path: string): Promise<void>
  /** The leader's stages. */
  stages(): Promise<readonly StageCounts[]>
  /** Kills the leader with SIGKILL, if there is one, and starts it again on its data directory. */
  killLeader(): Promise<boolean>
}

/** A peer as `quire dev --json` announces it. */
interface Peer {
  readonly peerId: string
  readonly multiaddr: string
  readonly dataDir: string
  readonly key: string
  pid: number
}

interface Status {
  readonly id: string
  readonly role?: string
  readonly stages: readonly StageCounts[]
}

export interface Worker {
  run<N extends TaskName>(task: N, ask: Tasks[N]['ask']): Promise<Tasks[N]['answer']>
}

/** `isQuiet`: peers will be killed, so drop what their log says of that. */
export async function startCluster(dataDir: string, isQuiet = false): Promise<Cluster> {
  // The cluster's standard input is a pipe, so its peers end with this process, however it ends.
  const dev = spawn(
    process.execPath,
    ['--import', TETHER, QUIRE, 'dev', '--json', '--peers', '3', '--data-dir', dataDir],
    { stdio: ['pipe', 'pipe', isQuiet ? 'ignore' : 'inherit'] }
  )
  children.add(dev)
  const members: Peer[] = []
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: dev.stdout }).on('line', (line) => {
      const message = JSON.parse(line) as Peer | { ready: true }
      if ('ready' in message) resolve()
      else members.push(message)
    })
    dev.on('exit', (code) => reject(new Error(`quire dev ended with status ${code}`)))
  })
  const addresses = members.map(({ multiaddr }) => multiaddr)
  const peers = ['--peers', addresses.join(',')]
  // The command fails, with the same output, while there is no leader.
  const quireStatus = (): Promise<string> =>
    quire('status', '--json').catch((error: { readonly stdout?: string }) => {
      if (error.stdout === undefined || error.stdout === '') throw error
      return error.stdout
    })
  const quire = async (...args: string[]) =>
    (await promisify(execFile)(process.execPath, [QUIRE, ...args, ...peers], { maxBuffer: 2 ** 24 })).stdout
  return {
    addresses,
    async put(local, path) {
      await quire('put', local, path)
    },
    async stages() {
      const leader = await findLeader()
      if (leader === undefined) throw new Error('no peer leads')
      return leader.stages
    },
    async killLeader() {
      const id = (await findLeader())?.id
      const leader = members.find(({ peerId }) => peerId === id)
      if (leader === undefined) return false
      process.kill(leader.pid, 'SIGKILL')
      leader.pid = await restart(leader)
      return true
    }
  }

  async function findLeader(): Promise<Status | undefined> {
    const lines = (await quireStatus()).trim().split('\n')
    return lines.map((line) => JSON.parse(line) as Status).find(({ role }) => role === 'leader')
  }
}

/** Starts a killed peer. Resolves with its process id when it listens, and fails while the old process still exists. */
async function restart({ dataDir, key, multiaddr }: Peer): Promise<number> {
  const listen = multiaddr.replace(/\/p2p\/.*$/, '')
  const args = ['peer', '--json', '--log-level', 'error', '--data-dir', dataDir, '--key', key, '--listen', listen]
  for (let tries = 1; ; tries++) {
    const child = spawn(process.execPath, ['--import', TETHER, QUIRE, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    children.add(child)
    const complaint: string[] = []
    child.stderr.on('data', (bytes: Buffer) => complaint.push(String(bytes)))
    const isUp = await Promise.race([
      once(child.stdout, 'data').then(() => true),
      once(child, 'exit').then(() => false)
    ])
    if (isUp) return child.pid!
    if (tries === 20) throw new Error(`a peer does not start again: ${complaint.join('')}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

export function startWorker(): Worker {
  const child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), [], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc']
  })
  children.add(child)
  return {
    run: (task, ask) =>
      new Promise((resolve, reject) => {
        const onExit = () => reject(new Error('a worker has ended'))
        child.once('exit', onExit)
        child.once('message', (report: Report) => {
          child.off('exit', onExit)
          if ('error' in report) reject(new Error(report.error))
          // The channel drops an answer that is undefined.
          else resolve(report.answer as never)
        })
        child.send({ task, ask }, (error) => error !== null && reject(error))
      })
  }
}

export async function endAll(): Promise<void> {
  const running = [...children].filter((child) => child.exitCode === null && child.signalCode === null)
  const ends = running.map((child) => once(child, 'exit'))
  for (const child of running) child.kill('SIGTERM')
  await Promise.all(ends)
}
