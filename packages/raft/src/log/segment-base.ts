/**
 * The base of a segment: the state of the log before the segment's first entry. With it, a log can be read from any
 * segment on.
 */
import { bool, MAX_PEER_ID_BYTES, optional, raftEntry, struct, text, uint, type Codec } from '@quire/protocol'
import type { Entry, HardState, SnapshotMeta } from '../core/types.js'

export interface SegmentBase {
  /** The segment holds only entries after this index. */
  readonly prevIndex: number
  readonly prevTerm: number
  /** The hard state before the batch that holds the base. */
  readonly hardState: HardState
  /** The newest `config` entry at or before `prevIndex`. */
  readonly configuration: Entry | undefined
  /**
   * The log starts anew here, after a snapshot: earlier segments do not count, and need not reach up to `prevIndex`.
   * Otherwise the base continues the earlier segments, and a gap between them is damage.
   */
  readonly reset: boolean
}

export const hardState: Codec<HardState> = struct({ term: uint, vote: optional(text(MAX_PEER_ID_BYTES)), commit: uint })

export const segmentBase: Codec<SegmentBase> = struct({
  prevIndex: uint,
  prevTerm: uint,
  hardState,
  configuration: optional(raftEntry),
  reset: bool
})

/** The base of a log's first segment. */
export const FIRST_BASE: SegmentBase = {
  prevIndex: 0,
  prevTerm: 0,
  hardState: { term: 0, vote: undefined, commit: 0 },
  configuration: undefined,
  reset: false
}

export function baseOfSnapshot({ index, term, configuration }: SnapshotMeta, state: HardState): SegmentBase {
  return { prevIndex: index, prevTerm: term, hardState: state, configuration, reset: true }
}

export function sameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit
}
