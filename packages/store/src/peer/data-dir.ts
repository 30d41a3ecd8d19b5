/**
 * A peer's data directory.
 *
 * | entry | holds |
 * |---|---|
 * | `identity.json` | format version, PeerId, cluster id, founding digest, incarnation, and how far the first start has come |
 * | `peers.state` | how often the folder was started, and what the peer remembers of the others (docs/identity.md) |
 * | `join.json` | the cluster that the peer has joined; a founding voter has no such file |
 * | `listen.json` | the addresses that were bound, so that a port that was chosen once is bound again |
 * | `log/` | the Raft log |
 * | `pages/` | the page store's checkpoints |
 * | `before-rejoin-*` | what was in the directory before `--rejoin` |
 * | `lock-*` | a socket for as long as a process uses the directory |
 */
import { existsSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { CorruptionError, decode } from '@quire/protocol'
import { refuseIrregular, syncFolder } from '@quire/raft/node-disk'
import { randomBytes } from 'node:crypto'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { clusterConfig, type ReplicatedConfig } from '../state/index.js'
import { encodeCluster } from './cluster.js'
import {
  BEFORE_REJOIN,
  DataDirectoryError,
  FORMAT_VERSION,
  IDENTITY,
  LISTEN,
  LOG,
  PAGES,
  PEERS,
  checkIdentity,
  memberOfDirectory,
  nameFolder,
  readIdentity,
  refuseForeign,
  statOf,
  type Identity
} from './directory-identity.js'
import { folderProblem, makeFolder, removeEmptyFolders, replaceFile } from './durable.js'
import { lockFolder, type FolderLock } from './folder-lock.js'
import { foundingDigest } from './founding.js'
import type { IdentityStorage } from './identity.js'
import type { JoinedCluster } from './joining.js'
import { openSlotFile, type SlotFile } from './slot-file.js'

const JOIN = 'join.json'
/** Room for the longest text that an identity remembers; see `identity.ts`. */
export const PEERS_SLOT_BYTES = 524_288

export interface DataDirectoryInit {
  readonly path: string
  /** The peer that wants to use it. */
  readonly peerId: string
  /** Given at the first start. At a later start it must be the cluster of the directory. */
  readonly cluster?: { readonly clusterId: string; readonly digest: string }
  /** The cluster that a new directory joins. The content of the directory of member `rejoins` is moved away. */
  readonly join?: { readonly cluster: JoinedCluster; readonly rejoins: string } | undefined
  /** Called at a first start, before anything is in the directory. If it rejects, nothing is left. */
  readonly beforeFounding?: () => Promise<void>
}

export interface DataDirectory extends IdentityStorage {
  readonly path: string
  readonly clusterId: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  readonly logPath: string
  readonly pagesPath: string
  /** The cluster that the peer has joined; undefined for a founding voter. */
  readonly joinedCluster: JoinedCluster | undefined
  /** The directory has become a member, as `cluster` says, which is durable when this returns. */
  becomeMember(cluster: JoinedCluster): void
  /** Names in the directory: what it held before each `--rejoin`, for an operator to remove. */
  readonly movedAway: readonly string[]
  /** False until `completeBootstrap`: the log has no entry yet. */
  readonly bootstrapped: boolean
  /** The first log entry is durable. From now on, the log decides. */
  completeBootstrap(): void
  /** Replaces each address to listen on with the one that was bound for it before, if there is one. */
  listenAddresses(wanted: readonly string[]): string[]
  /** Throws FileWriteError if the file cannot be written now. `close` tries again. */
  rememberListen(wanted: readonly string[], bound: readonly string[]): void
  /** Releases the lock. */
  close(): Promise<void>
}

/**
 * Locks the directory and checks that it belongs to this peer and cluster. Makes it if it does not exist and a cluster
 * is given. Rejects with FolderInUseError, NotAuthorizedError (the directory of another peer or cluster),
 * DataDirectoryError, CorruptionError or VersionMismatchError.
 */
export async function openDataDirectory(init: DataDirectoryInit): Promise<DataDirectory> {
  const path = resolve(init.path)
  const found = statOf(path)
  if (found === undefined && init.cluster === undefined && init.join === undefined)
    throw new DataDirectoryError(path, `no such directory, and ${NO_CLUSTER}`)
  if (found?.isDirectory() === false) throw new DataDirectoryError(path, 'not a directory')
  const made = found === undefined ? make(path) : []
  let lock: FolderLock | undefined
  try {
    lock = await lockFolder(path)
    let identity = readIdentity(path)
    if (identity !== undefined) checkIdentity(path, identity, init)
    if (identity !== undefined && init.join?.rejoins === memberOfDirectory(identity)) {
      moveAway(path, identity)
      identity = undefined
    }
    const begun = identity === undefined || identity.state === 'starting' ? await begin(path, identity, init) : identity
    return new LockedDataDirectory(path, lock, begun)
  } catch (error) {
    await lock?.release()
    removeEmptyFolders(made)
    throw nameFolder(path, error)
  }
}

const NO_CLUSTER = "a first start needs the cluster's configuration (--cluster), or a member to ask (--join)"

function make(path: string): string[] {
  try {
    return makeFolder(path)
  } catch (error) {
    throw new DataDirectoryError(path, folderProblem(path, error))
  }
}

/** Throws DataDirectoryError if something other than a folder has the folder's name. */
function makePart(path: string, folder: string): void {
  try {
    makeFolder(folder)
  } catch (error) {
    throw new DataDirectoryError(path, folderProblem(folder, error))
  }
}

/**
 * Begins a new directory, or one whose first start was interrupted: such a peer has promised nothing to another peer.
 */
async function begin(path: string, found: Identity | undefined, init: DataDirectoryInit): Promise<Identity> {
  if (found === undefined) refuseForeign(path)
  if (init.cluster === undefined && init.join === undefined) {
    const what = found === undefined ? 'empty' : 'its first start was interrupted'
    throw new DataDirectoryError(path, `${what}, and ${NO_CLUSTER}`)
  }
  await init.beforeFounding?.()
  const { founding } = init.join?.cluster ?? {}
  const cluster = init.cluster ?? { clusterId: founding!.clusterId, digest: foundingDigest(founding!) }
  const identity: Identity = {
    version: FORMAT_VERSION,
    peerId: init.peerId,
    clusterId: cluster.clusterId,
    founding: cluster.digest,
    // The newer of two incarnations sorts after the older one (docs/identity.md, Admission).
    incarnation: Date.now().toString(16).padStart(12, '0') + randomBytes(10).toString('hex'),
    joined: init.join !== undefined,
    state: 'starting'
  }
  // First, so that the directory of an interrupted start differs from a foreign directory.
  replaceFile(join(path, IDENTITY), JSON.stringify(identity) + '\n')
  for (const name of [LOG, PAGES, PEERS, JOIN]) rmSync(join(path, name), { recursive: true, force: true })
  if (init.join !== undefined) replaceFile(join(path, JOIN), encodeJoin(init.join.cluster))
  syncFolder(path)
  return identity
}

/**
 * Moves everything of a former directory into a folder of its own. The identity goes last, so that a crash in between
 * leaves a directory that `--rejoin` moves away again, and that does not start otherwise.
 */
function moveAway(path: string, { incarnation }: Identity): void {
  const away = unusedName(join(path, `${BEFORE_REJOIN}${incarnation.slice(-8)}`))
  makePart(path, away)
  for (const name of [LOG, PAGES, PEERS, JOIN, IDENTITY]) {
    if (existsSync(join(path, name))) renameSync(join(path, name), join(away, name))
  }
  syncFolder(away)
  syncFolder(path)
}

/**
 * Numbers the folder if an interrupted attempt has left one. A start since then may have made parts anew that are
 * already in that folder.
 */
function unusedName(path: string): string {
  let name = path
  for (let attempt = 2; existsSync(name); attempt++) name = `${path}-${attempt}`
  return name
}

function encodeJoin({ founding, config }: JoinedCluster): string {
  return JSON.stringify({ founding: inBase64(founding), config: inBase64(config) }) + '\n'
}

/** Throws CorruptionError unless the file names the cluster with this founding digest. */
function readJoin(file: string, digest: string): JoinedCluster {
  refuseIrregular(file)
  try {
    const { founding, config } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>
    const cluster = { founding: fromBase64(founding!), config: fromBase64(config!) }
    if (foundingDigest(cluster.founding) === digest) return cluster
  } catch (error) {
    throw new CorruptionError(file, 0, `not the configurations of a cluster (${(error as Error).message})`)
  }
  throw new CorruptionError(file, 0, `its founding digest is not ${digest}`)
}

function inBase64(config: ReplicatedConfig): string {
  return toString(encodeCluster(config), 'base64')
}

function fromBase64(text: string): ReplicatedConfig {
  return decode(clusterConfig, fromString(text, 'base64'))
}

/** Maintains the files of a peer's data directory while it holds the directory's lock. */
class LockedDataDirectory implements DataDirectory {
  readonly logPath: string
  readonly pagesPath: string
  joinedCluster: JoinedCluster | undefined
  private readonly peers: SlotFile
  /** The content of the address file while it cannot be written. */
  private listen: string | undefined

  constructor(
    readonly path: string,
    private readonly lock: FolderLock,
    private identity: Identity
  ) {
    this.logPath = join(path, LOG)
    this.pagesPath = join(path, PAGES)
    for (const folder of [this.logPath, this.pagesPath]) makePart(path, folder)
    if (identity.joined) this.joinedCluster = readJoin(join(path, JOIN), identity.founding)
    this.peers = openSlotFile(join(path, PEERS), PEERS_SLOT_BYTES)
  }

  get clusterId(): string {
    return this.identity.clusterId
  }

  get founding(): string {
    return this.identity.founding
  }

  get incarnation(): string {
    return this.identity.incarnation
  }

  get joined(): boolean {
    return this.identity.joined
  }

  get movedAway(): string[] {
    return readdirSync(this.path).filter((name) => name.startsWith(BEFORE_REJOIN))
  }

  get bootstrapped(): boolean {
    return this.identity.state !== 'starting'
  }

  get admitted(): boolean {
    return this.joined || this.identity.state === 'admitted'
  }

  get remembered(): string {
    return this.peers.text
  }

  becomeMember(cluster: JoinedCluster): void {
    replaceFile(join(this.path, JOIN), encodeJoin(cluster))
    this.joinedCluster = cluster
  }

  completeBootstrap(): void {
    this.become('founded')
  }

  admit(): void {
    this.become('admitted')
  }

  remember(text: string): Promise<void> {
    return this.peers.write(text)
  }

  listenAddresses(wanted: readonly string[]): string[] {
    const known = this.readListen()
    return wanted.map((address) => known[address] ?? address)
  }

  rememberListen(wanted: readonly string[], bound: readonly string[]): void {
    const known = this.readListen()
    const next: Record<string, string> = {}
    for (const [i, address] of wanted.entries()) next[address] = bound[i] ?? address
    this.listen = JSON.stringify(known) === JSON.stringify(next) ? undefined : JSON.stringify(next) + '\n'
    this.writeListen()
  }

  async close(): Promise<void> {
    try {
      this.writeListen()
    } catch {
      // The first failure was reported. The next start chooses its ports anew.
    }
    await this.peers.close()
    await this.lock.release()
  }

  private writeListen(): void {
    if (this.listen === undefined) return
    replaceFile(join(this.path, LISTEN), this.listen)
    this.listen = undefined
  }

  private become(state: Identity['state']): void {
    const identity = { ...this.identity, state }
    replaceFile(join(this.path, IDENTITY), JSON.stringify(identity) + '\n')
    // Only now, because a peer must not act on a state that it could not write.
    this.identity = identity
  }

  private readListen(): Record<string, string> {
    const file = join(this.path, LISTEN)
    refuseIrregular(file)
    if (!existsSync(file)) return {}
    try {
      const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
      if (typeof value === 'object' && value !== null) return value as Record<string, string>
    } catch {
      // The error below names the file.
    }
    throw new CorruptionError(file, 0, 'not a JSON object; move this file away and start the peer again')
  }
}
