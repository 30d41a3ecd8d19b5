/**
 * Messages between a client and the leader of a Raft group.
 *
 * A client holds two streams to the leader. *Control* is for small messages that must not wait; *bulk* carries page bytes.
 * Nothing relies on the order between the two: a message that must follow another names it (`after` names the grant that
 * precedes it, acknowledgements name operation or epoch and sequence, everything from the leader names its term).
 *
 * Opening: hello → welcome on control, hello → attached on bulk, then register → registered on control. A welcome teaches
 * the leader's term *before* the client registers, which is what fences the previous leader (see docs/coherence.md).
 */
import { bool, encode, list, oneOf, optional, struct, text, uint, union, type TypeOf } from './codec.js'
import { wireError } from './errors.js'
import { dirtyPage, fileStat, pageBytes } from './files.js'
import { digestText, features } from './hello.js'
import { MAX_ADDRESSES, MAX_ADDRESS_BYTES, MAX_MEMBERS, MAX_PEER_ID_BYTES, MAX_REASON_BYTES } from './limits.js'
import { REQUESTS, requestMessages, type RequestKind, type RequestType, type RequestTypeOf } from './requests.js'
import { raftRoom } from './room.js'

const memberAddress = text(MAX_ADDRESS_BYTES)
export const member = struct({
  peerId: text(MAX_PEER_ID_BYTES),
  addresses: list(memberAddress, MAX_ADDRESSES)
})
/** A peer of the cluster and where it listens. */
export type Member = TypeOf<typeof member>
export const members = list(member, MAX_MEMBERS)

/** As many of the addresses, in their order, as an encoded {@link Member} holds in `maxBytes` beside its id. */
export function fitAddresses(addresses: readonly string[], maxBytes: number): string[] {
  let left = maxBytes
  return addresses.filter((address) => {
    const bytes = encode(memberAddress, address).length
    if (bytes > left) return false
    left -= bytes
    return true
  })
}

/** Pages in one writeback message: as many of the smallest size as one bulk frame holds. */
export const MAX_WRITEBACK_PAGES = 16

/** What a peer is in its Raft group. */
export const role = oneOf('leader', 'follower', 'candidate', 'learner')
export type Role = TypeOf<typeof role>

export const access = oneOf('read', 'write')
export type Access = TypeOf<typeof access>

/** What a client sends. */
export const clientMessage = union({
  // -- handshake
  /**
   * First on each stream. `clusterId` and `founding` are empty until the client learns them, or `founding` is pinned; `fence` is the
   * highest term seen; `attach` is the welcome's, on bulk.
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
  /** `session` 0 asks for a new one. */
  register: [2, struct({ session: uint, ttlMs: uint })],
  keepAlive: [3, struct({ nonce: uint })],
  /** Asks for a sign of life. It says nothing of the lease. */
  ping: [4, struct({})],
  /** Bytes of frames that have come on bulk, behind its opening (`attached`, `hello`), in all. The same the other way round. */
  bulkReceived: [5, struct({ bytes: uint })],

  // -- requests
  ...requestMessages,

  // -- coherence
  /**
   * A fault that the leader must resolve. `have` is the version of the readable copy held at the moment of sending, 0 for none:
   * no bytes are sent to who holds the current ones. At most one request of a session is outstanding for a page.
   */
  fault: [20, struct({ req: uint, file: uint, page: uint, access, have: uint })],
  invalidateAck: [21, struct({ op: uint, file: uint, page: uint })],
  /** Answers a revoke or downgrade without bytes: `held` is false when this session never got the grant or has dropped the page. */
  ownerAck: [22, struct({ op: uint, file: uint, page: uint, held: bool })],
  /** Answers a revoke or downgrade with bytes that are not yet known to be durable. Bulk. */
  ownerAckDirty: [23, struct({ op: uint, dirty: dirtyPage })],
  /** Nothing of the range is accessible here any more. */
  discardAck: [25, struct({ op: uint, file: uint })],
  /** Dirty pages for msync or reclaim; the ownership stays. Bulk; bounded by the credit that registered gave. */
  writeback: [24, struct({ req: uint, pages: list(dirtyPage, MAX_WRITEBACK_PAGES) })],

  // -- operations
  /** Instead of hello, as the only message of a control stream: any peer answers, leader or not. */
  status: [30, struct({ version: uint, seq: uint })]
})
export type ClientMessage = TypeOf<typeof clientMessage>

/** Outcome of one page's writeback: `stale` to a live session means that the bytes were committed before, or given up by expiry. */
const writebackOutcome = struct({
  file: uint,
  page: uint,
  epoch: uint,
  seq: uint,
  /** The page's version that holds the bytes; 0 when stale. */
  version: uint,
  stale: bool
})
export type WritebackOutcome = TypeOf<typeof writebackOutcome>

const operation = { term: uint, op: uint, file: uint, page: uint, after: uint }

/** What the leader (or, during the handshake, any peer) sends. */
export const leaderMessage = union({
  // -- handshake
  /**
   * `founding`: digest of the configuration that the cluster was founded from. `members` with their current addresses.
   * `roundTripMs`: see `timingOf`.
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
   * Not the leader (or not ready yet, when `leader` is empty). `role` is the sender's. The stream is closed after it.
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
  /** The stream is closed after it. */
  refused: [4, struct({ error: wireError })],
  /**
   * `ttlMs`: what the session has, which may be more than it asked for. `creditBytes`: page bytes in unacknowledged
   * writebacks; `maxFaults`: outstanding faults. The client stays within both.
   */
  registered: [5, struct({ term: uint, session: uint, ttlMs: uint, creditBytes: uint, maxFaults: uint })],
  /** The session that the client asked for has ended. */
  expired: [6, struct({ session: uint })],
  /** A majority confirmed the leader after the keep-alive arrived. */
  keepAliveAck: [7, struct({ term: uint, nonce: uint })],
  /** Answers a ping, at once and without asking anybody. */
  pong: [8, struct({})],
  bulkReceived: [9, struct({ bytes: uint })],
  /** To a client with a session: what the welcome said of the members has changed. */
  members: [14, struct({ members })],

  // -- answers to requests
  opened: [10, struct({ seq: uint, stat: fileStat })],
  files: [11, struct({ seq: uint, files: list(fileStat, 1024), done: bool })],
  done: [12, struct({ seq: uint })],
  failed: [13, struct({ seq: uint, error: wireError })],

  // -- coherence
  /**
   * Resolves the fault `req`. Without `bytes` the copy that the request named is current; empty ones stand for a page of zeros.
   * Where `owner` says that the receiver is the owner on record, `epoch` is the page's epoch and `seq` its newest writeback, from
   * which the receiver counts on; else both are 0. Bulk when it carries bytes or the file is owned as a whole, control otherwise.
   */
  grant: [
    20,
    struct({
      term: uint,
      req: uint,
      file: uint,
      page: uint,
      access,
      owner: bool,
      epoch: uint,
      seq: uint,
      version: uint,
      /** The newest discard of the file that had begun in this term; 0: none. */
      discard: uint,
      bytes: optional(pageBytes)
    })
  ],
  faultFailed: [21, struct({ term: uint, req: uint, file: uint, page: uint, error: wireError })],
  /** Drop the page. `after`: handle this after the grant for that request (0: none was sent on this connection). */
  invalidate: [22, struct(operation)],
  /** Give the page up, with its bytes if dirty. */
  revoke: [23, struct(operation)],
  /** Keep the page readable, give its bytes if dirty. */
  downgrade: [24, struct(operation)],
  /** `req` is the writeback's; 0 for the bytes that came with an ownerAckDirty. */
  writebackAck: [25, struct({ term: uint, req: uint, pages: list(writebackOutcome, MAX_WRITEBACK_PAGES) })],
  writebackFailed: [26, struct({ term: uint, req: uint, error: wireError })],
  /**
   * Take access to the pages from `first` up to but without `end` away, and take nothing at or beyond `size` for part of the file until this
   * is over. When it has taken pages away, the file's `discards` are what is said here; one that only grew the file leaves them.
   */
  discard: [27, struct({ term: uint, op: uint, file: uint, first: uint, end: uint, size: uint, discards: uint })],
  /** It is over: the range reads as zeros, or is beyond the end; or, if not `committed`, nothing has changed. */
  discarded: [28, struct({ term: uint, op: uint, file: uint, committed: bool })],

  // -- operations
  /** What the peer knows at this moment, without asking anybody. The stream is closed after it. */
  status: [
    30,
    struct({
      seq: uint,
      clusterId: text(64),
      /** Digest of the configuration that the cluster was founded from. */
      founding: digestText,
      id: text(MAX_PEER_ID_BYTES),
      /** This peer takes part in votes (docs/identity.md). */
      admitted: bool,
      /** Peers that this one refuses, or that refuse it (`refusesThisPeer`), and why. */
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
      /** For entries of the log, on its disk and among its file descriptors. */
      room: raftRoom,
      /** Of the file system under the data directory; absent where unknown. The peer may take `freeBytes` of it. */
      disk: optional(struct({ freeBytes: uint, totalBytes: uint })),
      /** How long the stages of its work took since it started: counts in logarithmic buckets (docs/observability.md). */
      stages: list(struct({ name: text(64), buckets: list(struct({ index: uint, count: uint }), 256) }), 32)
    })
  ]
})
export type LeaderMessage = TypeOf<typeof leaderMessage>

/** A message of one type, for handlers. */
export type ClientMessageOf<T extends ClientMessage['type']> = Extract<ClientMessage, { type: T }>
export type LeaderMessageOf<T extends LeaderMessage['type']> = Extract<LeaderMessage, { type: T }>

/** True if the message is a request of one of these kinds; without kinds, if it is any request. */
export function isRequest<K extends RequestKind = RequestKind>(
  message: ClientMessage,
  ...kinds: readonly K[]
): message is ClientMessageOf<RequestTypeOf<K>> {
  if (!Object.hasOwn(REQUESTS, message.type)) return false
  const { kind } = REQUESTS[message.type as RequestType]
  return kinds.length === 0 || (kinds as readonly RequestKind[]).includes(kind)
}
