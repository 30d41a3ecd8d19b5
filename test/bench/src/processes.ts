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
const QUIRE = join(dirname(require.resolve('@quire/store/package.json')), 'bin/quire.js')
const TETHER = `data:text/javascript,${encodeURIComponent(
  "process.stdin.on('error', () => process.exit(1)).on('close', () => process.exit(1)).resume(); process.stdin.unref()"
)}`
const children = new Set<ChildProcess>()

export interface Cluster {
  readonly addresses: readonly string[]
  put(local: string, path: string): Promise<void>
  /** The leader's stages. */
  stages(): Promise<readonly StageCounts[]>
}

export interface Worker {
  run<N extends TaskName>(task: N, ask: Tasks[N]['ask']): Promise<Tasks[N]['answer']>
}

export async function startCluster(dataDir: string): Promise<Cluster> {
  // Its standard input is a pipe: when this process is gone, however it went, so are the peers.
  const dev = spawn(
    process.execPath,
    ['--import', TETHER, QUIRE, 'dev', '--json', '--peers', '3', '--data-dir', dataDir],
    { stdio: ['pipe', 'pipe', 'inherit'] }
  )
  children.add(dev)
  const addresses: string[] = []
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: dev.stdout }).on('line', (line) => {
      const message = JSON.parse(line) as { multiaddr: string } | { ready: true }
      if ('ready' in message) resolve()
      else addresses.push(message.multiaddr)
    })
    dev.on('exit', (code) => reject(new Error(`quire dev ended with status ${code}`)))
  })
  const peers = ['--peers', addresses.join(',')]
  const quire = async (...args: string[]) =>
    (await promisify(execFile)(process.execPath, [QUIRE, ...args, ...peers], { maxBuffer: 2 ** 24 })).stdout
  return {
    addresses,
    async put(local, path) {
      await quire('put', local, path)
    },
    async stages() {
      const peerStatus = (await quire('status', '--json'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { role: string; stages: StageCounts[] })
      const leader = peerStatus.find(({ role }) => role === 'leader')
      if (leader === undefined) throw new Error('no peer leads')
      return leader.stages
    }
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
          // An answer that is undefined does not survive the channel.
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
