import type { Role } from '@quire/protocol'

/** What the session server needs of a Raft node; the node of `@quire/raft` fits. */
export interface RaftPort {
  status(): RaftPortStatus
  /** Throws NotLeaderError, or BackPressureError while too much is uncommitted. */
  propose(data: Uint8Array): { readonly index: number; readonly term: number }
  /** A quorum round: resolves once this node has applied everything that was committed when it was called. Rejects when it leads no more. */
  readIndex(): Promise<number>
}

export interface RaftPortStatus {
  readonly role: Role
  readonly term: number
  /** PeerId as text. */
  readonly leader?: string | undefined
  /** Leader only: its own no-op is applied. */
  readonly ready: boolean
  /** Leader that gives leadership away, or will: what it is asked for now, the next leader can do. Default false. */
  readonly handsOver?: boolean
}
