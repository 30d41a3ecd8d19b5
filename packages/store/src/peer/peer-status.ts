import type { Member, RaftRoom } from '@quire/protocol'
import type { StageReport } from '../observability/stages.js'
import type { DiskStatus } from './disk-watch.js'
import type { StoreStatus } from './group.js'
import type { Quarantined } from './peer-links.js'

/** The state of a peer as it knows it, without asking other peers. */
export interface PeerStatus extends StoreStatus {
  readonly clusterId: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  /** PeerId as text. */
  readonly id: string
  /** True if this peer takes part in votes (docs/identity.md, Admission). */
  readonly admitted: boolean
  /** The members that this peer refuses, or that refuse it. */
  readonly quarantined: readonly Quarantined[]
  readonly role: 'leader' | 'follower' | 'candidate' | 'learner'
  readonly term: number
  /** PeerId as text; undefined while unknown. */
  readonly leader: string | undefined
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly voters: readonly Member[]
  readonly learners: readonly Member[]
  /** All timeouts derive from it; see `timingOf`. */
  readonly roundTripMs: number
  readonly sessions: number
  readonly ownedPages: number
  /**
   * `little`: the peer stores entries until its log's file is full, and hands leadership over. `none`: it stores none.
   */
  readonly room: RaftRoom
  /** The file system of the data directory; undefined if unknown. */
  readonly disk: DiskStatus | undefined
  /** Durations of the stages of its work since it started (docs/observability.md). */
  readonly stages: readonly StageReport[]
}
