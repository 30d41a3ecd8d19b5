import type { RaftConfiguration, RaftEntry, RaftMessage, RaftRoom, RaftSnapshot } from '@quire/protocol'

/** One entry of the log. Its data must not change once it was handed over. */
export type Entry = RaftEntry

/** Names a snapshot: what its last entry is, and the configuration in force there (§7). */
export type SnapshotMeta = RaftSnapshot

/** What a node must know again after a crash (Figure 2, "Persistent state"). The commit index only spares a restart work. */
export interface HardState {
  readonly term: number
  /** For whom this node voted in `term`. */
  readonly vote: string | undefined
  /** Never above the last durable entry. */
  readonly commit: number
}

/**
 * Who counts (`voters`, and `outgoing` while a joint configuration is left) and who only listens (`learners`). Node ids are
 * PeerIds as text.
 */
export type Configuration = Omit<RaftConfiguration, 'context'>

/** With the application's part. */
export type FullConfiguration = RaftConfiguration

export type Role = 'leader' | 'follower' | 'preCandidate' | 'candidate'

/** The durable part of the log, read synchronously. */
export interface LogReader {
  /** Index of the first entry that can be read; `lastIndex + 1` when there is none. It rises when the log is compacted. */
  readonly firstIndex: number
  readonly lastIndex: number
  /**
   * Term of an entry, from `firstIndex - 1` on (0 before the first entry that ever was); undefined outside of that. Cheap: needs
   * no entry's data.
   */
  term(index: number): number | undefined
  /**
   * Entries from `lo` up to but without `hi`, both inside the log: as many as fit `maxBytes` (see `raftEntryBytes`), but at
   * least one. None at all when storage cannot read them now, such as for want of a file descriptor: ask again later. Throws
   * CorruptionError when stored bytes do not match their checksum.
   */
  entries(lo: number, hi: number, maxBytes: number): readonly Entry[]
}

/** Names a write to storage. Handed back to `persisted` when it is durable, in the order of the writes. */
export interface StorageAck {
  readonly sequence: number
  /** The node's term when the write was handed out. */
  readonly term: number
  /** The last entry that this write and those before it contain. */
  readonly index: number
}

export interface Outgoing {
  readonly to: string
  readonly message: RaftMessage
}

/** A read that a majority has confirmed: whoever has applied `index` may answer it (§8). */
export interface ReadState {
  readonly context: number
  readonly index: number
}

export interface SoftState {
  readonly role: Role
  readonly term: number
  readonly leader: string | undefined
}

/** Leader: the piece of a snapshot from `offset` on is to be read and handed to `pieceRead`. */
export interface PieceWanted {
  readonly to: string
  readonly snapshot: SnapshotMeta
  readonly offset: number
}

/** Follower: a piece is to be stored, after those before it. Offset 0 begins anew and drops an unfinished snapshot. */
export interface PieceReceived {
  readonly snapshot: SnapshotMeta
  readonly offset: number
  readonly data: Uint8Array
  readonly done: boolean
}

/**
 * What the core wants done. The order is what makes it safe:
 * 1. `messages` may leave at once; a leader's appends travel beside its own flush (thesis §10.2.1).
 * 2. `write` goes to storage; when it is durable, its `ack` goes to `persisted`.
 * 3. `messagesAfter` leave when this write, or if there is none all writes before, is durable: a vote that is sent
 *    before it is durable can be cast twice after a crash, an acknowledged entry could vanish.
 * 4. `committed` is applied in order, then `applied` is called; nothing more comes before that.
 * 5. `install` replaces the state machine, durably, then `snapshotInstalled` is called; nothing is handed out to be applied
 *    before that.
 */
export interface Ready {
  readonly messages: readonly Outgoing[]
  readonly write: StorageWrite | undefined
  readonly messagesAfter: readonly Outgoing[]
  readonly committed: readonly Entry[]
  readonly readStates: readonly ReadState[]
  readonly piecesWanted: readonly PieceWanted[]
  readonly pieceReceived: PieceReceived | undefined
  readonly install: SnapshotMeta | undefined
  /** Present when role, term or leader changed. */
  readonly softState: SoftState | undefined
}

export interface StorageWrite {
  readonly ack: StorageAck
  readonly hardState: HardState | undefined
  /** The log starts anew after this snapshot: nothing that was in it before counts any more. */
  readonly reset: SnapshotMeta | undefined
  /** Entries replace everything from the first one's index on. */
  readonly entries: readonly Entry[]
}

export interface CoreLimits {
  /** Entry bytes in one append message; a single larger entry travels alone. */
  readonly maxAppendBytes: number
  /** Unacknowledged append messages to one follower. */
  readonly maxInflightMessages: number
  /** Entry bytes in unacknowledged append messages to one follower. */
  readonly maxInflightBytes: number
  /** Proposed bytes that are not yet both committed and on the own disk; above that, proposals are refused. */
  readonly maxUncommittedBytes: number
  /** Entry bytes in one `committed`. */
  readonly maxApplyBytes: number
}

export interface RaftCoreInit {
  readonly id: string
  readonly log: LogReader
  readonly hardState: HardState
  /** The `config` entries of the log, in order, from the one in force at `firstIndex - 1` on. */
  readonly configurations: readonly Entry[]
  /** The newest durable snapshot of the state machine. Newer than the log after a crash in the middle of an installation. */
  readonly snapshot?: SnapshotMeta | undefined
  /** How far the state machine is. */
  readonly appliedIndex: number
  /** Ticks without a leader until an election, at least; the most is one less than twice as many (§5.2). */
  readonly electionTicks: number
  /** Ticks between heartbeats; less than `electionTicks`. */
  readonly heartbeatTicks: number
  readonly limits: CoreLimits
  /** A number in [0, 1). */
  readonly random: () => number
}

/** Why a leader, or who is none, takes no proposal. */
export type Refusal =
  | { readonly refused: 'notLeader'; readonly leader: string | undefined }
  | { readonly refused: 'full'; readonly uncommittedBytes: number }
  /** Leadership is on its way to `to`. */
  | { readonly refused: 'transferring'; readonly to: string }

/** `index` and `term` of the first proposal; the others follow. */
export type Proposed = { readonly index: number; readonly term: number } | Refusal

/** Members who are not named stay what they are. */
export interface MembershipChange {
  readonly type: 'voter' | 'learner' | 'removed'
  readonly id: string
}

export type ChangeProposed =
  | { readonly index: number; readonly term: number }
  | Refusal
  /** An earlier change is not committed, or its joint configuration not left; or nothing of the own term is committed (thesis §4.1). */
  | { readonly refused: 'pending'; readonly index: number }
  /** The change makes no sense: it changes nothing, leaves no voter, or names somebody twice. */
  | { readonly refused: 'invalid'; readonly reason: string }

export type TransferRefusal = 'notLeader' | 'notVoter' | 'self' | undefined

/** Raft without IO: synchronous, deterministic, driven by ticks and messages. */
export interface RaftCore {
  readonly term: number
  readonly role: Role
  readonly leader: string | undefined
  readonly firstIndex: number
  readonly lastIndex: number
  /** The last entry that is on this node's disk. */
  readonly durableIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  /** The newest in the log, committed or not. */
  readonly configuration: FullConfiguration
  /** Leader whose state machine has applied an entry of the own term, and so everything that was ever committed before. */
  readonly leaderReady: boolean
  /** Leader: the highest index known to be durable at each other node (Figure 2, matchIndex). Empty for other roles. */
  readonly matchIndexes: ReadonlyMap<string, number>
  /** Leader: to whom leadership is on its way. */
  readonly transferTarget: string | undefined
  /** Leader: who would be the best to transfer leadership to. */
  readonly mostAdvancedVoter: string | undefined
  readonly room: RaftRoom
  /** Leader that lacks room: the voter that could go on in its place. */
  readonly roomierVoter: string | undefined
  tick(): void
  /** Takes a message. One that is late, doubled or malformed changes nothing. */
  step(from: string, message: RaftMessage): void
  /** Appends all of `datas` or none. Takes the buffers. */
  propose(datas: readonly Uint8Array[]): Proposed
  /** Proposes a configuration. `context` is the application's part of it, which may be all that changes; without it, the present one stays. */
  changeMembership(changes: readonly MembershipChange[], context?: Uint8Array): ChangeProposed
  /** Gives leadership to `to`; undefined when it is on its way. Watch `softState` and `transferTarget` for what becomes of it. */
  transferLeadership(to: string): TransferRefusal
  /**
   * Asks for a quorum round; `context` comes back in `readStates`. False when not the leader. Losing leadership forgets
   * the pending reads: watch `softState`.
   */
  readIndex(context: number): boolean
  /** What is to be done now; undefined when there is nothing. */
  ready(): Ready | undefined
  /** The write that `ack` names is durable, and all before it. */
  persisted(ack: StorageAck): void
  /**
   * In the place of `persisted`: storage has no room for all of that write. Its hard state is durable, and its
   * entries up to `stored`. Storage gives back the entries of every later write as well, until `roomAgain`; until
   * then it is handed none.
   */
  persistedInPart(ack: StorageAck, stored: number): void
  /** Storage takes entries again. */
  roomAgain(): void
  /**
   * Whether this node's disks have room to go on. Default true. Without it a leader looks for another one
   * (docs/raft.md, Room).
   */
  setRoom(hasRoom: boolean): void
  /** The state machine has applied everything up to `index`. */
  applied(index: number): void
  /** From here on snapshots can be named: the newest one's index, or the entry before the log's first. */
  readonly oldestSnapshot: number
  /** Names the snapshot that the state machine would be at `index`, from `oldestSnapshot` to `appliedIndex`. */
  snapshotMeta(index: number): SnapshotMeta
  /** The state machine has a durable snapshot. From now on this one is sent, and the log may be compacted up to it. */
  snapshotTaken(snapshot: SnapshotMeta): void
  /** The piece that was wanted. Undefined: that snapshot is there no more. Takes the buffer; `crc` is its CRC32C. */
  pieceRead(wanted: PieceWanted, piece: { data: Uint8Array; crc: number; done: boolean } | undefined): void
  /** The piece that was received is stored. */
  pieceStored(piece: PieceReceived): void
  /** The state machine is the snapshot now, durably. */
  snapshotInstalled(snapshot: SnapshotMeta): void
  /** The snapshot was of no use; the state machine is what it was. */
  snapshotRefused(snapshot: SnapshotMeta): void
}
