/**
 * A peer's data directory.
 *
 * | entry | holds |
 * |---|---|
 * | `identity.json` | format version, PeerId, cluster id, founding digest, incarnation, and how far the first start has come |
 * | `peers.state` | how often the folder was started, and what the peer remembers of the others (docs/identity.md) |
 * | `listen.json` | the addresses that were bound, so that a port that was chosen once is bound again |
 * | `log/` | the Raft log |
 * | `pages/` | the page store's checkpoints |
 * | `lock-*` | a socket for as long as a process uses the directory |
 */
import { existsSync, lstatSync, readFileSync, readdirSync, rmSync, statSync, type Stats } from 'node:fs'
import { join, resolve } from 'node:path'
import { CorruptionError, NotAuthorizedError, QuireError, VersionMismatchError } from '@quire/protocol'
import { refuseIrregular } from '@quire/raft/node-disk'
import { randomBytes } from 'node:crypto'
import { folderProblem, makeFolder, removeEmptyFolders, replaceFile, syncFolder } from './durable.js'
import { lockFolder, type FolderLock } from './folder-lock.js'
import type { IdentityStorage } from './identity.js'
import { openSlotFile, type SlotFile } from './slot-file.js'

/** Raised with every change of a format in the directory that has no version of its own. */
const FORMAT_VERSION = 2
const IDENTITY = 'identity.json'
const LISTEN = 'listen.json'
const PEERS = 'peers.state'
/** Room for the longest text that an identity remembers; see `identity.ts`. */
export const PEERS_SLOT_BYTES = 524_288
const LOG = 'log'
const PAGES = 'pages'
/** mkfs leaves this in a new file system. A mount point with nothing else is empty. */
const LOST_AND_FOUND = 'lost+found'

/** The directory cannot be used as asked. The reason is one line of text for an operator. */
export class DataDirectoryError extends QuireError {
  override readonly name = 'DataDirectoryError'
  readonly code = 'ERR_DATA_DIRECTORY'
  constructor(
    readonly path: string,
    readonly reason: string
  ) {
    super(`${path}: ${reason}`, [path, reason])
  }
}

export interface DataDirectoryInit {
  readonly path: string
  /** The peer that wants to use it. */
  readonly peerId: string
  /** Given at the first start. At a later start it must be the cluster of the directory. */
  readonly cluster?: { readonly clusterId: string; readonly digest: string }
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

interface Identity {
  readonly version: number
  readonly peerId: string
  readonly clusterId: string
  readonly founding: string
  readonly incarnation: string
  /** `starting`: the log may have no entry yet. `founded`: it has its first entry. `admitted`: the peer may vote. */
  readonly state: 'starting' | 'founded' | 'admitted'
}

/**
 * Locks the directory and checks that it belongs to this peer and cluster. Makes it if it does not exist and a cluster
 * is given. Rejects with FolderInUseError, NotAuthorizedError (the directory of another peer or cluster),
 * DataDirectoryError, CorruptionError or VersionMismatchError.
 */
export async function openDataDirectory(init: DataDirectoryInit): Promise<DataDirectory> {
  const path = resolve(init.path)
  const found = statOf(path)
  if (found === undefined && init.cluster === undefined)
    throw new DataDirectoryError(path, `no such directory, and ${NO_CLUSTER}`)
  if (found?.isDirectory() === false) throw new DataDirectoryError(path, 'not a directory')
  const made = found === undefined ? make(path) : []
  let lock: FolderLock | undefined
  try {
    lock = await lockFolder(path)
    const identity = readIdentity(path)
    if (identity !== undefined) checkIdentity(path, identity, init)
    const isFounded = identity !== undefined && identity.state !== 'starting'
    return new LockedDataDirectory(path, lock, isFounded ? identity : await begin(path, identity, init))
  } catch (error) {
    await lock?.release()
    removeEmptyFolders(made)
    throw isSystemError(error) ? new DataDirectoryError(path, `cannot be used (${error.code})`) : error
  }
}

const NO_CLUSTER = "a first start needs the cluster's configuration (--cluster)"

/** Undefined if the path does not exist. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // A parent of the path is a file. The error of `makeFolder` names that file.
    if (code === 'ENOTDIR') return undefined
    if (code !== 'ENOENT') throw new DataDirectoryError(path, `cannot be read (${code})`)
  }
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined
  throw new DataDirectoryError(path, 'a symbolic link that leads nowhere')
}

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

/** An error of the file system or of the lock's socket. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error
}

/**
 * Begins a new directory, or one whose first start was interrupted: such a peer has promised nothing to another peer.
 */
async function begin(path: string, found: Identity | undefined, init: DataDirectoryInit): Promise<Identity> {
  if (found === undefined) {
    const entries = readdirSync(path).filter((name) => !isOurs(path, name))
    if (entries.length > 0)
      throw new DataDirectoryError(path, `not a data directory: it has ${entries[0]} but no ${IDENTITY}`)
  }
  if (init.cluster === undefined) {
    const what = found === undefined ? 'empty' : 'its first start was interrupted'
    throw new DataDirectoryError(path, `${what}, and ${NO_CLUSTER}`)
  }
  await init.beforeFounding?.()
  const identity: Identity = {
    version: FORMAT_VERSION,
    peerId: init.peerId,
    clusterId: init.cluster.clusterId,
    founding: init.cluster.digest,
    // The newer of two incarnations sorts after the older one (docs/identity.md, Admission).
    incarnation: Date.now().toString(16).padStart(12, '0') + randomBytes(10).toString('hex'),
    state: 'starting'
  }
  // First, so that the directory of an interrupted start differs from a foreign directory.
  replaceFile(join(path, IDENTITY), JSON.stringify(identity) + '\n')
  for (const name of [LOG, PAGES, PEERS]) rmSync(join(path, name), { recursive: true, force: true })
  syncFolder(path)
  return identity
}

/** True for entries that an empty directory may have. */
function isOurs(path: string, name: string): boolean {
  if (name === LOST_AND_FOUND) return statSync(join(path, name)).isDirectory()
  return name.startsWith('lock-') || name === `${IDENTITY}.new`
}

function readIdentity(path: string): Identity | undefined {
  const file = join(path, IDENTITY)
  refuseIrregular(file)
  if (!existsSync(file)) return undefined
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new CorruptionError(file, 0, error instanceof SyntaxError ? 'not JSON' : String((error as Error).message))
  }
  const identity = value as Partial<Identity> | null
  if (typeof identity?.version !== 'number') throw new CorruptionError(file, 0, 'no format version')
  if (identity.version !== FORMAT_VERSION) throw new VersionMismatchError(path, identity.version, FORMAT_VERSION)
  const isKnown = ['starting', 'founded', 'admitted'].includes(String(identity.state))
  const texts = [identity.peerId, identity.clusterId, identity.founding, identity.incarnation]
  if (!isKnown || texts.some((text) => typeof text !== 'string' || text === '')) {
    throw new CorruptionError(file, 0, 'fields are missing')
  }
  return identity as Identity
}

function checkIdentity(path: string, identity: Identity, init: DataDirectoryInit): void {
  if (identity.peerId !== init.peerId) {
    throw new NotAuthorizedError(init.peerId, `${path} belongs to peer ${identity.peerId}`)
  }
  // An interrupted start may be repeated for another cluster, because the first one exchanged no entry.
  if (identity.state === 'starting' || init.cluster === undefined) return
  const { clusterId } = init.cluster
  if (clusterId !== identity.clusterId) {
    throw new NotAuthorizedError(init.peerId, `${path} belongs to cluster ${identity.clusterId}, not ${clusterId}`)
  }
}

/** Maintains the files of a peer's data directory while it holds the directory's lock. */
class LockedDataDirectory implements DataDirectory {
  readonly logPath: string
  readonly pagesPath: string
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

  get bootstrapped(): boolean {
    return this.identity.state !== 'starting'
  }

  get admitted(): boolean {
    return this.identity.state === 'admitted'
  }

  get remembered(): string {
    return this.peers.text
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
