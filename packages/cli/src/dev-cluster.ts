/** Files of a development cluster: keys, addresses, and the cluster file that its peers start from. */
import {
  generatePrivateKey,
  loadOrCreatePrivateKey,
  loadPrivateKey,
  peerIdFromKey,
  savePrivateKey,
  type PrivateKey
} from '@quire/net'
import { InvalidArgumentError } from '@quire/protocol'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { DataDirectoryError, formatClusterFile, parseClusterFile, replaceFile } from '@quire/store/internal/cli'

export interface DevPeer {
  readonly peerId: string
  readonly dataDir: string
  readonly keyFile: string
  readonly listen: string
}

export interface DevCluster {
  /** The cluster file. */
  readonly file: string
  /** May connect whatever the list of clients says, and may change the cluster. */
  readonly adminKey: PrivateKey
  readonly peers: readonly DevPeer[]
}

export interface DevClusterInit {
  readonly folder: string
  /** Default: as many as the folder has; 3 in a new folder. */
  readonly peers: number | undefined
  readonly clients: readonly string[] | 'any'
}

/** A development cluster writes this file first. */
const ADMIN_KEY = 'admin.key'

/**
 * Opens the cluster in a folder, or makes a cluster with addresses on loopback. Rejects with DataDirectoryError if the
 * folder holds anything else.
 */
export async function openDevCluster(init: DevClusterInit): Promise<DevCluster> {
  refuseForeign(init.folder)
  const file = join(init.folder, 'cluster.json')
  const adminKey = await loadOrCreatePrivateKey(join(init.folder, ADMIN_KEY))
  // The cluster file is written last, so an interrupted first start is repeated with the same keys.
  if (!existsSync(file)) await found(file, init, peerIdFromKey(adminKey))
  return { file, adminKey, peers: await readPeers(file, init) }
}

function refuseForeign(folder: string): void {
  const names = readdirSync(folder)
  if (names.includes(ADMIN_KEY)) return
  // An empty file system has lost+found, and an interrupted first start leaves a part of the key file.
  const foreign = names.find((name) => name !== 'lost+found' && !/^\.quire-\w+\.part$/.test(name))
  if (foreign === undefined) return
  throw new DataDirectoryError(folder, `not a folder of quire dev: it has ${foreign} but no ${ADMIN_KEY}`)
}

async function found(file: string, { folder, peers = 3, clients }: DevClusterInit, admin: string): Promise<void> {
  const ports = await freePorts(peers)
  const voters: { peerId: string; addresses: string[] }[] = []
  for (const [i, port] of ports.entries()) {
    const { keyFile } = pathsOf(folder, i)
    if (!existsSync(keyFile)) await savePrivateKey(keyFile, await generatePrivateKey())
    const peerId = peerIdFromKey(await loadPrivateKey(keyFile))
    voters.push({ peerId, addresses: [`/ip4/127.0.0.1/tcp/${port}`] })
  }
  const clusterId = `dev-${randomBytes(6).toString('hex')}`
  replaceFile(file, formatClusterFile({ clusterId, voters, admins: [admin], clients }))
}

async function readPeers(file: string, { folder, peers }: DevClusterInit): Promise<DevPeer[]> {
  const { voters } = parseClusterFile(readFileSync(file, 'utf8'), file)
  if (peers !== undefined && peers !== voters.length) {
    throw new InvalidArgumentError('--peers', peers, `${voters.length}, as ${folder} has them`)
  }
  const found: DevPeer[] = []
  for (let i = 0; i < voters.length; i++) {
    const { keyFile, dataDir } = pathsOf(folder, i)
    const peerId = peerIdFromKey(await loadPrivateKey(keyFile))
    const address = voters.find((voter) => String(voter.peerId) === peerId)?.addresses[0]
    if (address === undefined) throw new InvalidArgumentError('key', keyFile, `the key of a voter of ${file}`)
    found.push({ peerId, dataDir, keyFile, listen: address.replace(/\/p2p\/.*$/, '') })
  }
  return found
}

/** The key is beside the data directory, because that belongs to the peer alone. */
function pathsOf(folder: string, index: number): { keyFile: string; dataDir: string } {
  const dataDir = join(folder, `peer-${index + 1}`)
  return { dataDir, keyFile: `${dataDir}.key` }
}

/** Finds free ports on loopback: binds all of them at once, so that they differ, then releases them. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = []
  try {
    for (let i = 0; i < count; i++) {
      const server = createServer()
      servers.push(server)
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
    }
    return servers.map((server) => (server.address() as AddressInfo).port)
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}
