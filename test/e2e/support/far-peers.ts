/** Peers in this process that are far from each other, and from everything that dials them from here. */
import { freePorts } from '@quire/cli/internal'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, peerIdFromKey } from '@quire/net'
import { createPeer, type Peer } from '@quire/store'
import { moveAway, type Distance } from '../../support/distance.js'

export interface FarPeers extends AsyncDisposable {
  readonly peers: readonly Peer[]
  readonly addresses: readonly string[]
  readonly distance: Distance
  /** Returns the leader of the highest term. */
  leader(): Peer | undefined
}

export interface FarPeersInit {
  /** Of every link. */
  readonly roundTripMs: number
  /** The round trip that the cluster is founded with. */
  readonly configuredMs?: number
}

export async function startFarPeers({ roundTripMs, configuredMs }: FarPeersInit): Promise<FarPeers> {
  const distance = await moveAway(roundTripMs)
  const folder = await mkdtemp(join(tmpdir(), 'quire-far-'))
  const keys = await Promise.all([1, 2, 3].map(() => generatePrivateKey()))
  const listen = await Promise.all(keys.map(async () => `/ip4/127.0.0.1/tcp/${(await freePorts(1))[0]}`))
  const voters = keys.map((key, i) => ({ peerId: peerIdFromKey(key), addresses: [listen[i]!] }))
  const cluster = { clusterId: 'far', voters, admins: [], clients: 'any', roundTripMs: configuredMs } as const
  const peers: Peer[] = []
  for (const [i, privateKey] of keys.entries()) {
    peers.push(await createPeer({ dataDir: join(folder, String(i)), privateKey, listen: [listen[i]!], cluster }))
  }
  return {
    peers,
    distance,
    addresses: peers.map(({ multiaddrs }) => multiaddrs[0]!),
    leader: () => {
      const leaders = peers.filter((peer) => peer.status().role === 'leader')
      return leaders.sort((a, b) => b.status().term - a.status().term)[0]
    },
    async [Symbol.asyncDispose]() {
      // Near again, so that leadership moves at once.
      distance.roundTripMs = 0
      await Promise.all(peers.map((peer) => peer.close()))
      await distance[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

export function portOf(multiaddr: string): number {
  return Number(/\/tcp\/(\d+)/.exec(multiaddr)![1])
}
