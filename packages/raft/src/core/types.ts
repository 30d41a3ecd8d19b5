import type { RaftConfiguration, RaftEntry, RaftMessage } from '@quire/protocol'

/** One entry of the log. Its data must not change once it was handed over. */
export type Entry = RaftEntry

/** What a node must know again after a crash (Figure 2, "Persistent state"). The commit index only spares a restart work. */
export interface HardState {
  readonly term: number
  /** For whom this node voted in `term`. */
  readonly vote: string | undefined
  /** Never above the last durable entry. */
  readonly commit: number
}

/** Who counts (`voters`) and who only listens (`learners`). Node ids are PeerIds as text. */
export type Configuration = Pick<RaftConfiguration, 'voters' | 'learners'>

export type Role = 'leader' | 'follower' | 'candidate'

/** The durable part of the log, read synchronously. */
export interface LogReader {
  /** Index of the first entry that can be read; `lastIndex + 1` when there is none. */
  readonly firstIndex: number
  readonly lastIndex: number
  /** Term of an entry; undefined outside of the log. Cheap: needs no entry's data. */
  term(index: number): number | undefined
  /**
   * Entries from `lo` up to but without `hi`, both inside the log: as many as fit `maxBytes` (see `raftEntryBytes`), but at
   * least one. Throws CorruptionError when stored bytes do not match their checksum.
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

/**
 * What the core wants done. The order is what makes it safe:
 * 1. `messages` may leave at once; a leader's appends travel beside its own flush (thesis §10.2.1).
 * 2. `write` goes to storage; when it is durable, its `ack` goes to `persisted`.
 * 3. `messagesAfter` leave when this write, or if there is none all writes before, is durable: a vote that is sent
 *    before it is durable can be cast twice after a crash, an acknowledged entry could vanish.
 * 4. `committed` is applied in order, then `applied` is called; nothing more comes before that.
 */
export interface Ready {
  readonly messages: readonly Outgoing[]
  /** Entries replace everything from the first one's index on. */
  readonly write: StorageWrite | undefined
  readonly messagesAfter: readonly Outgoing[]
  readonly committed: readonly Entry[]
  readonly readStates: readonly ReadState[]
  /** Present when role, term or leader changed. */
  readonly softState: SoftState | undefined
}

export interface StorageWrite {
  readonly ack: StorageAck
  readonly hardState: HardState | undefined
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
  /** Every `config` entry of the log, in order. */
  readonly configurations: readonly Entry[]
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

/** `index` and `term` of the first proposal; the others follow. */
export type Proposed =
  | { readonly index: number; readonly term: number }
  | { readonly refused: 'notLeader'; readonly leader: string | undefined }
  | { readonly refused: 'full'; readonly uncommittedBytes: number }

/** Raft without IO: synchronous, deterministic, driven by ticks and messages. */
export interface RaftCore {
  readonly term: number
  readonly role: Role
  readonly leader: string | undefined
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly configuration: Configuration
  /** Leader whose state machine has applied an entry of the own term, and so everything that was ever committed before. */
  readonly leaderReady: boolean
  tick(): void
  /** Takes a message. One that is late, doubled or malformed changes nothing. */
  step(from: string, message: RaftMessage): void
  /** Appends all of `datas` or none. Takes the buffers. */
  propose(datas: readonly Uint8Array[]): Proposed
  /**
   * Asks for a quorum round; `context` comes back in `readStates`. False when not the leader. Losing leadership forgets
   * the pending reads: watch `softState`.
   */
  readIndex(context: number): boolean
  /** What is to be done now; undefined when there is nothing. */
  ready(): Ready | undefined
  /** The write that `ack` names is durable, and all before it. */
  persisted(ack: StorageAck): void
  /** The state machine has applied everything up to `index`. */
  applied(index: number): void
}
