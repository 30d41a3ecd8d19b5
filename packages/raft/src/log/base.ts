/** The base of a segment: what the log is before the segment's first entry, so that a log can be read from any segment on. */
import { bool, MAX_PEER_ID_BYTES, optional, raftEntry, struct, text, uint, type Codec } from '@quire/protocol'
import type { Entry, HardState, SnapshotMeta } from '../core/types.js'

export interface SegmentBase {
  /** The segment holds only entries after this one. */
  readonly prevIndex: number
  readonly prevTerm: number
  /** Before the batch that the base is in. */
  readonly hardState: HardState
  /** The newest `config` entry at or before `prevIndex`. */
  readonly configuration: Entry | undefined
  /**
   * The log starts anew here, after a snapshot: what stands in segments before does not count, and need not reach up to
   * `prevIndex`. Without it a base continues the segments before, and a gap between them is damage.
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

/** Before anything ever was. */
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
