import type { Clock, Random, RaftMessage, RaftRoom } from '@quire/protocol'
import type { CoreLimits, CoreRole, Entry, FollowerProgress, MembershipChange, SnapshotMeta } from './core/types.js'
import type { RaftLog } from './log/types.js'

/** Carries messages to other nodes. It may lose, duplicate and reorder them. `send` never blocks and never throws. */
export interface RaftTransport {
  send(to: string, message: RaftMessage): void
}

/**
 * Holds the state machine's snapshots. Without a store the log is never compacted, and a follower that needs a snapshot
 * gets none. A rejection stops the node, except for a CorruptionError of `install`.
 */
export interface SnapshotStore {
  /** The newest durable snapshot, whether taken here or installed. The node reads it once, at its start. */
  readonly newest: SnapshotMeta | undefined
  /**
   * The last entry before those that the followers with a snapshot need next, if there are such followers. The log
   * keeps the entries after it.
   */
  readonly heldIndex?: number | undefined
  /**
   * Reads a piece of the snapshot at `index` for the follower `to`: the bytes from `offset` on, at most `maxBytes`, or
   * one item that cannot be divided (MAX_ENTRY_BYTES at most). A follower reads from offset 0 on, in order, and may
   * repeat the last piece or start over. The caller owns the buffer. Resolves with undefined if the snapshot is gone,
   * or cannot be sent now.
   */
  read(
    to: string,
    index: number,
    offset: number,
    maxBytes: number
  ): Promise<{ readonly data: Uint8Array; readonly done: boolean } | undefined>
  /**
   * Stores a piece of a snapshot that the leader sends. Offset 0 starts over and drops earlier pieces; any other piece
   * follows the one before.
   */
  write(snapshot: SnapshotMeta, offset: number, data: Uint8Array): Promise<void>
  /**
   * Called when all pieces are stored: makes the state machine this snapshot, durably and as a whole. `newest` then
   * names it. Rejects with CorruptionError if the pieces form no snapshot; in that case nothing has changed.
   */
  install(snapshot: SnapshotMeta): Promise<void>
}

/** The state machine. If one of its methods throws, the node stops. */
export interface RaftApplication {
  readonly snapshots?: SnapshotStore | undefined
  /** The last entry that the state machine holds when the node starts: its checkpoint. */
  readonly appliedIndex: number
  /**
   * Called with committed entries of all kinds, in order, each once, from `appliedIndex + 1` on, or from the index
   * after an installed snapshot. If it returns a promise, the next entries wait for that. The log shares the buffers:
   * never change them.
   */
  apply(entries: readonly Entry[]): void | Promise<void>
  /** Called when role, term or leader has changed, and when a leader becomes ready. */
  onChange(status: RaftStatus): void
  /**
   * Called at most once, when storage has failed or an invariant is broken (`InvariantError`). The node has stopped.
   */
  onFatal(error: Error): void
}

export interface RaftComponents {
  readonly clock: Clock
  readonly random: Random
  readonly transport: RaftTransport
  /** The node owns the log from now on, and closes it. */
  readonly log: RaftLog
  readonly application: RaftApplication
}

export interface RaftLimits extends CoreLimits {
  /** Calls of `readIndex` that wait for an answer. */
  readonly maxPendingReads: number
  /** Bytes of one snapshot piece. */
  readonly maxPieceBytes: number
  /** The newest bytes of the log, which stay in it for followers that are a little behind. */
  readonly retainedBytes: number
}

export interface RaftNodeInit {
  /** This node's PeerId as text, as it appears in the configuration. */
  readonly id: string
  /** Default 20. */
  readonly tickMs?: number
  /**
   * Ticks without word from a leader before an election: at least this many, and less than twice as many; default 16.
   */
  readonly electionTicks?: number
  /** Default 4. */
  readonly heartbeatTicks?: number
  readonly limits?: Partial<RaftLimits>
}

export interface RaftStatus {
  readonly id: string
  /** A node that still asks for pre-votes is a candidate, too. */
  readonly role: Exclude<CoreRole, 'preCandidate'> | 'learner'
  readonly term: number
  readonly leader: string | undefined
  /**
   * Leader that has applied the no-op entry of its term: its state machine holds everything that was ever committed.
   */
  readonly ready: boolean
  readonly firstIndex: number
  readonly lastIndex: number
  /** The last entry on this node's disk. */
  readonly durableIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  /** Voters of the configuration that a joint one replaces; empty otherwise. */
  readonly outgoing: readonly string[]
  /** The entry of the newest configuration in the log, committed or not. */
  readonly configurationIndex: number
  /** Current length of a tick. */
  readonly tickMs: number
  /** Room on this node's disks. */
  readonly room: RaftRoom
  /** Leader that transfers leadership, or is about to. The next leader can serve the requests that arrive now. */
  readonly handsOver: boolean
}

export interface RaftNode {
  status(): RaftStatus
  /** Leader: what it knows of each other node. Empty in other roles. */
  followers(): ReadonlyMap<string, FollowerProgress>
  /**
   * Term of the entry at `index`, which a snapshot may stand for. Undefined if the log holds neither. Entries that give
   * way to an installed snapshot are no longer part of the log, although storage still holds them.
   */
  term(index: number): number | undefined
  /**
   * Appends to the leader's log, in the order of the calls. The node owns the buffer from then on.
   *
   * The entry is committed once `apply` gets an entry with this index and this term. It is lost once `apply` gets an
   * entry of another term at this index. If a snapshot that covers the index is installed, only the installed state
   * machine knows which.
   *
   * Throws NotLeaderError; BackPressureError, also during a transfer of leadership; InvalidArgumentError for more than
   * MAX_ENTRY_BYTES.
   */
  propose(data: Uint8Array): { readonly index: number; readonly term: number }
  /**
   * Changes the membership. The result names the first of the one or two entries that the change takes (docs/raft.md,
   * Membership). `context` is the application's part of the configuration. Without it, the current one stays; with it,
   * `changes` may be empty. Throws NotLeaderError, BackPressureError, ChangePendingError, or InvalidArgumentError for
   * an invalid change.
   */
  changeMembership(
    changes: readonly MembershipChange[],
    context?: Uint8Array
  ): { readonly index: number; readonly term: number }
  /**
   * The application's part of the newest configuration in this node's log, committed or not. Empty while there is none.
   */
  readonly context: Uint8Array
  /**
   * Changes the length of a tick, and with it every timeout. The change takes effect a heartbeat later, so that all
   * nodes can learn of it from a leader that still keeps the old pace. All nodes should agree on the length (for
   * liveness only), so call this upon an entry that each of them applies. Throws InvalidArgumentError.
   */
  setTickMs(tickMs: number): void
  /**
   * Transfers leadership to `to`, or to the best voter. Resolves when this node learns of another leader. Rejects with
   * NotLeaderError if this node does not lead, with InvalidArgumentError if `to` is not another voter, and with
   * TransferFailedError if this node still leads after one election timeout, or has stepped down and hears of no leader
   * for two.
   */
  transferLeadership(to?: string): Promise<void>
  /**
   * Identifies a snapshot of the state machine at `index`, which must be applied, and not before the newest snapshot.
   * Throws InvalidArgumentError for any other index.
   */
  snapshotMeta(index: number): SnapshotMeta
  /**
   * Call it when the state machine has a durable snapshot. The log is compacted up to there, except for
   * `retainedBytes` (default: that of the limits) and for what follows `heldIndex`. Indexes must not fall; the same one
   * again compacts the log when `heldIndex` has risen, or with fewer bytes to retain.
   */
  snapshotTaken(snapshot: SnapshotMeta, retainedBytes?: number): void
  /**
   * Resolves with an index once a majority has confirmed, after the call, that this node leads, and the entry at that
   * index is applied. From then on reads of the state machine are linearizable. Calls of one turn share a quorum round.
   * Rejects with BackPressureError, or with NotLeaderError if this node does not lead, loses leadership, or is closed.
   */
  readIndex(): Promise<number>
  /**
   * Tells whether the disks have room to go on (true at the start). A node without room goes on, but a leader hands
   * over to a voter with room, and a follower lets others stand first.
   */
  setRoom(hasRoom: boolean): void
  /** Delivers a message. `from` is the identity that the transport has proved. */
  receive(from: string, message: RaftMessage): void
  /** Stops the node, waits for storage and a running `apply`, and closes the log. */
  close(): Promise<void>
}
