/**
 * The file descriptors of this process, and how many of them connections may take. A peer without descriptors for its
 * own files accepts no writes, so the limits of connections follow the limit of open files (docs/ARCHITECTURE.md, "File
 * descriptors").
 */
import { readdirSync } from 'node:fs'
import { QuireError } from '@quire/protocol'
import { DEFAULT_SERVER_LIMITS } from '../server/limits.js'
import { descriptorLimit } from '../internal/descriptor-limit.js'

/**
 * Reserved for the peer itself: 8 for the log, 4 for the pages, and the others for its lock, its listeners, links to
 * other peers and name look-ups.
 */
export const RESERVED_DESCRIPTORS = 64
/** A peer needs at least these: for the other peers, a client, and an operator who asks for the status. */
export const LEAST_CONNECTIONS = 16
/** Assumed to be open if the system does not tell: twice the descriptors of an idle Node.js process. */
const UNKNOWN_OPEN = 48

/** The limit of open files leaves no room for a peer. */
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
  /** Infinity if there is no limit or it is unknown. */
  readonly limit: number
  /** Descriptors that are open now. */
  readonly open: number
}

export interface ConnectionLimits {
  /** Connections whose remote has proved its identity. */
  readonly maxConnections: number
  /** Accepted connections whose remote has not proved its identity yet. */
  readonly maxPendingConnections: number
}

/** Room for a connection of each session, for clients that come back on a new one, and for the other peers. */
export const WANTED_CONNECTIONS: ConnectionLimits = {
  maxConnections: 2 * DEFAULT_SERVER_LIMITS.maxSessions,
  maxPendingConnections: 256
}

/**
 * Returns the wanted limits of connections, or lower ones that fit into the limit of open files. A connection takes one
 * descriptor, and its streams take none. Throws DescriptorLimitError.
 */
export function limitConnections({ limit, open }: Descriptors, wanted: ConnectionLimits): ConnectionLimits {
  const room = limit - open - RESERVED_DESCRIPTORS
  if (room < LEAST_CONNECTIONS) throw new DescriptorLimitError(limit, open + RESERVED_DESCRIPTORS + LEAST_CONNECTIONS)
  const maxPendingConnections = Math.min(wanted.maxPendingConnections, Math.floor(room / 4))
  return { maxConnections: Math.min(wanted.maxConnections, room - maxPendingConnections), maxPendingConnections }
}

/** The descriptors of this process. */
export function descriptors(): Descriptors {
  return { limit: descriptorLimit(), open: countOpen() }
}

function countOpen(): number {
  try {
    // One of them belongs to the folder that is being read.
    return readdirSync(process.platform === 'linux' ? '/proc/self/fd' : '/dev/fd').length - 1
  } catch {
    return UNKNOWN_OPEN
  }
}
