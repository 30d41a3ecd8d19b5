/**
 * The base of a segment: the state of the log before the segment's first entry. With it, a log can be read from any
 * segment on. The base also sums up the segment that holds the entries before, so that a start need not read those.
 */
import { list, MAX_PEER_ID_BYTES, optional, raftEntry, struct, text, uint, type Codec } from '@quire/protocol'
import type { Entry, HardState, SnapshotMeta } from '../core/types.js'
import type { Extent } from './extents.js'

/** The first entry of a term. */
export interface TermStart {
  readonly index: number
  readonly term: number
}

/** What a start must know of a segment without reading its batches: facts about the entries of it that count. */
export interface SegmentSummary {
  /** The `prevIndex` of that segment's base. */
  readonly prevIndex: number
  /** Where the entries are. */
  readonly extents: readonly Extent[]
  /** Where terms begin among the entries. */
  readonly terms: readonly TermStart[]
  /** The `config` entries among them, in order. */
  readonly configurations: readonly Entry[]
}

export interface SegmentBase {
  readonly prevIndex: number
  readonly prevTerm: number
  /** The hard state before the segment's first batch. */
  readonly hardState: HardState
  /** The newest `config` entry at or before `prevIndex`. */
  readonly configuration: Entry | undefined
  /**
   * Sums up the segment that holds entry `prevIndex`, up to that entry. Undefined if the log holds no entry up to
   * `prevIndex`: it is new, starts anew after a snapshot, or was compacted up to there. Earlier segments do not count
   * then, and need not reach up to `prevIndex`.
   */
  readonly before: SegmentSummary | undefined
}

export const hardState: Codec<HardState> = struct({ term: uint, vote: optional(text(MAX_PEER_ID_BYTES)), commit: uint })

/** A segment has fewer entries than this, because no file is as large. */
const MAX_ENTRIES = 2 ** 32

const summary: Codec<SegmentSummary> = struct({
  prevIndex: uint,
  extents: list(struct({ first: uint, last: uint, offset: uint, batch: uint, bytes: uint, size: uint }), MAX_ENTRIES),
  terms: list(struct({ index: uint, term: uint }), MAX_ENTRIES),
  configurations: list(raftEntry, MAX_ENTRIES)
})

export const segmentBase: Codec<SegmentBase> = struct({
  prevIndex: uint,
  prevTerm: uint,
  hardState,
  configuration: optional(raftEntry),
  before: optional(summary)
})

/** The base of a log's first segment. */
export const FIRST_BASE: SegmentBase = {
  prevIndex: 0,
  prevTerm: 0,
  hardState: { term: 0, vote: undefined, commit: 0 },
  configuration: undefined,
  before: undefined
}

/** The base of the segment with which a log starts anew. */
export function baseOfSnapshot({ index, term, configuration }: SnapshotMeta, state: HardState): SegmentBase {
  return { prevIndex: index, prevTerm: term, hardState: state, configuration, before: undefined }
}

export function sameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit
}
