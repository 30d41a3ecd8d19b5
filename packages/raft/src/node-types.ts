import type { Clock, Random, RaftMessage } from '@quire/protocol'
import type { CoreLimits, Entry, Role } from './core/types.js'
import type { RaftLog } from './log/types.js'

/** Carries messages to other nodes. Lossy: what cannot be sent is dropped. Never blocks, never throws. */
export interface RaftTransport {
  send(to: string, message: RaftMessage): void
}

/** The state machine. What it throws stops the node. */
export interface RaftApplication {
  /** The last entry that the state machine has, at the start: its checkpoint. */
  readonly appliedIndex: number
  /**
   * Committed entries in order, of all kinds, each once, from `appliedIndex + 1` on. A promise holds the next ones back. The
   * buffers are shared with the log: read them, never change them.
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
  readonly role: Role | 'learner'
  readonly term: number
  readonly leader: string | undefined
  /** Leader that has committed and applied the no-op of its term: its state machine has all that was ever committed. */
  readonly ready: boolean
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly voters: readonly string[]
  readonly learners: readonly string[]
}

export interface RaftNode {
  status(): RaftStatus
  /**
   * Appends to the leader's log, in the order of the calls, and takes the buffer. The entry is committed when `apply` gets one
   * with this index and this term; it is lost when another term's entry comes there. Throws NotLeaderError,
   * BackPressureError, or InvalidArgumentError for more than MAX_ENTRY_BYTES.
   */
  propose(data: Uint8Array): { readonly index: number; readonly term: number }
  /**
   * Resolves with an index when a majority has confirmed this leader after the call and the entry is applied: reads of the
   * state machine are linearizable then. Calls of one turn share a round. Rejects with NotLeaderError when this node is not
   * the leader, ceases to be or is closed, and with BackPressureError.
   */
  readIndex(): Promise<number>
  /** Hands in a message. `from` is the identity that the transport proved. */
  receive(from: string, message: RaftMessage): void
  /** Stops, waits for storage and for the running `apply`, closes the log. */
  close(): Promise<void>
}
