import type { RaftLimits } from '@quire/raft'
import type { ReplicaLimits } from '@quire/store/internal'

export interface PeerSettings {
  readonly diskLatencyMs: number
  readonly segmentBytes: number
  readonly maxMemtableBytes: number
  readonly checkpointEntries: number
  readonly checkpointIntervalMs: number
  readonly maxReleased: number
  /** The round trip that the cluster is founded with. */
  readonly roundTripMs: number
  /** The admins that the cluster is founded with. */
  readonly admins: readonly string[]
  readonly creditBytes: number
  readonly maxFaults: number
  readonly maxProposalBytes: number
  readonly raft: Pick<RaftLimits, 'retainedBytes' | 'maxPieceBytes'>
  readonly snapshots: NonNullable<ReplicaLimits['snapshots']>
  readonly scrub: NonNullable<ReplicaLimits['scrub']>
}
