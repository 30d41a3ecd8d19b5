/**
 * Walks over the rows of a page store at a limited rate, and reports damage and the hash of the state.
 *
 * A walk keeps a view open, which holds back the space that checkpoints free. So it is given up when it takes too long,
 * or when the file grows too much meanwhile.
 */
import { ClosedError, type Clock } from '@quire/protocol'
import type { BackendUsage } from './backend.js'
import type { RowsView } from './page-store.js'
import { ScrubWalk, type WalkDamage } from './scrub-walk.js'
import { growsTooMuch } from './snapshot-limits.js'

export interface ScrubLimits {
  /** Rate of the walk in bytes of rows. */
  readonly bytesPerSecond: number
  /** The walk reads so much at a time. */
  readonly sliceBytes: number
  /** A walk that takes longer is given up. */
  readonly maxAgeMs: number
  /** A walk is given up when the file has this much more than its rows should take ({@link growsTooMuch}). */
  readonly maxUnusedBytes: number
}

/** A slice takes two seconds at this rate. */
export const MIN_SCRUB_BYTES_PER_SECOND = 64 * 1024

export const DEFAULT_SCRUB_LIMITS: ScrubLimits = {
  bytesPerSecond: 32 * 1024 * 1024,
  // It takes about a millisecond.
  sliceBytes: 128 * 1024,
  maxAgeMs: 3_600_000,
  maxUnusedBytes: 1024 ** 3
}

export interface EndedScrub {
  /** Index of the log entry after which the rows are the state. */
  readonly index: number
  /** SHA-256 in hex; undefined if rows were damaged, or the walk was given up. */
  readonly hash: string | undefined
  readonly damagedPages: number
  readonly damagedRecords: number
  readonly durationMs: number
  /** Why the walk was given up; undefined if it came to its end. */
  readonly givenUp: string | undefined
}

export interface ScrubInit {
  readonly clock: Clock
  readonly limits?: Partial<ScrubLimits> | undefined
  /** The file of the pages; undefined while a snapshot takes the place of the state. */
  readonly usage: () => BackendUsage | undefined
  readonly onDamagedPage: (page: WalkDamage) => void
  /** A walk has ended. */
  readonly onEnd: (scrub: EndedScrub) => void
  /** The rows cannot be read at all. */
  readonly onFatal: (error: Error) => void
}

interface Running {
  readonly index: number
  readonly rows: RowsView
  readonly walk: ScrubWalk
  readonly startedAtMs: number
  readonly fileBytes: number
  damagedPages: number
  damagedRecords: number
}

/** Runs at most one walk at a time. */
export class Scrub {
  /** What all walks together have found damaged. A row counts again with each walk. */
  damagedPages = 0
  damagedRecords = 0
  private readonly limits: ScrubLimits
  private running: Running | undefined
  private cancel = (): void => {}

  constructor(private readonly init: ScrubInit) {
    this.limits = { ...DEFAULT_SCRUB_LIMITS, ...init.limits }
  }

  get isRunning(): boolean {
    return this.running !== undefined
  }

  /** Starts a walk over rows that are the state after entry `index`, and closes them at its end. None may run. */
  start(index: number, rows: RowsView): void {
    const { clock, usage } = this.init
    const fileBytes = usage()?.fileBytes ?? 0
    const startedAtMs = clock.now()
    const walk = new ScrubWalk(rows)
    this.running = { index, rows, walk, startedAtMs, fileBytes, damagedPages: 0, damagedRecords: 0 }
    this.schedule(0)
  }

  /** Ends the walk that runs without a report. */
  stop(): void {
    this.cancel()
    this.running?.rows.view.close()
    this.running = undefined
  }

  private schedule(delayMs: number): void {
    this.cancel = this.init.clock.schedule(delayMs, () => this.walkOn(this.running!))
  }

  private walkOn(running: Running): void {
    const { clock, onDamagedPage, onFatal } = this.init
    const startedAtMs = clock.now()
    try {
      const reason = this.reasonToGiveUp(running)
      if (reason !== undefined) return this.end(running, undefined, reason)
      const { bytes, damagedPages, damagedRecords, done } = running.walk.walk(this.limits.sliceBytes)
      running.damagedPages += damagedPages.length
      running.damagedRecords += damagedRecords
      this.damagedPages += damagedPages.length
      this.damagedRecords += damagedRecords
      for (const page of damagedPages) onDamagedPage(page)
      if (done) return this.end(running, running.walk.hash(), undefined)
      const spentMs = clock.now() - startedAtMs
      this.schedule(Math.max(0, (bytes / this.limits.bytesPerSecond) * 1_000 - spentMs))
    } catch (error) {
      if (error instanceof ClosedError) return this.end(running, undefined, 'a snapshot has replaced the state')
      this.stop()
      onFatal(error as Error)
    }
  }

  private reasonToGiveUp({ startedAtMs, fileBytes }: Running): string | undefined {
    const { clock, usage } = this.init
    const { maxAgeMs, maxUnusedBytes } = this.limits
    if (clock.now() - startedAtMs >= maxAgeMs) return 'it takes too long'
    const now = usage()
    return now !== undefined && growsTooMuch(now, fileBytes, maxUnusedBytes)
      ? 'the file of the pages grows too much'
      : undefined
  }

  private end(running: Running, hash: string | undefined, givenUp: string | undefined): void {
    const { index, damagedPages, damagedRecords, startedAtMs } = running
    const durationMs = Math.round(this.init.clock.now() - startedAtMs)
    this.stop()
    this.init.onEnd({ index, hash, damagedPages, damagedRecords, durationMs, givenUp })
  }
}
