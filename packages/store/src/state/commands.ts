/**
 * What a log entry says. The leader proposes commands; every peer applies them in log order and must come to the same
 * state, so a command carries everything that the outcome depends on, the time included (`at`, stamped by the
 * proposer).
 */
import {
  bytes,
  decode,
  dirtyPage,
  encode,
  f64,
  list,
  members,
  optional,
  requestEntries,
  struct,
  text,
  uint,
  union,
  MAX_PAGE_BYTES,
  MAX_PEER_ID_BYTES,
  MAX_WRITEBACK_PAGES,
  Reader,
  VersionMismatchError,
  type LoggedRequestType,
  type TypeOf
} from '@quire/protocol'

/** Format of log commands. A peer that reads a higher one from its log stops and names both. */
export const COMMAND_VERSION = 1

/** Clients that may connect, when not just any. */
const MAX_CLIENTS = 4096

/**
 * The cluster's configuration: the context of a configuration entry. Every founding voter writes the same bytes as the
 * first one.
 * `clients` is absent where any client may connect.
 */
export const clusterConfig = struct({
  clusterId: text(64),
  voters: members,
  admins: list(text(MAX_PEER_ID_BYTES), 64),
  clients: optional(list(text(MAX_PEER_ID_BYTES), MAX_CLIENTS)),
  /** What every time-out of the cluster derives from (`timingOf`). A later configuration may have another. */
  roundTripMs: uint
})
export type ReplicatedConfig = TypeOf<typeof clusterConfig>

export const command = union({
  /** The session's id is the index of this entry. `clientId` is the client's PeerId. */
  openSession: [1, struct({ clientId: text(MAX_PEER_ID_BYTES), ttlMs: uint, at: f64 })],
  /** The lease ran out: pages, mappings and answers of the session are released and its epochs fenced off. */
  expireSession: [2, struct({ session: uint, at: f64 })],
  endSession: [3, struct({ session: uint, at: f64 })],

  // What sessions ask for. Whoever proposes a truncate or a punch has taken all access to what goes away.
  ...requestEntries({ session: uint, seq: uint, settled: uint, at: f64 }),

  /**
   * Moves ownership of one page, with its bytes when the old owner had unflushed ones: durability and transfer in one
   * entry.
   * `from` 0 is nobody; `to` 0 is nobody. Applies only where (from, fromEpoch) is the page's owner and epoch.
   */
  handover: [
    20,
    struct({
      file: uint,
      page: uint,
      from: uint,
      fromEpoch: uint,
      to: uint,
      seq: uint,
      bytes: optional(bytes(MAX_PAGE_BYTES)),
      at: f64
    })
  ],
  /**
   * Makes an owner's bytes durable; the ownership stays. Each page applies by itself, where owner and epoch match and
   * `seq` is newer.
   */
  writeback: [21, struct({ session: uint, pages: list(dirtyPage, MAX_WRITEBACK_PAGES), at: f64 })]
})
export type Command = TypeOf<typeof command>
export type CommandOf<T extends Command['type']> = Extract<Command, { type: T }>
/** Requests of sessions, as the log carries them. */
export type RequestCommand = CommandOf<LoggedRequestType>

export function encodeCommand(value: Command): Uint8Array {
  return encode(versioned, { version: COMMAND_VERSION, command: value }, capacityOf(value))
}

/**
 * Bytes inside the result are views of `input`. Throws CodecError, or VersionMismatchError for a format that this
 * program does not know: the version is read before anything whose form depends on it.
 */
export function decodeCommand(input: Uint8Array): { readonly version: number; readonly command: Command } {
  const version = new Reader(input).uint()
  if (version > COMMAND_VERSION) throw new VersionMismatchError('log command', version, COMMAND_VERSION)
  return decode(versioned, input)
}

const versioned = struct({ version: uint, command })

function capacityOf(value: Command): number {
  if (value.type === 'writeback') return 64 + value.pages.reduce((sum, page) => sum + page.bytes.length + 32, 0)
  if (value.type === 'handover') return 64 + (value.bytes?.length ?? 0)
  if (value.type === 'truncate') return 128 + (value.tail?.bytes.length ?? 0)
  return 256
}
