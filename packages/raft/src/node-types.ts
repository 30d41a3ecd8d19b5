import type { Clock, Random, RaftMessage, RaftRoom } from '@quire/protocol'
import type { CoreLimits, Entry, MembershipChange, Role, SnapshotMeta } from './core/types.js'
import type { RaftLog } from './log/types.js'

/** Carries messages to other nodes. Lossy: what cannot be sent is dropped. Never blocks, never throws. */
export interface RaftTransport {
  send(to: string, message: RaftMessage): void
}

/**
 * Where the state machine's snapshots are. Without one the log is never compacted, and a follower that needs a snapshot gets
 * none. What rejects stops the node, but for a CorruptionError of `install`.
 */
export interface SnapshotStore {
  /** The newest that is durable here, taken or installed; read once, at the start. Durable with the state machine itself. */
  readonly newest: SnapshotMeta | undefined
  /**
   * A piece of the snapshot at `index` from `offset` on, `maxBytes` at most; the caller owns the buffer. Undefined when that
   * snapshot is there no more. Several followers may read at a time, each from its own offset.
   */
  read(
    index: number,
    offset: number,
    maxBytes: number
  ): Promise<{ readonly data: Uint8Array; readonly done: boolean } | undefined>
  /** Stores a piece of somebody else's. Offset 0 begins anew and drops what was stored before; else it follows the piece before. */
  write(snapshot: SnapshotMeta, offset: number, data: Uint8Array): Promise<void>
  /**
   * All pieces are stored: the state machine becomes this, durably and as a whole, and `appliedIndex` and `newest` with it.
   * Rejects with CorruptionError when the pieces make no snapshot; then nothing has changed.
   */
  install(snapshot: SnapshotMeta): Promise<void>
}

/** The state machine. What it throws stops the node. */
export interface RaftApplication {
  readonly snapshots?: SnapshotStore | undefined
  /** The last entry that the state machine has, at the start: its checkpoint. */
  readonly appliedIndex: number
  /**
   * Committed entries in order, of all kinds, each once, from `appliedIndex + 1` on, or from the index after an installed
   * snapshot. A promise holds the next ones back. The buffers are shared with the log: read them, never change them.
   */
  apply(entries: readonly Entry[]): void | Promise<void>
  /** Role, term or leader changed, or a leader became ready. */
  onChange(status: RaftStatus): void
  /** Storage failed or an invariant broke (`InvariantError`): the node has stopped. Called once at most. */
  onFatal(error: Error): void
}

export interface RaftComponents {
  readonly clock: Clock
  readonly random: Random
  readonly transport: RaftTransport
  /** Belongs to the node from now on: it closes it. */
  readonly log: RaftLog
  readonly application: RaftApplication
}

export interface RaftLimits extends CoreLimits {
  /** Calls of `readIndex` that are not answered. */
  readonly maxPendingReads: number
  /** Bytes of one piece of a snapshot. */
  readonly maxPieceBytes: number
  /** Entries that stay in the log behind the newest snapshot, for followers that are a little behind. */
  readonly retainedEntries: number
}

export interface RaftNodeInit {
  /** This node's PeerId as text, as it stands in the configuration. */
  readonly id: string
  /** Default 20. */
  readonly tickMs?: number
  /** An election starts this many ticks after the last word from a leader, or up to twice as many; default 16. */
  readonly electionTicks?: number
  /** Default 4. */
  readonly heartbeatTicks?: number
  readonly limits?: Partial<RaftLimits>
}

export interface RaftStatus {
  readonly id: string
  /** A candidate also while it only asks whether it should be one. */
  readonly role: Exclude<Role, 'preCandidate'> | 'learner'
  readonly term: number
  readonly leader: string | undefined
  /** Leader that has committed and applied the no-op of its term: its state machine has all that was ever committed. */
  readonly ready: boolean
  readonly firstIndex: number
  readonly lastIndex: number
  /** The last entry that is on this node's disk. */
  readonly durableIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  /** Voters of the configuration that a joint one replaces; empty otherwise. */
  readonly outgoing: readonly string[]
  /** The length of its ticks at this moment. */
  readonly tickMs: number
  /** On this node's disks. */
  readonly room: RaftRoom
  /** Leader that gives leadership away, or will: what it is asked for now, the next leader can do. */
  readonly handsOver: boolean
}

export interface RaftNode {
  status(): RaftStatus
  /** Of a leader: the highest index known to be durable at each other node (Figure 2, matchIndex). Empty for other roles. */
  matchIndexes(): ReadonlyMap<string, number>
  /**
   * Appends to the leader's log, in the order of the calls, and takes the buffer. The entry is committed when `apply` gets one
   * with this index and this term; it is lost when another term's entry comes there. When a snapshot that contains the index is
   * installed, only the state machine that was installed knows which. Throws NotLeaderError, BackPressureError (also while leadership is on its way to another
   * node), or InvalidArgumentError for more than MAX_ENTRY_BYTES.
   */
  propose(data: Uint8Array): { readonly index: number; readonly term: number }
  /**
   * Changes who takes part; the entry named is the first of one or two (see docs/raft.md, Membership). `context` is the
   * application's part of the configuration; without it, the present one stays; with it, `changes` may be empty. Throws NotLeaderError, BackPressureError,
   * ChangePendingError, or InvalidArgumentError for a change that makes no sense.
   */
  changeMembership(
    changes: readonly MembershipChange[],
    context?: Uint8Array
  ): { readonly index: number; readonly term: number }
  /**
   * The application's part of the newest configuration in this node's log, committed or not; empty while there is none.
   */
  readonly context: Uint8Array
  /**
   * Changes the length of a tick, and with it every time-out. Takes effect a heartbeat later, so that all nodes can
   * learn of the change from a leader that still keeps the old pace. For liveness all nodes should agree: call it for
   * an entry that each of them applies. Throws InvalidArgumentError.
   */
  setTickMs(tickMs: number): void
  /**
   * Resolves when this node has learnt of another leader. Rejects with NotLeaderError when it is none itself, with
   * InvalidArgumentError when `to` is no other voter, with TransferFailedError when nothing came of it within an election
   * timeout, and this node leads on, or when it stepped down and heard of no leader for two. Without `to` the most advanced voter is chosen.
   */
  transferLeadership(to?: string): Promise<void>
  /**
   * Names the snapshot that the state machine would be at `index`, which is applied, and not before the newest snapshot. InvalidArgumentError
   * for another index.
   */
  snapshotMeta(index: number): SnapshotMeta
  /** The state machine has a durable snapshot: the log is compacted up to `retainedEntries` before it. Indexes rise. */
  snapshotTaken(snapshot: SnapshotMeta): void
  /**
   * Resolves with an index when a majority has confirmed this leader after the call and the entry is applied: reads of the
   * state machine are linearizable then. Calls of one turn share a round. Rejects with NotLeaderError when this node is not
   * the leader, ceases to be or is closed, and with BackPressureError.
   */
  readIndex(): Promise<number>
  /**
   * Whether the disks have room to go on; true at the start. Without it this node goes on, but a leader hands
   * leadership over to a voter that has room, and a follower lets others stand first.
   */
  setRoom(hasRoom: boolean): void
  /** Hands in a message. `from` is the identity that the transport proved. */
  receive(from: string, message: RaftMessage): void
  /** Stops, waits for storage and for the running `apply`, closes the log. */
  close(): Promise<void>
}
