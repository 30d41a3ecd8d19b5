/**
 * Messages between the peers of a Raft group. The frame's header holds the group's id.
 *
 * The side that opens a stream sends `raftHello`. The other side answers with `raftWelcome`, or with one `raftRefused`
 * before it closes the stream (docs/identity.md). A peer that is no member yet sends `raftJoin` instead, and gets
 * `raftInvited` or `raftRefused` (docs/membership.md, Joining). All other messages may be lost: Raft repeats lost
 * messages, and ignores late and duplicate ones. Comments cite Ongaro, Ousterhout: "In Search of an Understandable
 * Consensus Algorithm", extended version, by § and Figure.
 */
import { bool, bytes, list, oneOf, optional, struct, text, uint, union, type TypeOf } from './codec.js'
import { wireError } from './errors.js'
import { digestText, features } from './hello.js'
import {
  MAX_ADDRESSES,
  MAX_ADDRESS_BYTES,
  MAX_APPEND_BYTES,
  MAX_CONFIGURATION_BYTES,
  MAX_MEMBERS,
  MAX_PAGE_BYTES,
  MAX_PEER_ID_BYTES,
  MAX_RAFT_FRAME_BYTES
} from './limits.js'
import { members } from './members.js'
import { raftRoom } from './room.js'

/** Data of one entry. The rest of the frame is for the surrounding message. */
export const MAX_ENTRY_BYTES = MAX_RAFT_FRAME_BYTES - 4096
/** Data of one piece of a snapshot, unless a single item of it is larger. */
export const MAX_SNAPSHOT_PIECE_BYTES = MAX_APPEND_BYTES
/** Entries in one append, however small they are. */
export const MAX_APPEND_ENTRIES = 4096

/** A PeerId, or the id of a Raft node: a member id (docs/membership.md). */
const nodeId = text(MAX_PEER_ID_BYTES)

/** `normal` is the application's, `config` holds a {@link raftConfiguration}, `noop` opens a leader's term (§8). */
const raftEntryKind = oneOf('normal', 'config', 'noop')
export type RaftEntryKind = TypeOf<typeof raftEntryKind>

export const raftEntry = struct({ index: uint, term: uint, kind: raftEntryKind, data: bytes(MAX_ENTRY_BYTES) })
/** An entry of the replicated log. Indexes start at 1. */
export type RaftEntry = TypeOf<typeof raftEntry>

/** The largest encoding of an entry's other fields, in a message or in the log. */
export const RAFT_ENTRY_OVERHEAD_BYTES = 8 + 8 + 1 + 4
/** The size of an entry for every limit on bytes of entries. */
export function raftEntryBytes(entry: RaftEntry): number {
  return entry.data.length + RAFT_ENTRY_OVERHEAD_BYTES
}

/**
 * The data of a `config` entry: a whole configuration rather than a change of one. `context` belongs to the
 * application; Raft carries it without decoding it.
 */
export const raftConfiguration = struct({
  voters: list(nodeId, MAX_MEMBERS),
  learners: list(nodeId, MAX_MEMBERS),
  /** In a joint configuration: the previous voters, whose majority must agree as well (§6). Otherwise empty. */
  outgoing: list(nodeId, MAX_MEMBERS),
  /** In a joint configuration: the outgoing voters that become learners at its end. Until then they vote. */
  learnersNext: list(nodeId, MAX_MEMBERS),
  context: bytes(MAX_CONFIGURATION_BYTES)
})
export type RaftConfiguration = TypeOf<typeof raftConfiguration>

/**
 * A snapshot replaces all entries up to `index`, whose term is `term`. It holds the configuration at that point (§7).
 */
export const raftSnapshot = struct({
  index: uint,
  term: uint,
  /** The newest `config` entry at or before `index`. */
  configuration: raftEntry
})
export type RaftSnapshot = TypeOf<typeof raftSnapshot>

/** A peer's process and the data directory that it uses. */
const life = {
  /** Drawn at random when the directory is created. */
  incarnation: digestText,
  /** The number of starts. The directory holds it durably before the first hello. */
  boot: uint,
  /** Drawn at random at each start. */
  process: digestText
}

/** The durable state of a data directory. */
const mark = {
  /** The term of the hard state. */
  term: uint,
  lastTerm: uint,
  lastIndex: uint
}
export type RaftMark = Pick<RaftIntroduction, keyof typeof mark>

/** Introduces a peer. `from` must be the identity that the transport has proved. `addresses` are its current ones. */
const raftIntroduction = struct({
  version: uint,
  features,
  clusterId: text(64),
  /** The digest of the configuration that the cluster was founded from. */
  founding: digestText,
  from: nodeId,
  addresses: list(text(MAX_ADDRESS_BYTES), MAX_ADDRESSES),
  ...life,
  /** The directory joined a cluster that existed; otherwise it is that of a founding voter. */
  joined: bool,
  /** The revision of the newest configuration that the sender has applied. */
  revision: uint,
  /** This incarnation votes. */
  admitted: bool,
  /** Here `lastTerm` and `lastIndex` name the last entry of the log, committed or not. */
  ...mark
})
export type RaftIntroduction = TypeOf<typeof raftIntroduction>

/**
 * A peer's record of a member. `lastTerm` and `lastIndex` name the last entry that is known to be committed and on the
 * member's disk. `past` is the part of the record that comes from earlier processes of the member.
 */
export const raftSighting = struct({ member: nodeId, ...life, admitted: bool, ...mark, past: struct(mark) })
export type RaftSighting = TypeOf<typeof raftSighting>

/** The reason why a peer refuses another one. */
const refusalReason = oneOf('version', 'founding', 'membership', 'evidence', 'behind')
export type RefusalReason = TypeOf<typeof refusalReason>

/** All messages on a Raft stream. Tags up to 9 and 30 belong to the links between peers, 21 and 22 to page stores. */
export const raftMessage = union({
  /** The first message on a stream, from the side that has opened it. */
  raftHello: [1, raftIntroduction],
  /** Accepts a hello, with the other side's introduction. */
  raftWelcome: [3, raftIntroduction],
  /**
   * Ends a handshake. `evidence`: the receiver's directory or process is not the one that the sender remembers.
   * `behind`: the receiver knows a newer configuration, by which its directory may be a member; it answers with
   * `raftConfiguration`.
   * `founding` holds the sender's founding configuration if the receiver has another one and is among the sender's
   * voters.
   */
  raftRefused: [
    2,
    struct({ error: wireError, reason: refusalReason, founding: optional(bytes(MAX_CONFIGURATION_BYTES)) })
  ],
  /** The sender's records of other peers, and of itself. */
  raftSeen: [4, struct({ peers: list(raftSighting, MAX_MEMBERS) })],
  /** The leader tells the receiver that its incarnation may vote from now on. */
  raftAdmitted: [5, struct({ incarnation: digestText })],
  /** The addresses that other members have reported to the sender. They are hints. */
  raftAddresses: [6, struct({ members })],
  /** The newest configuration that the sender has applied, for a receiver that has an older one. */
  raftConfiguration: [9, struct({ config: bytes(MAX_CONFIGURATION_BYTES) })],
  /**
   * The sender's state after the `compare` entry at `index` has this hash. The hash is empty if the sender could not
   * compare (docs/storage.md, Scrub and comparison).
   */
  raftCompared: [30, struct({ index: uint, hash: digestText })],

  /**
   * Asks to join, as the first message on a stream. `clusterId` is empty while unknown. Without an `incarnation` the
   * sender has no data directory yet, and only asks whether it is invited. `rejoins` is the id of the member whose
   * directory the sender has lost and whose place it asks for, or empty.
   */
  raftJoin: [
    7,
    struct({
      version: uint,
      features,
      clusterId: text(64),
      from: nodeId,
      incarnation: digestText,
      rejoins: nodeId
    })
  ],
  /**
   * The sender of `raftJoin` is invited. `founding` is the configuration that the cluster was founded from. `config` is
   * the newest one, which lists a directory that has joined. `leader` is the PeerId of the leader, which alone can let
   * the directory join, or empty.
   */
  raftInvited: [
    8,
    struct({ founding: bytes(MAX_CONFIGURATION_BYTES), config: bytes(MAX_CONFIGURATION_BYTES), leader: nodeId })
  ],

  /**
   * RequestVote RPC (Figure 2). The sender is the candidate. `transfer`: the leader has asked it to start the election
   * (thesis §3.10).
   */
  requestVote: [10, struct({ term: uint, lastIndex: uint, lastTerm: uint, transfer: bool })],
  voteReply: [11, struct({ term: uint, granted: bool })],
  /** Asks for a promise to vote (thesis §9.6). `term` is the sender's next term; its own is unchanged so far. */
  requestPreVote: [16, struct({ term: uint, lastIndex: uint, lastTerm: uint })],
  /** `term` is the requested one if granted, otherwise the responder's own. */
  preVoteReply: [17, struct({ term: uint, granted: bool })],
  /** Transfers leadership: the receiver starts an election at once (thesis §3.10). */
  timeoutNow: [18, struct({ term: uint })],
  /** AppendEntries RPC (Figure 2). The sender is the leader. `entries` follow `prevIndex` without a gap. */
  append: [
    12,
    struct({ term: uint, prevIndex: uint, prevTerm: uint, commit: uint, entries: list(raftEntry, MAX_APPEND_ENTRIES) })
  ],
  /**
   * Accepted: the log matches the leader's up to `index`, durably. Rejected: `index` is the `prevIndex` that did not
   * match. `hintIndex` is then the last index at or below it whose term, `hintTerm`, is at most the leader's `prevTerm`
   * (§5.3, end).
   */
  appendReply: [13, struct({ term: uint, rejected: bool, index: uint, hintIndex: uint, hintTerm: uint })],
  /**
   * `commit` is at most the last index that the receiver is known to hold. `round` numbers the leader's quorum rounds
   * (§8, reads).
   */
  heartbeat: [14, struct({ term: uint, commit: uint, round: uint })],
  heartbeatReply: [15, struct({ term: uint, round: uint, room: raftRoom })],
  /** InstallSnapshot RPC (Figure 13): one piece of a snapshot. `crc` is the CRC32C of `data`. */
  snapshot: [
    19,
    struct({
      term: uint,
      snapshot: raftSnapshot,
      offset: uint,
      data: bytes(MAX_ENTRY_BYTES),
      crc: uint,
      done: bool
    })
  ],
  /**
   * The sender wants the piece at `offset` of the snapshot at `index` next. `refused`: it could not install the
   * snapshot.
   */
  snapshotReply: [20, struct({ term: uint, index: uint, offset: uint, refused: bool })],

  /** The sender's copy of the page is damaged (docs/storage.md, Damage). */
  pageWanted: [21, struct({ file: uint, page: uint })],
  /**
   * The sender's copy of the page after the entry at `applied`. Without a `copy`, the page is absent there, or
   * `damaged`. `crc` is the CRC32C of the bytes; empty `bytes` stand for a page of zeros.
   */
  pageCopy: [
    22,
    struct({
      file: uint,
      page: uint,
      applied: uint,
      damaged: bool,
      copy: optional(struct({ version: uint, crc: uint, bytes: bytes(MAX_PAGE_BYTES) }))
    })
  ]
})
export type RaftStreamMessage = TypeOf<typeof raftMessage>

/** The messages that links exchange. They never reach Raft. */
export type RaftLinkMessage = Extract<
  RaftStreamMessage,
  {
    type:
      | 'raftHello'
      | 'raftWelcome'
      | 'raftRefused'
      | 'raftSeen'
      | 'raftAdmitted'
      | 'raftAddresses'
      | 'raftConfiguration'
      | 'raftCompared'
      | 'raftJoin'
      | 'raftInvited'
  }
>
/** The messages between the page stores of a group. Like those of Raft, they may be lost. */
export type PageMessage = Extract<RaftStreamMessage, { type: 'pageWanted' | 'pageCopy' }>
/** The messages that reach Raft itself. */
export type RaftMessage = Exclude<RaftStreamMessage, RaftLinkMessage | PageMessage>
/** The messages of a group. */
export type GroupMessage = RaftMessage | PageMessage
export type RaftMessageOf<T extends RaftMessage['type']> = Extract<RaftMessage, { type: T }>

const LINK_MESSAGES: ReadonlySet<string> = new Set<RaftLinkMessage['type']>([
  'raftHello',
  'raftWelcome',
  'raftRefused',
  'raftSeen',
  'raftAdmitted',
  'raftAddresses',
  'raftConfiguration',
  'raftCompared',
  'raftJoin',
  'raftInvited'
])

export function isPageMessage(message: RaftStreamMessage): message is PageMessage {
  return message.type === 'pageWanted' || message.type === 'pageCopy'
}

export function isRaftLinkMessage(message: RaftStreamMessage): message is RaftLinkMessage {
  return LINK_MESSAGES.has(message.type)
}
