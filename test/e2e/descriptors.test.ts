/** Real processes with few file descriptors: docs/ARCHITECTURE.md, "File descriptors". */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createDsmClient, type DsmFile } from '@quire/dsm-client'
import { describe, expect, it } from 'vitest'
import { isAlive, type Running } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess } from './support/cluster.js'

const CHUNK = 512 * 1024
const MIB = 1024 * 1024

/** Writes `megabytes` over and over into the first 2 MiB. Each lap fills the log, and none grows the file. */
async function writeLog(file: DsmFile, megabytes: number): Promise<void> {
  for (let done = 0; done < megabytes * MIB; done += CHUNK) {
    await file.write(done % (2 * MIB), new Uint8Array(CHUNK).fill(1 + ((done / CHUNK) % 255)))
    await file.sync()
  }
}

/**
 * Strangers that connect, say nothing, and return soon after they are cut off. They return at different times, so that
 * no place stays free for long.
 */
class Strangers {
  private readonly sockets = new Map<Socket, { connectedAt: number }>()
  private stopped = false
  connections = 0

  constructor(
    private readonly port: number,
    count: number
  ) {
    for (let i = 0; i < count; i++) setTimeout(() => this.come(), i * 12)
  }

  /** The strangers that the peer accepted and did not turn away at once. */
  get held(): number {
    const before = performance.now() - 300
    return [...this.sockets.values()].filter(({ connectedAt }) => connectedAt < before).length
  }

  stop(): void {
    this.stopped = true
    for (const socket of this.sockets.keys()) socket.destroy()
  }

  private come(): void {
    if (this.stopped) return
    const socket = connect(this.port, '127.0.0.1')
    const state = { connectedAt: Infinity }
    this.sockets.set(socket, state)
    socket.on('connect', () => {
      this.connections++
      state.connectedAt = performance.now()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.sockets.delete(socket)
      setTimeout(() => this.come(), 200)
    })
  }
}

describe('a cluster with a low limit of open files', () => {
  it('a cluster with a low limit of open files goes on writing over new log files while hundreds of silent strangers connect to the leader', async () => {
    await using cluster = await startCluster([], { maxOpenFiles: 256 })
    const client = await cluster.client()
    const file = await client.open('/under-siege', { create: true, size: 2 * MIB })
    const leader = await cluster.leader()
    const strangers = new Strangers(Number(/\/tcp\/(\d+)/.exec(leader.multiaddr)![1]), 400)
    try {
      await until(() => strangers.connections >= 400, 'strangers')
      await writeLog(file, 18)
      // Without limits of its own, the peer would hold as many connections as it has descriptors. More than its limit
      // can only be in the kernel's queue.
      await until(() => strangers.held < 64, 'all but a few strangers to be turned away')
    } finally {
      strangers.stop()
    }
    expect(cluster.peers.map(({ pid }) => isAlive(pid))).toEqual([true, true, true])
    const segments = await Promise.all(cluster.peers.map(({ dataDir }) => readdir(join(dataDir, 'log'))))
    for (const names of segments) expect(names.length).toBeGreaterThan(1)
  }, 120_000)
})

/** Lowers the limit of a running process. Only Linux has a program for that. */
const canLimit = spawnSync('prlimit', ['--version']).status === 0

describe.skipIf(!canLimit)('a leader that has no file descriptor for a new connection (needs prlimit)', () => {
  it('a leader without a file descriptor for a new connection logs a warning, and hands over before its log needs one', async () => {
    await using cluster = await startCluster()
    // The log of a peer of `quire dev` cannot be read, and that of a restarted peer can.
    const logs = new Map<PeerProcess, Running>()
    for (const peer of cluster.peers) {
      await cluster.kill(peer)
      logs.set(peer, await cluster.restartAt(peer, peer.multiaddr.replace(/\/p2p\/.*$/, '')))
    }
    const limit = (pid: number, files: number): void => {
      expect(spawnSync('prlimit', ['--pid', `${pid}`, `--nofile=${files}:`]).status).toBe(0)
    }
    const before = await cluster.leader()
    const restarted = logs.get(before)!
    const others = cluster.peers.filter((peer) => peer !== before)
    limit(before.pid, 8)
    await until(async () => others.includes(await cluster.leader()), 'another peer to lead')
    expect(restarted.stderr).toMatch(/"code":"EMFILE".*no file descriptor is left: every new connection is closed/)
    const client = await cluster.client()
    await writeLog(await client.open('/reached', { create: true, size: 2 * MIB }), 1)
    limit(before.pid, 1024)
    await until(() => restarted.stderr.includes('there are file descriptors again'), 'it to recover')
    expect(cluster.peers.map(({ pid }) => isAlive(pid))).toEqual([true, true, true])
  }, 120_000)
})

describe('a peer without any free file descriptor', () => {
  it('a peer without any free file descriptor refuses writes with NoDescriptorsError, serves reads, and accepts writes again by itself', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'quire-descriptors-'))
    const script = fileURLToPath(new URL('children/peer.mjs', import.meta.url))
    const command = ['-c', 'ulimit -n 200 && exec "$0" "$@"', process.execPath, script, folder]
    const child = spawn('sh', command, { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: child.stdout })
    const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the peer ended with ${code}`)))
    ended.catch(() => {})
    const nextLine = async (): Promise<string> => {
      const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string]
      return line
    }
    const tell = async (word: string): Promise<void> => {
      child.stdin.write(`${word}\n`)
      expect(await nextLine()).toBe(word)
    }
    try {
      const address = await nextLine()
      const client = await createDsmClient({ peers: [address], faultTimeoutMs: 20_000 })
      const file = await client.open('/short', { create: true, size: 2 * MIB })
      await writeLog(file, 1)
      await tell('exhaust')
      // The current log file still has room, so writes go on until half of it is used.
      await expect(writeLog(file, 32)).rejects.toMatchObject({
        name: 'NoDescriptorsError',
        code: 'ERR_NO_DESCRIPTORS',
        reason: 'EMFILE'
      })
      expect((await file.read(0, 1))[0]).toBeGreaterThan(0)
      expect((await client.stat('/short')).size).toBe(2 * MIB)
      await tell('release')
      await until(async () => {
        try {
          await file.sync()
          return true
        } catch (error) {
          expect(error).toMatchObject({ name: 'NoDescriptorsError' })
          return false
        }
      }, 'writes to be taken again')
      await writeLog(file, 32)
      await client.close()
      expect(child.exitCode).toBe(null)
    } finally {
      child.stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
      await rm(folder, { recursive: true, force: true })
    }
    expect(child.exitCode).toBe(0)
  }, 90_000)
})
