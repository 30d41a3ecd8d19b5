/**
 * The content of log entries. The leader proposes commands, and each peer applies them in the order of the log.
 *
 * All peers must reach the same state, so a command carries everything that its outcome depends on. This includes the
 * time (`at`), which the proposer sets.
 */
import {
  answerStart,
  byteRanges,
  bytes,
  decode,
  digestText,
  pageWrite,
  encode,
  f64,
  list,
  memberAddress,
  optional,
  requestEntries,
  struct,
  text,
  uint,
  union,
  MAX_ADDRESSES,
  MAX_MEMBERS,
  MAX_PAGE_BYTES,
  MAX_PEER_ID_BYTES,
  MAX_RUN_PAGES,
  MAX_WRITEBACK_PAGES,
  Reader,
  VersionMismatchError,
  type Codec,
  type LoggedRequestType,
  type PageWrite,
  type TypeOf
} from '@quire/protocol'

/** The format of commands. A peer that finds a higher one in its log stops, and names both formats. */
export const COMMAND_VERSION = 3

/** Limits the list of clients that may connect. */
export const MAX_CLIENTS = 4096
/** Limits the list of clients that may not. */
export const MAX_DENIED = 1024
export const MAX_ADMINS = 64

/**
 * A member of the cluster, whether it votes or learns. The Raft configuration alone says which of the two.
 */
const configMember = struct({
  peerId: text(MAX_PEER_ID_BYTES),
  /**
   * The incarnation of the data directory with which the member joined. Empty for a founding member: all founders write
   * this configuration before they know each other's directories.
   */
  incarnation: digestText,
  addresses: list(memberAddress, MAX_ADDRESSES)
})
export type ConfigMember = TypeOf<typeof configMember>

/** A peer that an admin has invited, and that has not joined or not taken its place yet. */
const invitation = struct({
  peerId: text(MAX_PEER_ID_BYTES),
  addresses: list(memberAddress, MAX_ADDRESSES),
  /** Id of the member whose place the peer takes when it has caught up; empty if it takes none. */
  replaces: text(MAX_PEER_ID_BYTES)
})
export type Invitation = TypeOf<typeof invitation>

const MAX_CHANGE_BYTES = 512

/**
 * The configuration of the cluster, which is the context of a configuration entry. All founding voters write the same
 * bytes for the first one. `clients` is absent if any client may connect.
 */
export const clusterConfig = struct({
  clusterId: text(64),
  members: list(configMember, MAX_MEMBERS),
  invited: list(invitation, MAX_MEMBERS),
  admins: list(text(MAX_PEER_ID_BYTES), MAX_ADMINS),
  clients: optional(list(text(MAX_PEER_ID_BYTES), MAX_CLIENTS)),
  /** They may not connect, whatever `clients` says. */
  denied: list(text(MAX_PEER_ID_BYTES), MAX_DENIED),
  /** All timeouts of the cluster derive from this number (`timingOf`). A later configuration may change it. */
  roundTripMs: uint,
  /** The number of changes since the founding. The configuration with the highest number is the newest one. */
  revision: uint,
  /** The newest change, in words, and the PeerId that has asked for it. Both are empty at the founding. */
  change: struct({ by: text(MAX_PEER_ID_BYTES), what: text(MAX_CHANGE_BYTES) })
})
export type ReplicatedConfig = TypeOf<typeof clusterConfig>

/** The fields that a founding configuration cannot choose. */
export const NOTHING_CHANGED: Pick<ReplicatedConfig, 'invited' | 'denied' | 'revision' | 'change'> = {
  invited: [],
  denied: [],
  revision: 0,
  change: { by: '', what: '' }
}

/** What a page's owner had not flushed: the page, or with `ranges` a diff, as in `pageWrite`. */
export type Unflushed = Pick<PageWrite, 'seq' | 'ranges' | 'bytes'>
const unflushed: Codec<Unflushed> = struct({ seq: uint, ranges: optional(byteRanges), bytes: bytes(MAX_PAGE_BYTES) })

export const command = union({
  /** Opens a session, whose id is the index of the entry. `clientId` is the PeerId of the client. */
  openSession: [1, struct({ clientId: text(MAX_PEER_ID_BYTES), ttlMs: uint, at: f64 })],
  /** Ends a session whose lease has run out, and releases its pages under new epochs, its mappings and its answers. */
  expireSession: [2, struct({ session: uint, at: f64 })],
  endSession: [3, struct({ session: uint, at: f64 })],
  /**
   * Changes nothing. Each peer checkpoints the state after this very entry, and compares it with those of the others
   * (docs/storage.md, Scrub and comparison).
   */
  compare: [4, struct({ at: f64 })],

  // Requests of sessions. Before a leader proposes a truncate or a punch, it revokes all access to the discarded pages.
  ...requestEntries({ session: uint, seq: uint, settled: uint, at: f64 }),

  /**
   * Transfers the ownership of the pages from `page` on, with the unflushed bytes of the old owner where there are any,
   * so that one entry makes them durable and transfers the page. Session 0 as `from` or `to` stands for no owner. Each
   * page applies separately, if `from` and `fromEpoch` are its owner and epoch, and a diff has its base.
   */
  handover: [
    20,
    struct({
      file: uint,
      page: answerStart,
      from: uint,
      fromEpoch: uint,
      to: uint,
      pages: list(optional(unflushed), MAX_RUN_PAGES),
      at: f64
    })
  ],
  /**
   * Makes bytes of an owner durable, which keeps the pages. Each page applies separately, if owner and epoch match and
   * `seq` is newer, or, for a diff, the next.
   */
  writeback: [21, struct({ session: uint, pages: list(pageWrite, MAX_WRITEBACK_PAGES), at: f64 })]
})
export type Command = TypeOf<typeof command>
export type CommandOf<T extends Command['type']> = Extract<Command, { type: T }>
/** The requests of sessions in the log. */
export type RequestCommand = CommandOf<LoggedRequestType>

export function encodeCommand(value: Command): Uint8Array {
  return encode(versioned, { version: COMMAND_VERSION, command: value }, capacityOf(value))
}

/**
 * Decodes a command, whose bytes are views of `input`. Throws CodecError, or VersionMismatchError for a later format.
 */
export function decodeCommand(input: Uint8Array): { readonly version: number; readonly command: Command } {
  // Before the rest, whose form may depend on the version.
  const version = new Reader(input).uint()
  if (version > COMMAND_VERSION) throw new VersionMismatchError('log command', version, COMMAND_VERSION)
  return decode(versioned, input)
}

const versioned = struct({ version: uint, command })

function capacityOf(value: Command): number {
  if (value.type === 'writeback') return 64 + value.pages.reduce((sum, page) => sum + page.bytes.length + 32, 0)
  if (value.type === 'handover') return 64 + value.pages.reduce((sum, page) => sum + (page?.bytes.length ?? 0) + 16, 0)
  if (value.type === 'truncate') return 128 + (value.tail?.bytes.length ?? 0)
  return 256
}
