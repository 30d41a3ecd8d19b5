/**
 * Messages between a client and the leader of a Raft group.
 *
 * A client has two streams to the leader. *Control* carries small messages that must not wait, and *bulk* carries page
 * bytes. Nothing relies on the order between the two streams. A message that must follow another one names it: `after`
 * names the preceding grant, acknowledgments name their operation or their epoch and sequence, and every message from
 * the leader names its term.
 *
 * A connection opens with hello → welcome on control, hello → attached on bulk, and register → registered on control.
 * The client learns the leader's term from the welcome *before* it registers, which fences the previous leader
 * (docs/coherence.md, rule 3).
 *
 * A message about neighboring pages is a run: page `page` + i has the request `req` + i, or the operation `op` + i. A
 * run means the same as one message for each of its pages, in order. `page-runs.ts` joins messages to runs.
 */
import { CodecError, bool, list, oneOf, optional, struct, text, uint, union, type Codec, type TypeOf } from './codec.js'
import { wireError } from './errors.js'
import { fileStat, pageBytes, pageWrite, writeResult } from './files.js'
import { digestText, features } from './hello.js'
import { MAX_MEMBERS, MAX_PEER_ID_BYTES, MAX_REASON_BYTES, MAX_SENT_SNAPSHOTS } from './limits.js'
import { adminChange, members } from './members.js'
import { REQUESTS, requestMessages, type RequestKind, type RequestType, type RequestTypeOf } from './requests.js'
import { raftRoom } from './room.js'

/** Access rules in one message: with the longest ids, they fit a control frame. */
export const MAX_RULES = 256

/** The limit of pages in one writeback message: one bulk frame holds this many of the smallest size. */
export const MAX_WRITEBACK_PAGES = 64

/** The limit of pages in one run. Those with bytes are limited by the size of a bulk frame, too. */
export const MAX_RUN_PAGES = 256

/** The limit of runs in one message about dropped copies. */
export const MAX_DROPPED_RUNS = 64

/** The number of pages in a run. */
const runLength = uintWithin(1, MAX_RUN_PAGES)
/**
 * The first page, request or operation of a run that a client sends. The bound leaves room for the length of the run,
 * and for that of an answer that begins at its last page ({@link answerStart}).
 */
const runStart = uintWithin(0, Number.MAX_SAFE_INTEGER - 2 * MAX_RUN_PAGES)
export const answerStart = uintWithin(0, Number.MAX_SAFE_INTEGER - MAX_RUN_PAGES)

function uintWithin(min: number, max: number): Codec<number> {
  const check = (value: number): number => {
    if (value < min || value > max) throw new CodecError(`${value} is not between ${min} and ${max}`)
    return value
  }
  return {
    minBytes: uint.minBytes,
    write: (writer, value) => uint.write(writer, check(value)),
    read: (reader) => check(uint.read(reader))
  }
}

/** A peer's role in its Raft group. */
export const role = oneOf('leader', 'follower', 'candidate', 'learner')
export type Role = TypeOf<typeof role>

/** What a peer knows of the states of all voters. */
export const comparisonOutcome = oneOf('pending', 'equal', 'incomplete', 'differs')
export type ComparisonOutcome = TypeOf<typeof comparisonOutcome>

export const access = oneOf('read', 'write')
export type Access = TypeOf<typeof access>

/** The messages that a client sends. */
export const clientMessage = union({
  // -- handshake
  /**
   * The first message on each stream. `clusterId` and `founding` are empty until the client learns them, unless
   * `founding` is pinned. `fence` is the highest term that the client has seen. `attach` is the welcome's, on bulk
   * only.
   */
  hello: [
    1,
    struct({
      version: uint,
      features,
      clusterId: text(64),
      founding: digestText,
      lane: oneOf('control', 'bulk'),
      fence: uint,
      attach: uint
    })
  ],
  /** Registers the client. `session` 0 requests a new session. */
  register: [2, struct({ session: uint, ttlMs: uint })],
  keepAlive: [3, struct({ nonce: uint })],
  /** Asks for a sign of life. It does not affect the lease. */
  ping: [4, struct({})],
  /**
   * The total of frame bytes received on bulk, without its handshake (`attached`, `hello`). The leader sends the same.
   */
  bulkReceived: [5, struct({ bytes: uint })],

  // -- requests
  ...requestMessages,

  // -- coherence
  /**
   * Faults that the leader must resolve. `have` is the version of the readable copies that the client holds at the
   * moment of sending, or 0 for none; the leader sends no bytes if that version is current. A session has at most one
   * outstanding fault for each page.
   */
  fault: [20, struct({ req: runStart, file: uint, page: runStart, count: runLength, access, have: uint })],
  invalidateAck: [21, struct({ op: runStart, file: uint, page: runStart, count: runLength })],
  /**
   * Answers revokes or downgrades without bytes. `held` is false if the session never got the grants or has dropped the
   * pages.
   */
  ownerAck: [22, struct({ op: runStart, file: uint, page: runStart, count: runLength, held: bool })],
  /** Answers revokes or downgrades, from `op` on, with bytes that may not be durable yet. Bulk. */
  ownerAckDirty: [23, struct({ op: runStart, pages: list(pageWrite, MAX_WRITEBACK_PAGES) })],
  /** The client holds no copy of these pages of the file, and has no fault outstanding for them. */
  dropped: [27, struct({ file: uint, runs: list(struct({ page: runStart, count: runLength }), MAX_DROPPED_RUNS) })],
  /** No page of the range is accessible at this client any longer. */
  discardAck: [25, struct({ op: uint, file: uint })],
  /**
   * Writes dirty pages back for msync or reclaim, without giving up ownership. Bulk. The credit from `registered`
   * limits it.
   */
  writeback: [24, struct({ req: uint, pages: list(pageWrite, MAX_WRITEBACK_PAGES) })],

  // -- operations
  /** Replaces hello as the only message of a control stream. Any peer answers, leader or not. */
  status: [30, struct({ version: uint, seq: uint })],
  /**
   * Replaces hello as the only message of a control stream. The leader makes the change if the sender is an admin.
   * `founding` is empty unless the sender pins it.
   */
  administer: [31, struct({ version: uint, founding: digestText, change: adminChange })],
  /** Replaces hello as the only message of a control stream. Asks for the access rules of ids after `after`. */
  access: [32, struct({ version: uint, after: text(MAX_PEER_ID_BYTES) })],
  /** Replaces hello as the only message of a control stream. Asks the leader for the members and their progress. */
  roster: [33, struct({ version: uint })]
})
export type ClientMessage = TypeOf<typeof clientMessage>

/** The outcome of one page's writeback. */
const writebackOutcome = struct({
  file: uint,
  page: uint,
  epoch: uint,
  seq: uint,
  /** The version of the page that contains the bytes; 0 unless they are stored. */
  version: uint,
  result: writeResult
})
export type WritebackOutcome = TypeOf<typeof writebackOutcome>

const operation = { term: uint, op: answerStart, file: uint, page: answerStart, count: runLength, after: answerStart }

/**
 * What a grant says of one page. Without `bytes`, the copy that the request named is current; empty `bytes` stand for a
 * page of zeros.
 */
const grantedPage = struct({ version: uint, bytes: optional(pageBytes) })
export type GrantedPage = TypeOf<typeof grantedPage>

/** The messages that the leader sends. During the handshake any peer may send them. */
export const leaderMessage = union({
  // -- handshake
  /**
   * Accepts a hello. `founding` is the digest of the configuration that the cluster was founded from. `members` have
   * their current addresses. `roundTripMs`: see `timingOf`.
   */
  welcome: [
    1,
    struct({
      version: uint,
      features,
      clusterId: text(64),
      founding: digestText,
      term: uint,
      leader: text(MAX_PEER_ID_BYTES),
      members,
      roundTripMs: uint,
      attach: uint
    })
  ],
  attached: [2, struct({})],
  /**
   * The sender is not the leader, or is not ready yet if `leader` is empty. `role` is the sender's. The sender then
   * closes the stream.
   */
  redirect: [
    3,
    struct({
      clusterId: text(64),
      founding: digestText,
      term: uint,
      role,
      leader: text(MAX_PEER_ID_BYTES),
      members,
      roundTripMs: uint
    })
  ],
  /** Refuses the client. The sender then closes the stream. */
  refused: [4, struct({ error: wireError })],
  /**
   * Accepts a registration. `ttlMs` is the session's time to live, which may be longer than requested. `creditBytes`
   * limits the page bytes in unacknowledged writebacks, and `maxFaults` the outstanding faults. The client stays within
   * both.
   */
  registered: [5, struct({ term: uint, session: uint, ttlMs: uint, creditBytes: uint, maxFaults: uint })],
  /** The requested session has ended. */
  expired: [6, struct({ session: uint })],
  /** Acknowledges a keep-alive. A majority has confirmed the leader after the keep-alive arrived. */
  keepAliveAck: [7, struct({ term: uint, nonce: uint })],
  /** Answers a ping at once, without a quorum round. */
  pong: [8, struct({})],
  bulkReceived: [9, struct({ bytes: uint })],
  /** Tells a client with a session that the members of the welcome have changed. */
  members: [14, struct({ members })],

  // -- answers to requests
  opened: [10, struct({ seq: uint, stat: fileStat })],
  files: [11, struct({ seq: uint, files: list(fileStat, 1024), done: bool })],
  done: [12, struct({ seq: uint })],
  failed: [13, struct({ seq: uint, error: wireError })],
  /** CRC-32C. */
  checksum: [15, struct({ seq: uint, checksum: uint })],

  // -- coherence
  /**
   * Resolves the faults from `req` on. If `owner` is true, the receiver is the owner on record, `epoch` is the epoch of
   * the pages, and `seq` is their newest writeback, from which the receiver continues to count. Otherwise both are 0. A
   * grant uses bulk if it carries bytes or the file is owned as a whole, otherwise control.
   */
  grant: [
    20,
    struct({
      term: uint,
      req: answerStart,
      file: uint,
      page: answerStart,
      access,
      owner: bool,
      epoch: uint,
      seq: uint,
      /** The newest discard of the file that had begun in this term; 0 for none. */
      discard: uint,
      pages: list(grantedPage, MAX_RUN_PAGES)
    })
  ],
  faultFailed: [21, struct({ term: uint, req: uint, file: uint, page: uint, error: wireError })],
  /**
   * Orders the client to drop the pages. For the page at i the client obeys after the grant for the request `after` + i
   * (`after` 0: the leader has sent none on this connection).
   */
  invalidate: [22, struct(operation)],
  /** Orders the client to give the pages up, with their bytes where they are dirty. */
  revoke: [23, struct(operation)],
  /** Orders the client to keep the pages readable only, and to send their bytes where they are dirty. */
  downgrade: [24, struct(operation)],
  /** Reports the outcome of a writeback. `req` is the writeback's, or 0 for the bytes of an `ownerAckDirty`. */
  writebackAck: [25, struct({ term: uint, req: uint, pages: list(writebackOutcome, MAX_WRITEBACK_PAGES) })],
  writebackFailed: [26, struct({ term: uint, req: uint, error: wireError })],
  /**
   * Orders the client to remove access to the pages from `first` up to but not including `end`, and to treat nothing at
   * or beyond `size` as part of the file until `discarded` arrives. If the discard removes pages, the file's count of
   * discards is then `discards`; a discard that only grows the file does not change the count.
   */
  discard: [27, struct({ term: uint, op: uint, file: uint, first: uint, end: uint, size: uint, discards: uint })],
  /** Ends a discard. If `committed`, the range reads as zeros or lies beyond the end. Otherwise nothing has changed. */
  discarded: [28, struct({ term: uint, op: uint, file: uint, committed: bool })],

  // -- operations
  /** The state of the peer at this moment, without a quorum round. The peer then closes the stream. */
  status: [
    30,
    struct({
      seq: uint,
      clusterId: text(64),
      /** The digest of the configuration that the cluster was founded from. */
      founding: digestText,
      id: text(MAX_PEER_ID_BYTES),
      /** This peer votes (docs/identity.md). */
      admitted: bool,
      /** The peers that this one refuses, or that refuse it (`refusesThisPeer`), with the reasons. */
      quarantined: list(
        struct({ peerId: text(MAX_PEER_ID_BYTES), refusesThisPeer: bool, reason: text(MAX_REASON_BYTES) }),
        MAX_MEMBERS
      ),
      role,
      term: uint,
      /** Empty while unknown. */
      leader: text(MAX_PEER_ID_BYTES),
      lastIndex: uint,
      commitIndex: uint,
      appliedIndex: uint,
      voters: members,
      learners: members,
      roundTripMs: uint,
      sessions: uint,
      ownedPages: uint,
      /** The room for log entries on the disk and among the file descriptors. */
      room: raftRoom,
      /**
       * The file system of the data directory; absent if unknown. The peer may use `freeBytes` of it, which are few if
       * `low` is set.
       */
      disk: optional(struct({ freeBytes: uint, totalBytes: uint, low: bool })),
      /**
       * What the peer stores: the log's entries, which begin with `firstIndex`, and the file of the pages, of which the
       * rows take `usedBytes`. Absent while a snapshot takes the place of the state.
       */
      store: optional(struct({ logBytes: uint, firstIndex: uint, fileBytes: uint, usedBytes: uint })),
      /** Damaged pages since the start: waiting for a good copy, repaired, and without a good copy at any peer. */
      repairs: struct({ damaged: uint, repaired: uint, lost: uint }),
      /** The snapshots on their way to followers, of the state after entry `index`. `totalBytes` is an estimate. */
      sending: list(
        struct({ to: text(MAX_PEER_ID_BYTES), index: uint, sentBytes: uint, totalBytes: uint }),
        MAX_SENT_SNAPSHOTS
      ),
      /** The snapshot that arrives; absent if there is none. */
      receiving: optional(struct({ index: uint, receivedBytes: uint })),
      /**
       * The newest comparison of states, after entry `index`; absent if there was none since the peer's start. The
       * damage is what scrubs have found since then. A row counts again with each scrub (docs/storage.md).
       */
      scrub: struct({
        comparison: optional(struct({ index: uint, outcome: comparisonOutcome })),
        damagedPages: uint,
        damagedRecords: uint
      }),
      /**
       * The durations of the stages of the peer's work since its start: counts in logarithmic buckets
       * (docs/observability.md).
       */
      stages: list(struct({ name: text(64), buckets: list(struct({ index: uint, count: uint }), 256) }), 32)
    })
  ],
  /**
   * The change is applied. `index` is that of its log entry, or 0 if it was in force already. Otherwise the answer is
   * `redirect` or `refused`.
   */
  administered: [31, struct({ index: uint })],
  /** The access rules of the peer's newest configuration, in the order of the ids. `done`: no others follow. */
  access: [
    32,
    struct({
      /** Clients without a rule may connect. */
      any: bool,
      rules: list(struct({ id: text(MAX_PEER_ID_BYTES), rule: oneOf('admin', 'allowed', 'denied') }), MAX_RULES),
      done: bool
    })
  ],
  /** The leader's view of the members. Other peers answer with `redirect`. */
  roster: [
    33,
    struct({
      lastIndex: uint,
      /** `id` is a member id (docs/membership.md). An `outgoing` member votes until the change under way ends. */
      members: list(
        struct({
          id: text(MAX_PEER_ID_BYTES),
          role: oneOf('voter', 'learner', 'outgoing'),
          matchIndex: uint,
          answers: bool,
          hasCaughtUp: bool
        }),
        2 * MAX_MEMBERS
      ),
      /** `replaces` is a member id, or empty. */
      invited: list(struct({ peerId: text(MAX_PEER_ID_BYTES), replaces: text(MAX_PEER_ID_BYTES) }), MAX_MEMBERS)
    })
  ]
})
export type LeaderMessage = TypeOf<typeof leaderMessage>

/** A message of one type. */
export type ClientMessageOf<T extends ClientMessage['type']> = Extract<ClientMessage, { type: T }>
export type LeaderMessageOf<T extends LeaderMessage['type']> = Extract<LeaderMessage, { type: T }>
/** The answer to a request of type `T` that has not failed, as its row in `REQUESTS` says. */
export type ReplyTo<T extends RequestType> = LeaderMessageOf<(typeof REQUESTS)[T]['reply']>

/** True if the message is a request of one of these kinds; without kinds, if it is any request. */
export function isRequest<K extends RequestKind = RequestKind>(
  message: ClientMessage,
  ...kinds: readonly K[]
): message is ClientMessageOf<RequestTypeOf<K>> {
  if (!Object.hasOwn(REQUESTS, message.type)) return false
  const { kind } = REQUESTS[message.type as RequestType]
  return kinds.length === 0 || (kinds as readonly RequestKind[]).includes(kind)
}
