/** The identity of a data directory: which peer and cluster it belongs to. */
import { existsSync, lstatSync, readFileSync, readdirSync, statSync, type Stats } from 'node:fs'
import { join, resolve } from 'node:path'
import { CorruptionError, NotAuthorizedError, QuireError, VersionMismatchError } from '@quire/protocol'
import { refuseIrregular } from '@quire/raft/node-disk'
import { memberId } from '../state/member-id.js'

/** Raised with every change of a format in the directory that has no version of its own. */
export const FORMAT_VERSION = 3
export const IDENTITY = 'identity.json'
/** The bound addresses. It stays when `--rejoin` moves the rest away, because others know the peer at its port. */
export const LISTEN = 'listen.json'
/** Where `--rejoin` moves what was in the directory, followed by the end of the former incarnation. */
export const BEFORE_REJOIN = 'before-rejoin-'
/** What else a data directory holds, see `data-dir.ts`. */
export const PEERS = 'peers.state'
export const LOG = 'log'
export const PAGES = 'pages'
const PARTS = [PEERS, LOG, PAGES]
/** Without the identity, only the others know which member the directory is. */
const REMEDY =
  'move everything out of the folder, and start the peer with --join and --rejoin (docs/operations.md); quire members list names the directory'
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

export interface Identity {
  readonly version: number
  readonly peerId: string
  readonly clusterId: string
  readonly founding: string
  readonly incarnation: string
  /** The peer joined a cluster that existed with this directory; otherwise it is a founding voter. */
  readonly joined: boolean
  /** `starting`: the log may have no entry yet. `founded`: it has its first entry. `admitted`: the peer may vote. */
  readonly state: 'starting' | 'founded' | 'admitted'
}

/** A peer that wants to use a directory, and the cluster that it is given. */
interface Claim {
  readonly peerId: string
  readonly cluster?: { readonly clusterId: string; readonly digest: string } | undefined
}

/** The peer and the cluster that a data directory belongs to. */
export interface DataDirectoryOwner {
  readonly peerId: string
  readonly clusterId: string
}

/**
 * Checks a directory as `openDataDirectory` does, but takes no lock and writes nothing. Returns its owner, or undefined
 * if a first start may take it. Throws as `openDataDirectory` rejects if no peer of the cluster can start there.
 */
export function inspectDataDirectory(given: string, cluster?: Claim['cluster']): DataDirectoryOwner | undefined {
  const path = resolve(given)
  const found = statOf(path)
  if (found === undefined) return undefined
  if (!found.isDirectory()) throw new DataDirectoryError(path, 'not a directory')
  try {
    const identity = readIdentity(path)
    if (identity === undefined) refuseForeign(path)
    if (identity === undefined || identity.state === 'starting') return undefined
    const { peerId, clusterId, founding } = identity
    checkIdentity(path, identity, { peerId, cluster })
    if (cluster !== undefined && cluster.digest !== founding)
      throw new NotAuthorizedError(peerId, `${path} was founded from another configuration of cluster ${clusterId}`)
    return { peerId, clusterId }
  } catch (error) {
    throw nameFolder(path, error)
  }
}

/**
 * Whether a start that may join a cluster has to ask it: the directory is new, its first start was interrupted, or it
 * is that of the member `rejoins`, and so is to be given up. Throws as `openDataDirectory` rejects.
 */
export function hasToJoin(path: string, rejoins: string): boolean {
  if (statOf(path) === undefined) return true
  const identity = readIdentity(path)
  return identity === undefined || identity.state === 'starting' || memberOfDirectory(identity) === rejoins
}

/** The id of the member whose directory this is. */
export function memberOfDirectory({ peerId, joined, incarnation }: Identity): string {
  return memberId({ peerId, incarnation: joined ? incarnation : '' })
}

/** Undefined if the path does not exist. */
export function statOf(path: string): Stats | undefined {
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

/** Names the directory in an error of the system. */
export function nameFolder(path: string, error: unknown): unknown {
  return isSystemError(error) ? new DataDirectoryError(path, `cannot be used (${error.code})`) : error
}

/** An error of the file system or of the lock's socket. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error
}

/** Throws DataDirectoryError if a directory without an identity holds anything. */
export function refuseForeign(path: string): void {
  const entries = readdirSync(path).filter((name) => !isOurs(path, name))
  if (entries.length === 0) return
  const remedy = entries.some((name) => PARTS.includes(name)) ? `; if it was one: ${REMEDY}` : ''
  throw new DataDirectoryError(path, `not a data directory: it has ${entries[0]} but no ${IDENTITY}${remedy}`)
}

/** True for entries that an empty directory may have. */
function isOurs(path: string, name: string): boolean {
  if (name === LOST_AND_FOUND) return statSync(join(path, name)).isDirectory()
  return name.startsWith('lock-') || name.startsWith(BEFORE_REJOIN) || name === LISTEN || name === `${IDENTITY}.new`
}

export function readIdentity(path: string): Identity | undefined {
  const file = join(path, IDENTITY)
  refuseIrregular(file)
  if (!existsSync(file)) return undefined
  const damaged = (reason: string): CorruptionError => new CorruptionError(file, 0, `${reason}; ${REMEDY}`)
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw damaged(error instanceof SyntaxError ? 'not JSON' : String((error as Error).message))
  }
  const identity = value as Partial<Identity> | null
  if (typeof identity?.version !== 'number') throw damaged('no format version')
  if (identity.version !== FORMAT_VERSION) throw new VersionMismatchError(path, identity.version, FORMAT_VERSION)
  const isKnown = ['starting', 'founded', 'admitted'].includes(String(identity.state))
  const texts = [identity.peerId, identity.clusterId, identity.founding, identity.incarnation]
  if (
    !isKnown ||
    typeof identity.joined !== 'boolean' ||
    texts.some((text) => typeof text !== 'string' || text === '')
  ) {
    throw damaged('fields are missing')
  }
  return identity as Identity
}

export function checkIdentity(path: string, identity: Identity, init: Claim): void {
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
