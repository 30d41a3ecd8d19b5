/**
 * Messages between the peers of a Raft group. The group's id is in the frame's header.
 *
 * The side that opens a stream sends `raftHello`. The other side answers with `raftWelcome`, or with one `raftRefused`
 * before it closes the stream (docs/identity.md). Everything else is lossy by contract: Raft repeats what is lost and
 * ignores what is late or doubled (Ongaro, Ousterhout: "In Search of an Understandable Consensus Algorithm", extended
 * version, cited below by § and Figure).
 */
import { members } from './client-messages.js'
import { bool, bytes, list, oneOf, optional, struct, text, uint, union, type TypeOf } from './codec.js'
import { wireError } from './errors.js'
import { digestText, features } from './hello.js'
import {
  MAX_ADDRESSES,
  MAX_ADDRESS_BYTES,
  MAX_APPEND_BYTES,
  MAX_FOUNDING_BYTES,
  MAX_MEMBERS,
  MAX_PEER_ID_BYTES,
  MAX_RAFT_FRAME_BYTES
} from './limits.js'
import { raftRoom } from './room.js'

/** Data of one entry. The rest of a frame is for the message around it. */
export const MAX_ENTRY_BYTES = MAX_RAFT_FRAME_BYTES - 4096
/** Data of one piece of a snapshot. */
export const MAX_SNAPSHOT_PIECE_BYTES = MAX_APPEND_BYTES
/** Entries in one append, however small they are. */
export const MAX_APPEND_ENTRIES = 4096

const nodeId = text(MAX_PEER_ID_BYTES)

/** `normal` is the application's, `config` holds a {@link raftConfiguration}, `noop` opens a leader's term (§8). */
export const raftEntryKind = oneOf('normal', 'config', 'noop')
export type RaftEntryKind = TypeOf<typeof raftEntryKind>

export const raftEntry = struct({ index: uint, term: uint, kind: raftEntryKind, data: bytes(MAX_ENTRY_BYTES) })
/** An entry of the replicated log. Indexes start at 1. */
export type RaftEntry = TypeOf<typeof raftEntry>

/** What surrounds an entry's data in a message or in the log, at most. */
export const RAFT_ENTRY_OVERHEAD_BYTES = 8 + 8 + 1 + 4
/** What an entry counts for wherever bytes of entries are limited. */
export function raftEntryBytes(entry: RaftEntry): number {
  return entry.data.length + RAFT_ENTRY_OVERHEAD_BYTES
}

/**
 * Data of a `config` entry: a whole configuration, not a change of one. Raft carries `context`, which is the
 * application's, and never looks inside.
 */
export const raftConfiguration = struct({
  voters: list(nodeId, MAX_MEMBERS),
  learners: list(nodeId, MAX_MEMBERS),
  /** Of a joint configuration: the voters before it, who must agree as well (§6). Otherwise empty. */
  outgoing: list(nodeId, MAX_MEMBERS),
  /** Of a joint configuration: outgoing voters who become learners when it is left; until then they vote. */
  learnersNext: list(nodeId, MAX_MEMBERS),
  context: bytes(MAX_ENTRY_BYTES / 2)
})
export type RaftConfiguration = TypeOf<typeof raftConfiguration>

/**
 * What a snapshot stands for: all entries up to `index`, which is of `term`, and the configuration in force there (§7).
 */
export const raftSnapshot = struct({
  index: uint,
  term: uint,
  /** The newest `config` entry at or before `index`. */
  configuration: raftEntry
})
export type RaftSnapshot = TypeOf<typeof raftSnapshot>

/** What a peer says of the process that speaks and of the folder that it uses. */
const life = {
  /** Made with the folder, at random. */
  incarnation: digestText,
  /** Raised durably in the folder at each start, before the first hello. */
  boot: uint,
  /** Made at each start, at random. */
  process: digestText
}

/** What a folder has on its disk for good. */
const mark = {
  /** The term of its hard state. */
  term: uint,
  lastTerm: uint,
  lastIndex: uint
}
export type RaftMark = Pick<RaftIntroduction, keyof typeof mark>

/** Introduces a peer. `from` must be the identity that the transport proved; `addresses` are where it listens now. */
export const raftIntroduction = struct({
  version: uint,
  features,
  clusterId: text(64),
  /** Digest of the configuration that the cluster was founded from. */
  founding: digestText,
  from: nodeId,
  addresses: list(text(MAX_ADDRESS_BYTES), MAX_ADDRESSES),
  ...life,
  /** This incarnation takes part in votes. */
  admitted: bool,
  /** `lastTerm` and `lastIndex` name the last entry of the log, committed or not. */
  ...mark
})
export type RaftIntroduction = TypeOf<typeof raftIntroduction>

/**
 * What a peer remembers of another one. `lastTerm` and `lastIndex` name the last entry that is known to be committed
 * and on the other's disk. `past` is the part of that which is known from earlier processes than the one named.
 */
export const raftSighting = struct({ peerId: nodeId, ...life, admitted: bool, ...mark, past: struct(mark) })
export type RaftSighting = TypeOf<typeof raftSighting>

/** Why a peer refuses another one. */
export const refusalReason = oneOf('version', 'founding', 'membership', 'evidence')
export type RefusalReason = TypeOf<typeof refusalReason>

/** Everything that travels on a Raft stream. Tags up to 9 belong to the links between peers, not to Raft. */
export const raftMessage = union({
  /** First on a stream, from the side that opened it. */
  raftHello: [1, raftIntroduction],
  /** Answers a hello that was accepted: the other side's introduction. */
  raftWelcome: [3, raftIntroduction],
  /**
   * Ends a handshake. `evidence`: the receiver's folder or process is not the one that the sender remembers. `founding`
   * holds the sender's founding configuration when the receiver has another one and is a voter of the sender's.
   */
  raftRefused: [2, struct({ error: wireError, reason: refusalReason, founding: optional(bytes(MAX_FOUNDING_BYTES)) })],
  /** What the sender remembers of others, and of itself. */
  raftSeen: [4, struct({ peers: list(raftSighting, MAX_MEMBERS) })],
  /** A leader lets the receiver's incarnation take part from now on. */
  raftAdmitted: [5, struct({ incarnation: digestText })],
  /** Where other members listen, as they have told the sender themselves. Hints. */
  raftAddresses: [6, struct({ members })],

  /**
   * RequestVote RPC (Figure 2). The candidate is the sender. `transfer`: the leader asked it to stand (thesis §3.10).
   */
  requestVote: [10, struct({ term: uint, lastIndex: uint, lastTerm: uint, transfer: bool })],
  voteReply: [11, struct({ term: uint, granted: bool })],
  /** Would you vote for me (thesis §9.6)? `term` is the one that the sender would have; it has not raised its own. */
  requestPreVote: [16, struct({ term: uint, lastIndex: uint, lastTerm: uint })],
  /** Granted: `term` is the one that was asked for. Refused: the receiver's own. */
  preVoteReply: [17, struct({ term: uint, granted: bool })],
  /** The leader gives leadership away: stand now (thesis §3.10). */
  timeoutNow: [18, struct({ term: uint })],
  /** AppendEntries RPC (Figure 2). `entries` follow `prevIndex` without a gap. The leader is the sender. */
  append: [
    12,
    struct({ term: uint, prevIndex: uint, prevTerm: uint, commit: uint, entries: list(raftEntry, MAX_APPEND_ENTRIES) })
  ],
  /**
   * Accepted: the log matches the leader's up to `index`, durably. Rejected: `index` is the `prevIndex` that did not
   * match, and `hintIndex` the last one at or below it whose term, `hintTerm`, is not above the leader's `prevTerm`
   * (§5.3, end).
   */
  appendReply: [13, struct({ term: uint, rejected: bool, index: uint, hintIndex: uint, hintTerm: uint })],
  /**
   * `commit` is at most what the receiver is known to hold. `round` numbers the quorum rounds of a leader (§8, reads).
   */
  heartbeat: [14, struct({ term: uint, commit: uint, round: uint })],
  heartbeatReply: [15, struct({ term: uint, round: uint, room: raftRoom })],
  /** InstallSnapshot RPC (Figure 13): one piece. `crc` is the CRC32C of `data`. */
  snapshot: [
    19,
    struct({
      term: uint,
      snapshot: raftSnapshot,
      offset: uint,
      data: bytes(MAX_SNAPSHOT_PIECE_BYTES),
      crc: uint,
      done: bool
    })
  ],
  /**
   * `offset` is the piece that the sender wants next of the snapshot at `index`. `refused`: it could not be installed.
   */
  snapshotReply: [20, struct({ term: uint, index: uint, offset: uint, refused: bool })]
})
export type RaftStreamMessage = TypeOf<typeof raftMessage>

/** The messages between links; they never reach Raft. */
export type RaftLinkMessage = Extract<
  RaftStreamMessage,
  { type: 'raftHello' | 'raftWelcome' | 'raftRefused' | 'raftSeen' | 'raftAdmitted' | 'raftAddresses' }
>
/** The messages that reach Raft itself. */
export type RaftMessage = Exclude<RaftStreamMessage, RaftLinkMessage>
export type RaftMessageOf<T extends RaftMessage['type']> = Extract<RaftMessage, { type: T }>

const LINK_MESSAGES: ReadonlySet<string> = new Set<RaftLinkMessage['type']>([
  'raftHello',
  'raftWelcome',
  'raftRefused',
  'raftSeen',
  'raftAdmitted',
  'raftAddresses'
])

export function isRaftLinkMessage(message: RaftStreamMessage): message is RaftLinkMessage {
  return LINK_MESSAGES.has(message.type)
}
