/** Three peers on loopback. The command `quire` runs each in its own process with its own data directory. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Children } from './children.js'

export const PEERS = 3

const require = createRequire(import.meta.url)
const QUIRE = join(dirname(require.resolve('@quire/cli/package.json')), 'bin/quire.js')

/** A peer as `quire dev --json` announces it. */
interface Peer {
  readonly peerId: string
  readonly multiaddr: string
  readonly pid: number
  readonly dataDir: string
  readonly key: string
}

/** The fields of `quire status --json` that the demo reads. A peer that does not answer has only `id`. */
export interface PeerStatus {
  readonly id: string
  readonly role?: string
  readonly term?: number
  readonly commitIndex?: number
  readonly appliedIndex?: number
}

export interface Cluster {
  readonly addresses: readonly string[]
  status(): Promise<PeerStatus[]>
  /** Stores a local file, with `quire put`. */
  put(local: string, path: string): Promise<void>
  /** Kills a peer with SIGKILL, so that it flushes nothing. Returns its process id. */
  kill(peerId: string): number
  /** Restarts a killed peer on its data directory. Resolves with its process id. */
  restart(peerId: string): Promise<number>
}

/** Starts the peers. Resolves when one of them leads. */
export async function startCluster(children: Children, dataDir: string): Promise<Cluster> {
  const peers = await new Promise<Peer[]>((resolve, reject) => {
    const announced: Peer[] = []
    const dev = children.start('quire dev', QUIRE, ['dev', '--json', '--peers', String(PEERS), '--data-dir', dataDir], {
      onLine: (line) => {
        const message = JSON.parse(line) as Peer | { ready: true }
        if ('ready' in message) resolve(announced)
        else announced.push(message)
      }
    })
    dev.exited.then(() => reject(new Error('quire dev ended')), reject)
  })
  const addresses = peers.map((peer) => peer.multiaddr)
  const client = ['--peers', addresses.join(',')]

  function find(peerId: string): Peer {
    const peer = peers.find((each) => each.peerId === peerId)
    if (peer === undefined) throw new Error(`${peerId} is not among the peers`)
    return peer
  }

  return {
    addresses,
    async status() {
      // Status 1 means that there is no leader. The demo then asks again.
      const lines = await children.run('quire status', QUIRE, ['status', '--json', ...client], { statuses: [0, 1] })
      return lines.split('\n').map((line) => JSON.parse(line) as PeerStatus)
    },
    async put(local, path) {
      await children.run('quire put', QUIRE, ['put', local, path, ...client], { inherit: process.stderr.isTTY })
    },
    kill(peerId) {
      const { pid } = find(peerId)
      process.kill(pid, 'SIGKILL')
      return pid
    },
    async restart(peerId) {
      const { dataDir: ownDir, key, multiaddr } = find(peerId)
      const listen = multiaddr.replace(/\/p2p\/.*$/, '')
      const args = ['peer', '--json', '--log-level', 'error', '--data-dir', ownDir, '--key', key, '--listen', listen]
      return new Promise((resolve) => {
        const child = children.start('the restarted peer', QUIRE, args, { onLine: () => resolve(child.process.pid!) })
      })
    }
  }
}
