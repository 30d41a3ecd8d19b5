import type { RaftConfiguration, RaftEntry, RaftMessage, RaftRoom, RaftSnapshot } from '@quire/protocol'

/** One entry of the log. `data` must not change once the entry was handed over. */
export type Entry = RaftEntry

/** Identifies a snapshot by its last entry's index and term, with the configuration in force there (§7). */
export type SnapshotMeta = RaftSnapshot

/**
 * The state that a node must still have after a crash (Figure 2, "Persistent state"). `commit` only saves a restarted
 * node work.
 */
export interface HardState {
  readonly term: number
  /** The node that this node voted for in `term`. */
  readonly vote: string | undefined
  /** Never above the last durable entry. */
  readonly commit: number
}

/**
 * The members of a cluster. `voters` form majorities, and so do the `outgoing` ones of a joint configuration;
 * `learners` only receive entries. Node ids are PeerIds as text.
 */
export type Configuration = Omit<RaftConfiguration, 'context'>

/** A configuration together with the application's part, `context`. */
export type FullConfiguration = RaftConfiguration

export type CoreRole = 'leader' | 'follower' | 'preCandidate' | 'candidate'

/** The durable part of the log. It is read synchronously. */
export interface LogReader {
  /**
   * Index of the first entry that can be read; `lastIndex + 1` if there is none. It rises when the log is compacted.
   */
  readonly firstIndex: number
  readonly lastIndex: number
  /**
   * Term of an entry, from `firstIndex - 1` on (0 before the first entry of all); undefined outside of that range. The
   * call is cheap: it does not read the entry's data.
   */
  term(index: number): number | undefined
  /**
   * Entries from `lo` up to but not including `hi`, both inside the log: as many as fit `maxBytes` (see
   * `raftEntryBytes`), but at least one. Empty if storage cannot read them now, for example for lack of a file
   * descriptor: ask again later. Throws CorruptionError if stored bytes are damaged or missing.
   */
  entries(lo: number, hi: number, maxBytes: number): readonly Entry[]
}

/** Identifies a write to storage. The driver hands it back to `persisted`, in the order of the writes. */
export interface StorageAck {
  readonly sequence: number
  /** The node's term when the core handed out the write. */
  readonly term: number
  /** The last entry that this write or an earlier one contains. */
  readonly index: number
}

export interface Outgoing {
  readonly to: string
  readonly message: RaftMessage
}

/** A read that a majority has confirmed. A node that has applied `index` may answer it (§8). */
export interface ReadState {
  /** The number that the caller gave to `readIndex`. */
  readonly context: number
  readonly index: number
}

/** The part of a node's state that is volatile, and of interest outside the core. */
export interface SoftState {
  readonly role: CoreRole
  readonly term: number
  readonly leader: string | undefined
}

/** Leader: the driver must read the piece of the snapshot at `offset` and hand it to `pieceRead`. */
export interface PieceWanted {
  readonly to: string
  readonly snapshot: SnapshotMeta
  readonly offset: number
}

/**
 * Follower: the driver must store the piece after the earlier ones. Offset 0 starts over and drops an unfinished
 * snapshot.
 */
export interface PieceReceived {
  readonly snapshot: SnapshotMeta
  readonly offset: number
  readonly data: Uint8Array
  readonly done: boolean
}

/** What the driver must do now. `RaftCore` lists the driver's duties in order. */
export interface Ready {
  /** May leave at once. */
  readonly messages: readonly Outgoing[]
  readonly write: StorageWrite | undefined
  /** Leave once `write`, or every earlier write if there is none, is durable. */
  readonly messagesAfter: readonly Outgoing[]
  readonly committed: readonly Entry[]
  readonly readStates: readonly ReadState[]
  readonly piecesWanted: readonly PieceWanted[]
  readonly pieceReceived: PieceReceived | undefined
  /** The snapshot that must replace the state machine. Its pieces are stored. */
  readonly install: SnapshotMeta | undefined
  /** Defined when role, term or leader has changed. */
  readonly softState: SoftState | undefined
}

/** One write to the log. No entry may become durable before `hardState` and `reset` (Figure 2). */
export interface StorageWrite {
  readonly ack: StorageAck
  readonly hardState: HardState | undefined
  /** The log starts anew after this snapshot; its earlier content no longer counts. */
  readonly reset: SnapshotMeta | undefined
  /** Replace every entry from the first one's index on. */
  readonly entries: readonly Entry[]
}

export interface CoreLimits {
  /** Entry bytes in one append message. A single larger entry travels alone. */
  readonly maxAppendBytes: number
  /** Unacknowledged append messages to one follower. */
  readonly maxInflightMessages: number
  /** Entry bytes in unacknowledged append messages to one follower. */
  readonly maxInflightBytes: number
  /** Proposed bytes that are not yet both committed and on this node's disk. The core refuses proposals beyond it. */
  readonly maxUncommittedBytes: number
  /** Entry bytes in one `committed`. */
  readonly maxApplyBytes: number
}

export interface RaftCoreInit {
  readonly id: string
  readonly log: LogReader
  readonly hardState: HardState
  /** The log's `config` entries in order, from the one in force at `firstIndex - 1` on. */
  readonly configurations: readonly Entry[]
  /**
   * The newest durable snapshot of the state machine. It is newer than the log after a crash in the middle of an
   * installation.
   */
  readonly snapshot?: SnapshotMeta | undefined
  /** The last entry that the state machine has applied. */
  readonly appliedIndex: number
  /** Ticks without a leader before an election: at least this many, and at most one less than twice as many (§5.2). */
  readonly electionTicks: number
  /** Ticks between heartbeats; less than `electionTicks`. */
  readonly heartbeatTicks: number
  readonly limits: CoreLimits
  /** A number in [0, 1). */
  readonly random: () => number
}

/** Why a node refuses a proposal. */
export type Refusal =
  | { readonly refused: 'notLeader'; readonly leader: string | undefined }
  | { readonly refused: 'full'; readonly uncommittedBytes: number }
  /** Leadership is being transferred to `to`. */
  | { readonly refused: 'transferring'; readonly to: string }

/** Index and term of the first proposal. The other proposals follow it. */
export type Proposed = { readonly index: number; readonly term: number } | Refusal

/** One step of a change. Members that no step names keep their part. */
export interface MembershipChange {
  readonly type: 'voter' | 'learner' | 'removed'
  readonly id: string
}

/** What a leader knows of another node. */
export interface FollowerProgress {
  /** The highest index known to be durable there (Figure 2, matchIndex). */
  readonly matchIndex: number
  /** It has answered this leader, and within about the last election timeout. */
  readonly answers: boolean
  /**
   * It has every entry that was committed one to two election timeouts ago. What it lacks, it can receive in about that
   * time, so as a voter it would not hold the group up (thesis §4.2.1). False in the first election timeouts of a term.
   */
  readonly hasCaughtUp: boolean
}

export type ChangeProposed =
  | { readonly index: number; readonly term: number }
  | Refusal
  /**
   * Entry `index` must be committed first: it is an earlier change, a joint configuration, or this leader's first entry
   * (thesis §4.1).
   */
  | { readonly refused: 'pending'; readonly index: number }
  /**
   * The change is invalid: it changes nothing, leaves no voter, adds a voter that has nothing of the log, or names an
   * id twice.
   */
  | { readonly refused: 'invalid'; readonly reason: string }

export type TransferRefusal = 'notLeader' | 'notVoter' | 'self' | undefined

/**
 * Decides all of Raft without IO: synchronously, deterministically, driven by ticks and messages.
 *
 * The driver has these duties. The order within a `Ready` is what makes Raft safe.
 *
 * 1. Call `tick` at regular intervals, `step` for each message that arrives, and the other inputs when they occur. Drop
 *    a piece of a snapshot whose `data` does not match its `crc`. Then call `ready` until it returns undefined.
 * 2. Send `messages`. They need not wait for the disk: a leader's appends travel beside its own flush (thesis §10.2.1).
 * 3. Write `write` to the log, after all earlier writes. When it is durable, call `persisted` with its `ack`. If
 *    storage has room for only a part of it, drop the waiting acknowledgments of entries beyond that part, call
 *    `persistedInPart` instead, and call `roomAgain` once storage has room.
 * 4. Send `messagesAfter` when this write, or every earlier write if there is none, is durable. A vote that leaves
 *    before it is durable can be cast twice after a crash, and an acknowledged entry could vanish (Figure 2,
 *    "Persistent state").
 * 5. Apply `committed` in order to the state machine, then call `applied`. These entries are on this node's disk
 *    already. The core hands out no more entries before that.
 * 6. Read each of `piecesWanted` and call `pieceRead`. Store `pieceReceived` and call `pieceStored`.
 * 7. Replace the state machine by the snapshot `install`, durably. Then call `snapshotInstalled`, or `snapshotRefused`
 *    if the stored pieces form no snapshot. The core hands out no entries to apply before that.
 * 8. Answer each of `readStates` once the state machine has applied its `index` (§8).
 * 9. Watch `softState`: when leadership is lost, pending reads are forgotten, and proposals may or may not be
 *    committed.
 *
 * Steps 2 to 8 may run side by side, as far as no step waits for another. An id belongs to one log for all time: a node
 * that has lost its log needs a new id (docs/raft.md, Membership).
 */
export interface RaftCore {
  readonly term: number
  readonly role: CoreRole
  readonly leader: string | undefined
  readonly firstIndex: number
  readonly lastIndex: number
  /** The last entry on this node's disk. */
  readonly durableIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  /** The newest configuration in the log, committed or not. */
  readonly configuration: FullConfiguration
  /** The entry of that configuration. */
  readonly configurationIndex: number
  /**
   * Leader: its state machine has applied an entry of its own term, and therefore everything that was committed before.
   */
  readonly leaderReady: boolean
  /** Leader: what it knows of each other node. Empty in other roles. */
  readonly followers: ReadonlyMap<string, FollowerProgress>
  /** Leader: the node that leadership is being transferred to. */
  readonly transferTarget: string | undefined
  /** Leader: the best voter to transfer leadership to. */
  readonly mostAdvancedVoter: string | undefined
  readonly room: RaftRoom
  /** Leader that lacks room: the voter that could go on in its place. */
  readonly roomierVoter: string | undefined
  /** Term of an entry, or of the snapshot after which the log starts; undefined for other indexes. */
  termOf(index: number): number | undefined
  /** Called once per tick; `electionTicks` and `heartbeatTicks` count these calls. */
  tick(): void
  /** Called for each message that arrives from another node. A late, duplicate or malformed message changes nothing. */
  step(from: string, message: RaftMessage): void
  /** Appends all of `datas`, or none. The core owns the buffers from then on. */
  propose(datas: readonly Uint8Array[]): Proposed
  /**
   * Proposes a configuration. `context` is the application's part, and may be all that changes. Without it, the current
   * one stays.
   */
  changeMembership(changes: readonly MembershipChange[], context?: Uint8Array): ChangeProposed
  /**
   * Transfers leadership to `to`. Returns undefined if the transfer has started: `softState` and `transferTarget` then
   * tell its outcome.
   */
  transferLeadership(to: string): TransferRefusal
  /**
   * Requests a quorum round for a linearizable read. `context` comes back in `readStates`. Returns false if this node
   * does not lead. A node that loses leadership forgets its pending reads.
   */
  readIndex(context: number): boolean
  /** Returns what the driver must do now; undefined if there is nothing. */
  ready(): Ready | undefined
  /** Called when the write that `ack` identifies, and every earlier one, is durable. */
  persisted(ack: StorageAck): void
  /**
   * Called instead of `persisted` when storage has no room for all of a write. The write's hard state is durable, and
   * its entries up to `stored` are. Storage gives back the entries of later writes too. The core hands it no more
   * entries until `roomAgain`.
   */
  persistedInPart(ack: StorageAck, stored: number): void
  /** Called when storage takes entries again. */
  roomAgain(): void
  /**
   * Called when this node's disks run out of room to go on, or have room again (the default). A leader without room
   * looks for another leader (docs/raft.md, Room).
   */
  setRoom(hasRoom: boolean): void
  /** Called when the state machine has applied everything up to `index`. */
  applied(index: number): void
  /** The lowest index that `snapshotMeta` takes: the newest snapshot's, or that of the entry before the log's first. */
  readonly oldestSnapshot: number
  /**
   * The highest index that `snapshotMeta` takes: the last entry that was handed out. The state machine may have applied
   * it before it reports `applied`.
   */
  readonly newestSnapshot: number
  /** Identifies a snapshot of the state machine at `index`, from `oldestSnapshot` to `newestSnapshot`. */
  snapshotMeta(index: number): SnapshotMeta
  /**
   * Called when the state machine has a durable snapshot. The leader sends this one from now on, and the log may be
   * compacted up to it.
   */
  snapshotTaken(snapshot: SnapshotMeta): void
  /**
   * Called when a wanted piece was read; `piece` is undefined if that snapshot is gone. `crc` is the data's CRC32C. The
   * core owns the buffer from then on.
   */
  pieceRead(wanted: PieceWanted, piece: { data: Uint8Array; crc: number; done: boolean } | undefined): void
  /** Called when a received piece is stored. */
  pieceStored(piece: PieceReceived): void
  /** Called when the state machine durably is the snapshot. */
  snapshotInstalled(snapshot: SnapshotMeta): void
  /** Called when the stored pieces form no snapshot. The state machine has not changed. */
  snapshotRefused(snapshot: SnapshotMeta): void
}
