import type { Role } from '@quire/protocol'

/** The part of a Raft node that the group server uses. A `RaftNode` of `@quire/raft` has it. */
export interface RaftPort {
  status(): RaftPortStatus
  /** Throws NotLeaderError, or BackPressureError while too much is uncommitted. */
  propose(data: Uint8Array): { readonly index: number; readonly term: number }
  /**
   * A quorum round. Resolves when a majority has confirmed this leader after the call, and this node has applied
   * everything that was committed at the time of the call. Rejects when this node no longer leads.
   */
  readIndex(): Promise<number>
}

export interface RaftPortStatus {
  readonly role: Role
  readonly term: number
  /** PeerId as text. */
  readonly leader?: string | undefined
  /** True on a leader that has applied the no-op of its term. */
  readonly ready: boolean
  /** True on a leader that hands leadership over: the next leader can carry out what it refuses. Default false. */
  readonly handsOver?: boolean
}
