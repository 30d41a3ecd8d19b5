/** The start of a simulated peer, as its program does it. */
import type { Member, Random } from '@quire/protocol'
import type { Disk } from '@quire/raft'
import {
  askToJoin,
  foundingDigest,
  normalizeCluster,
  openPeerCore,
  type Applied,
  type JoinedCluster,
  type PeerCore
} from '@quire/store/internal'
import type { SimProcess } from '../process.js'
import { storageIn, type Folder } from './folder.js'
import { addressOf, PEER_IDS } from './ids.js'
import type { SimNode } from './network-types.js'
import type { PeerSettings } from './peer-settings.js'
import type { WatchedRows } from './watched-rows.js'

const CLUSTER_ID = 'simulated'
const CLUSTER = {
  clusterId: CLUSTER_ID,
  voters: PEER_IDS.map((peerId) => ({ peerId, addresses: [addressOf(peerId)] })),
  clients: 'any' as const
}
/** For a client that is as far from the leader as the leader is from the others. */
const HANDSHAKE_ROUND_TRIPS = 10

export interface JoinInit {
  readonly process: SimProcess
  readonly node: SimNode
  /** The members to ask. */
  readonly seeds: readonly Member[]
  /** The member whose folder is lost, and whose place the peer asks for; or empty. */
  readonly rejoins: string
  /** Makes the folder, which then survives the process. */
  readonly makeFolder: (invited: JoinedCluster) => Folder
}

/** Waits until the peer is invited, makes its folder, and resolves when it is a member with it. */
export async function joinCluster({ process, node, seeds, rejoins, makeFolder }: JoinInit): Promise<Folder> {
  const init = { network: node, clock: process.clock, seeds, rejoins, advice: '', logger: undefined }
  const invited = await askToJoin(init)
  if (!process.alive) throw new Error('the process has ended')
  const folder = makeFolder(invited)
  const { incarnation } = folder.identity
  folder.joinedCluster = await askToJoin(init, { incarnation, cluster: invited })
  return folder
}

export interface OpeningInit {
  readonly id: string
  readonly name: string
  readonly folder: Folder
  /** What the peer runs on. */
  readonly process: SimProcess
  readonly random: Random
  readonly node: SimNode
  readonly rows: WatchedRows
  readonly logDisk: () => Disk
  readonly settings: PeerSettings
  readonly onApplied: (index: number, applied: Applied | undefined) => void
  readonly onFatal: (error: Error) => void
}

/** Opens a peer. Resolves when it knows its log and its state. From then on, its gate follows its configuration. */
export async function openPeer(init: OpeningInit): Promise<PeerCore> {
  const { id, name, folder, process, random, node, rows, logDisk, settings } = init
  const founded = normalizeCluster({ ...CLUSTER, admins: settings.admins, roundTripMs: settings.roundTripMs })
  const founding = foundingDigest(founded)
  const storage = storageIn(folder, { clusterId: CLUSTER_ID, founding, name, pages: rows, logDisk })
  const core: PeerCore = await openPeerCore(
    { storage, clock: process.clock, random },
    {
      id,
      cluster: folder.joinedCluster === undefined ? founded : undefined,
      limits: {
        leaseTickMs: 50,
        handshakeTimeoutMs: Math.max(2000, HANDSHAKE_ROUND_TRIPS * settings.roundTripMs),
        creditBytes: settings.creditBytes,
        maxFaults: settings.maxFaults,
        maxProposalBytes: settings.maxProposalBytes
      },
      replicaLimits: settings,
      raft: { limits: settings.raft },
      onConfig: () => setGate(node, core),
      onApplied: init.onApplied,
      onFatal: init.onFatal
    }
  )
  setGate(node, core)
  return core
}

function setGate(node: SimNode, core: PeerCore): void {
  node.setGate({
    allow: (id) => core.mayConnect(id),
    isMember: (id) => core.config.members.some(({ peerId }) => peerId === id)
  })
}
