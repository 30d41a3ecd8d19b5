import type { RaftStatus } from '@quire/raft'
import type { WatchedLog } from './log-watch.js'

/** The part of a node that the invariants see. */
export interface ObservedNode {
  readonly name: string
  /** Incremented at each start. */
  readonly life: number
  readonly watched: WatchedLog
  readonly status: RaftStatus | undefined
  /** It was told to close, or has stopped by itself. */
  readonly isClosing: boolean
}
