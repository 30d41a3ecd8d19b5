import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'

export interface NetworkInit {
  readonly scheduler: Scheduler
  readonly random: RandomSource
  readonly coverage: Coverage
  /** The round trip of every link; 0 puts all nodes in one place. */
  readonly roundTripMs: number
  /** Mean latency of a stream, besides half of the round trip. */
  readonly latencyMs: number
  /** Shares of Raft's frames. */
  readonly raftLoss: number
  readonly raftDuplication: number
  readonly raftReordering: number
  /** Share of dials that fail without a reason. */
  readonly dialFailure: number
  /** Share of frames that arrive together with the next one of their stream. */
  readonly joined: number
  /** Bytes in flight from which `send` returns false. */
  readonly highWaterBytes: number
  /** Bytes per millisecond of each client's line, in each direction; Infinity for no limit. */
  readonly lineBytesPerMs: number
}
