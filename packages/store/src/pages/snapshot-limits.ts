import type { BackendUsage } from './backend.js'

/** Free gaps between pages, which are too short for others, may take this part of a file (docs/storage.md, Bounds). */
const FILE_PER_USED = 1.15

/**
 * Tells whether the file has grown since it had `openedBytes`, and has `maxUnusedBytes` more than its rows should take.
 * A file that has not grown may be large because there were more pages once.
 */
export function growsTooMuch(
  { fileBytes, usedBytes }: BackendUsage,
  openedBytes: number,
  maxUnusedBytes: number
): boolean {
  return fileBytes > openedBytes && fileBytes - FILE_PER_USED * usedBytes > maxUnusedBytes
}

export interface SnapshotLimits {
  /** Followers that are sent a snapshot at once, at most MAX_SENT_SNAPSHOTS. Others wait. */
  readonly maxTransfers: number
  /** A transfer ends when the follower has wanted no piece for this long. */
  readonly maxIdleMs: number
  readonly maxAgeMs: number
  /**
   * A transfer ends when the file of the pages has grown since it began, and has this much more than the rows should
   * take ({@link growsTooMuch}).
   */
  readonly maxUnusedBytes: number
  /** A transfer ends when the log holds back this much for its follower, and more than the snapshot has itself. */
  readonly maxLogBytes: number
  /** Rate at which this peer sends snapshots to all followers together. */
  readonly bytesPerSecond: number
  /** A received snapshot that finds no space is written again after this pause. */
  readonly retryMs: number
}

/** A piece takes four seconds at this rate. A slower transfer would rarely end before its time is up. */
export const MIN_SNAPSHOT_BYTES_PER_SECOND = 64 * 1024

export const DEFAULT_SNAPSHOT_LIMITS: SnapshotLimits = {
  maxTransfers: 2,
  maxIdleMs: 60_000,
  maxAgeMs: 3_600_000,
  maxUnusedBytes: 1024 ** 3,
  maxLogBytes: 1024 ** 3,
  bytesPerSecond: 64 * 1024 * 1024,
  retryMs: 1_000
}
