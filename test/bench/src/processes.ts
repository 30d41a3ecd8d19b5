/** The processes of a benchmark: a cluster of three peers, and workers. */
import { freePorts } from '@quire/cli/internal'
import { fork, spawn, execFile, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Report, TaskName, Tasks } from './worker.js'

const require = createRequire(import.meta.url)
const QUIRE = join(dirname(require.resolve('@quire/cli/package.json')), 'bin/quire.js')
const TETHER = `data:text/javascript,${encodeURIComponent(
  "process.stdin.on('error', () => process.exit(1)).on('close', () => process.exit(1)).resume(); process.stdin.unref()"
)}`
const children = new Set<ChildProcess>()

export interface Cluster {
  readonly addresses: readonly string[]
  /** The peers that belong to the cluster now. */
  members(): readonly { readonly name: string; readonly pid: number; readonly dataDir: string }[]
  /** The newest term that a peer tells. A change of the leader begins a term. */
  term(): Promise<number>
  put(local: string, path: string): Promise<void>
  /** Kills the leader with SIGKILL. Resolves at once, with a function that starts it again. */
  stopLeader(): Promise<() => Promise<void>>
  /** A fourth peer joins and is promoted. Resolves when it votes, and says whether it has received a snapshot. */
  join(): Promise<{ readonly bySnapshot: boolean }>
  /** Ends a follower and starts it again. Resolves with the milliseconds from its start until it listens. */
  restartFollower(signal: 'SIGTERM' | 'SIGKILL'): Promise<number>
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
  readonly term?: number
  readonly store?: { readonly firstIndex: number }
}

export interface Worker {
  readonly pid: number
  end(): void
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
  const adminKey = join(dataDir, 'admin.key')
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
  // The command fails, with the same output, while there is no leader.
  const quireStatus = (): Promise<string> =>
    quire('status', '--json').catch((error: { readonly stdout?: string }) => {
      if (error.stdout === undefined || error.stdout === '') throw error
      return error.stdout
    })
  const quire = async (...args: string[]) =>
    (await promisify(execFile)(process.execPath, [QUIRE, ...args, ...peers()], { maxBuffer: 2 ** 24 })).stdout
  const peers = (): string[] => ['--peers', members.map(({ multiaddr }) => multiaddr).join(',')]
  return {
    addresses,
    members: () => members.map(({ pid, dataDir }) => ({ name: basename(dataDir), pid, dataDir })),
    term: async () => Math.max(0, ...(await statuses()).map(({ term = 0 }) => term)),
    async put(local, path) {
      await quire('put', local, path)
    },
    async stopLeader() {
      let leader: Peer | undefined
      while (leader === undefined) leader = await leadingPeer()
      const { pid } = leader
      process.kill(pid, 'SIGKILL')
      return async () => {
        leader.pid = await restart(leader)
        await until(isHealthy, 'all voters to follow a leader')
      }
    },
    join: grow,
    async restartFollower(signal) {
      const leader = await findLeader()
      const follower = members.find(({ peerId }) => peerId !== leader?.id)!
      process.kill(follower.pid, signal)
      await gone(follower.pid)
      const begin = performance.now()
      follower.pid = await restart(follower)
      return performance.now() - begin
    }
  }

  async function statuses(): Promise<Status[]> {
    const lines = (await quireStatus()).trim().split('\n')
    return lines.map((line) => JSON.parse(line) as Status)
  }

  async function grow(): Promise<{ bySnapshot: boolean }> {
    const added = await newPeer()
    await admin('members', 'add', added.multiaddr)
    added.pid = await restart(added, '--join', members.map(({ multiaddr }) => multiaddr).join(','))
    members.push(added)
    // Refused until the learner has caught up, which takes minutes for a large store.
    await until(() => admin('members', 'promote', added.peerId), `${added.peerId} to be promoted`, 20 * 60_000)
    return { bySnapshot: await hasSnapshot(added) }
  }

  /** Runs an admin's command. Resolves with whether it succeeded: there may be no leader, or another change. */
  function admin(...args: string[]): Promise<boolean> {
    return quire(...args, '--key', adminKey).then(
      () => true,
      () => false
    )
  }

  async function newPeer(): Promise<Peer> {
    const name = `peer-${members.length + 1}`
    const key = join(dataDir, `${name}.key`)
    const { stdout } = await promisify(execFile)(process.execPath, [QUIRE, 'keygen', key, '--json'])
    const { peerId } = JSON.parse(stdout) as { peerId: string }
    const multiaddr = `/ip4/127.0.0.1/tcp/${(await freePorts(1))[0]}/p2p/${peerId}`
    return { peerId, multiaddr, dataDir: join(dataDir, name), key, pid: 0 }
  }

  async function hasSnapshot(peer: Peer): Promise<boolean> {
    const { store } = (await statuses()).find(({ id }) => id === peer.peerId) ?? {}
    return (store?.firstIndex ?? 1) > 1
  }

  async function findLeader(): Promise<Status | undefined> {
    return (await statuses()).find(({ role }) => role === 'leader')
  }

  async function leadingPeer(): Promise<Peer | undefined> {
    const id = (await findLeader())?.id
    return members.find(({ peerId }) => peerId === id)
  }

  async function isHealthy(): Promise<boolean> {
    const health = await quire('health', '--json').catch(() => '{}')
    const { following, voters } = JSON.parse(health) as { readonly following?: number; readonly voters?: number }
    return voters !== undefined && following === voters
  }
}

/** Starts a killed peer. Resolves with its process id when it listens, and fails while the old process still exists. */
async function restart({ dataDir, key, multiaddr }: Peer, ...more: readonly string[]): Promise<number> {
  const listen = multiaddr.replace(/\/p2p\/.*$/, '')
  const own = ['--data-dir', dataDir, '--key', key, '--listen', listen]
  const args = ['peer', '--json', '--log-level', 'error', ...own, ...more]
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

/** The conditions run commands, which take time from what is measured, so they are not asked often. */
async function until(condition: () => Promise<boolean>, what: string, mayLastMs = 120_000): Promise<void> {
  const deadline = performance.now() + mayLastMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${mayLastMs / 1_000} s for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  }
}

/** Resolves when the process has ended. */
async function gone(pid: number): Promise<void> {
  await until(() => {
    try {
      process.kill(pid, 0)
      return Promise.resolve(false)
    } catch {
      return Promise.resolve(true)
    }
  }, `process ${pid} to end`)
}

export function startWorker(): Worker {
  const child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), [], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc']
  })
  children.add(child)
  return {
    pid: child.pid!,
    end: () => void child.kill('SIGTERM'),
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
