/** The data directory of a simulated peer, on disks in memory that forget what a crash would lose. */
import { createMemoryDisk, type DiskOperation, type MemoryDisk } from '@quire/raft'
import {
  createMemoryIdentity,
  createMemoryStorage,
  type JoinedCluster,
  type MemoryIdentity,
  type MemoryStorage,
  type ReplicaStorage
} from '@quire/store/internal'

export interface Folder {
  log: MemoryDisk
  readonly pages: MemoryStorage
  readonly identity: MemoryIdentity
  /** The cluster that it has joined; undefined for the folder of a founding voter. */
  joinedCluster: JoinedCluster | undefined
  /** Its log has been made. Until then, a folder that joins is made anew by the next start. */
  isFounded: boolean
  /** The log has no entry behind this one. */
  last: { readonly term: number; readonly index: number }
}

export interface FolderInit {
  readonly incarnation: string
  readonly joinedCluster: JoinedCluster | undefined
  /** The duration of one disk operation, and of one on the disk of the log. */
  readonly delayMs: () => number
  readonly logDelayMs: (operation: DiskOperation) => number
  /** Calls back after a time, unless the process that uses the folder has ended. */
  readonly later: (delayMs: number, callback: () => void) => void
}

export function makeFolder({ incarnation, joinedCluster, delayMs, logDelayMs, later }: FolderInit): Folder {
  const joined = joinedCluster !== undefined
  return {
    log: createMemoryDisk({ schedule: later, latencyMs: logDelayMs }),
    pages: createMemoryStorage({ schedule: (callback) => later(delayMs() * 3, callback) }),
    identity: createMemoryIdentity({ incarnation, joined, schedule: (callback) => later(delayMs(), callback) }),
    joinedCluster,
    isFounded: false,
    last: { term: 0, index: 0 }
  }
}

/** The incarnation by which the cluster knows the folder; a founding one has none. */
export function incarnationOf({ identity: { joined, incarnation } }: Pick<Folder, 'identity'>): string {
  return joined ? incarnation : ''
}

/** Copies a folder that no process uses: beside it, or to another machine. */
export function copyFolder(
  { log, pages, identity, ...rest }: Folder,
  to?: Pick<FolderInit, 'delayMs' | 'later'>
): Folder {
  if (to === undefined) return { log: log.copy(), pages: pages.copy(), identity: identity.copy(), ...rest }
  const { delayMs, later } = to
  return {
    log: log.copy(later),
    pages: pages.copy((callback) => later(delayMs() * 3, callback)),
    identity: identity.copy((callback) => later(delayMs(), callback)),
    ...rest
  }
}

interface StorageInit extends Pick<ReplicaStorage, 'clusterId' | 'founding' | 'pages'> {
  /** For error messages. */
  readonly name: string
  readonly logDisk: ReplicaStorage['openLogDisk']
}

/** The folder as a process uses it, with disks that are watched. */
export function storageIn(folder: Folder, { name, logDisk, ...init }: StorageInit): ReplicaStorage {
  const { identity, joinedCluster } = folder
  return {
    ...init,
    identity,
    joinedCluster,
    get bootstrapped() {
      return folder.isFounded
    },
    completeBootstrap: () => {
      folder.isFounded = true
    },
    logPath: `${name}/log`,
    pagesPath: `${name}/pages`,
    openLogDisk: logDisk
  }
}
