/**
 * File descriptors: how many this process may have, and how many of them strangers may take. Without room for its own
 * files a peer takes no writes, so the limits of connections follow the limit of open files (docs/ARCHITECTURE.md,
 * "File descriptors").
 */
import { readdirSync } from 'node:fs'
import { QuireError } from '@quire/protocol'
import { DEFAULT_SERVER_LIMITS } from '../server/limits.js'
import { descriptorLimit } from './descriptor-limit.js'

/**
 * Kept for the peer itself: 8 for the log, 4 for the pages, its lock and listeners, links to the other peers, look-ups
 * of names.
 */
export const RESERVED_DESCRIPTORS = 64
/** Fewer connections are of no use: the other peers, a client, and somebody who wants to see the status. */
export const LEAST_CONNECTIONS = 16
/** Assumed to be open where the system does not tell: what a Node process holds that does nothing yet, twice over. */
const UNKNOWN_OPEN = 48

/** The limit of open files leaves no room for a peer. One line for people. */
export class DescriptorLimitError extends QuireError {
  override readonly name = 'DescriptorLimitError'
  readonly code = 'ERR_DESCRIPTOR_LIMIT'
  constructor(
    readonly limit: number,
    readonly needed: number
  ) {
    super(`the limit of open files is ${limit}, a peer needs ${needed} at least: raise it (ulimit -n)`, [limit, needed])
  }
}

export interface Descriptors {
  /** Infinity for no limit, or one that is not known. */
  readonly limit: number
  /** Open now. */
  readonly open: number
}

export interface ConnectionLimits {
  /** Connections of remotes that have proved who they are. */
  readonly maxConnections: number
  /** Accepted connections that have not said yet who they are. */
  readonly maxPendingConnections: number
}

/** Room for a connection of each session, for clients that come back on a new one, and for the other peers. */
export const WANTED_CONNECTIONS: ConnectionLimits = {
  maxConnections: 2 * DEFAULT_SERVER_LIMITS.maxSessions,
  maxPendingConnections: 256
}

/**
 * Connections that fit into the limit of open files beside everything else: `wanted`, or less. Every connection takes
 * one descriptor, its streams none. Throws DescriptorLimitError.
 */
export function limitConnections({ limit, open }: Descriptors, wanted: ConnectionLimits): ConnectionLimits {
  const room = limit - open - RESERVED_DESCRIPTORS
  if (room < LEAST_CONNECTIONS) throw new DescriptorLimitError(limit, open + RESERVED_DESCRIPTORS + LEAST_CONNECTIONS)
  const maxPendingConnections = Math.min(wanted.maxPendingConnections, Math.floor(room / 4))
  return { maxConnections: Math.min(wanted.maxConnections, room - maxPendingConnections), maxPendingConnections }
}

/** Of this process. */
export function descriptors(): Descriptors {
  return { limit: descriptorLimit(), open: countOpen() }
}

function countOpen(): number {
  try {
    // One of them is the folder's own.
    return readdirSync(process.platform === 'linux' ? '/proc/self/fd' : '/dev/fd').length - 1
  } catch {
    return UNKNOWN_OPEN
  }
}
