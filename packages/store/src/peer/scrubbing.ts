import type { Clock, ComparisonOutcome } from '@quire/protocol'
import { BackPressureError, NotLeaderError } from '@quire/raft'
import type { Logger } from 'pino'
import {
  DEFAULT_SCRUB_LIMITS,
  Scrub,
  type Applier,
  type Divergence,
  type EndedScrub,
  type ScrubLimits,
  type WalkDamage
} from '../pages/index.js'
import { encodeCommand, peerIdOf } from '../state/index.js'
import { CompareSchedule } from './compare-schedule.js'
import { Comparison, type StateReport, type Verdict } from './comparison.js'

export interface ScrubbingInit {
  /** Member id of this peer. */
  readonly self: string
  readonly applier: Applier
  readonly clock: Clock
  readonly limits?: Partial<ScrubLimits> | undefined
  /** The time between two comparisons while this peer leads; Infinity if it proposes none. Default one hour. */
  readonly intervalMs?: number | undefined
  /** The path of the rows, and what an operator does about a state that is wrong. */
  readonly divergenceError: (divergence: Divergence) => Error
  readonly onDamagedPage: (file: number, page: number) => void
  readonly logger: Logger | undefined
  readonly onFatal: (error: Error) => void
}

/** What this peer needs of the others. */
export interface ScrubbingConnection {
  /** The member ids of the voters. */
  readonly voters: () => readonly string[]
  /** Whether this peer leads, and has room for an entry. */
  readonly mayPropose: () => boolean
  /** Raft's current term. */
  readonly term: () => number
  /** Throws NotLeaderError or BackPressureError. */
  readonly propose: (data: Uint8Array) => { readonly index: number; readonly term: number }
  /** Tells all other members. */
  readonly tell: (report: StateReport) => void
}

export interface ScrubStatus {
  /** The newest comparison; undefined if there was none since the start. */
  readonly comparison: { readonly index: number; readonly outcome: ComparisonOutcome } | undefined
  /** What scrubs have found damaged since the start. A row counts again with each scrub. */
  readonly damagedPages: number
  readonly damagedRecords: number
}

const DEFAULT_INTERVAL_MS = 3_600_000
const TICK_MS = 1_000
/** Damaged keys of one walk that are logged one by one. */
const MAX_LOGGED_KEYS = 32

/**
 * Scrubs the rows of a peer, and compares their state with those of the others (docs/storage.md, Scrub and comparison).
 */
export class Scrubbing {
  private readonly scrub: Scrub
  private readonly comparison: Comparison
  private readonly schedule: CompareSchedule | undefined
  private readonly tickMs: number
  private connection: ScrubbingConnection | undefined
  private loggedKeys = 0
  /** The verdict that was logged last, so that it is not logged again. */
  private lastVerdict = ''
  /** The entry that this peer has proposed last. */
  private proposed = { index: 0, term: 0 }
  /** The newest compare entry that this peer has reported its state for. */
  private reportedIndex = 0
  private isStopped = false
  private cancelTick = (): void => {}

  constructor(private readonly init: ScrubbingInit) {
    const { self, applier, clock, limits, intervalMs = DEFAULT_INTERVAL_MS, onFatal } = init
    this.comparison = new Comparison(self)
    // A large store needs longer than usual, so its operator has chosen a longer interval.
    const maxAgeMs = Math.max(DEFAULT_SCRUB_LIMITS.maxAgeMs, Number.isFinite(intervalMs) ? intervalMs : 0)
    this.scrub = new Scrub({
      clock,
      limits: { maxAgeMs, ...limits },
      usage: () => applier.usage(),
      onDamagedPage: (page) => this.pageDamaged(page),
      onEnd: (scrub) => this.scrubbed(scrub),
      onFatal
    })
    this.schedule = intervalMs === Infinity ? undefined : new CompareSchedule(intervalMs, clock.now())
    this.tickMs = Math.min(TICK_MS, intervalMs)
  }

  connect(connection: ScrubbingConnection): void {
    this.connection = connection
    if (this.schedule !== undefined) this.scheduleTick()
  }

  status(): ScrubStatus {
    const verdict = this.judge()
    const { damagedPages, damagedRecords } = this.scrub
    const comparison = verdict && { index: verdict.index, outcome: verdict.outcome }
    return { comparison, damagedPages, damagedRecords }
  }

  /** A compare entry was applied. */
  applied(index: number): void {
    this.schedule?.compared(this.init.clock.now())
    this.comparison.begin(index)
  }

  /** See `ApplierInit.onCompare`. */
  stored(index: number, isStored: boolean): void {
    if (this.isStopped) return
    const { applier, logger } = this.init
    if (isStored && !this.scrub.isRunning) {
      this.loggedKeys = 0
      return this.scrub.start(index, applier.openView())
    }
    const reason = isStored ? 'the scrub for an earlier entry still runs' : 'checkpoints find no space'
    logger?.warn({ index, reason }, 'this peer does not compare its state')
    this.report({ index, hash: '' })
  }

  /** A member tells of its state. */
  heard(member: string, report: StateReport): void {
    this.comparison.reported(member, report)
    this.followVerdict()
  }

  stop(): void {
    this.isStopped = true
    this.cancelTick()
    this.scrub.stop()
  }

  // ---- as the leader

  private scheduleTick(): void {
    this.cancelTick = this.init.clock.schedule(this.tickMs, () => {
      this.scheduleTick()
      this.propose(this.schedule!, this.connection!)
    })
  }

  private propose(schedule: CompareSchedule, connection: ScrubbingConnection): void {
    const { clock } = this.init
    if (!schedule.isDue(clock.now()) || this.isUnderWay(connection) || !connection.mayPropose()) return
    try {
      this.proposed = connection.propose(encodeCommand({ type: 'compare', at: clock.wallTime() }))
      schedule.compared(clock.now())
    } catch (error) {
      // The next tick tries again.
      if (!(error instanceof BackPressureError) && !(error instanceof NotLeaderError)) throw error
    }
  }

  /**
   * A comparison of this peer has not come to its end. Each takes a checkpoint, which entries behind the next one wait
   * for. So if the disks are slow, another one would make the leader late for its clients. A later term may have lost
   * the entry.
   */
  private isUnderWay({ term }: ScrubbingConnection): boolean {
    const { proposed, reportedIndex, scrub } = this
    return scrub.isRunning || (proposed.term === term() && reportedIndex < proposed.index)
  }

  // ---- the scrub

  private pageDamaged({ file, page, reason }: WalkDamage): void {
    const { logger, onDamagedPage } = this.init
    if (file !== undefined && page !== undefined) return onDamagedPage(file, page)
    if (this.loggedKeys++ < MAX_LOGGED_KEYS) logger?.error({ reason }, 'a page has a damaged key')
  }

  private scrubbed({ index, hash, damagedPages, damagedRecords, durationMs, givenUp }: EndedScrub): void {
    const { applier, logger } = this.init
    const facts = { index, durationMs }
    if (damagedPages + damagedRecords > 0) {
      logger?.error({ ...facts, damagedPages, damagedRecords }, 'a scrub has found damage')
    }
    if (givenUp !== undefined) logger?.warn({ ...facts, reason: givenUp }, 'a scrub was given up')
    else logger?.debug(facts, 'a scrub has ended')
    if (damagedRecords > 0) applier.rewriteRecords()
    this.report({ index, hash: hash ?? '' })
  }

  // ---- the comparison

  private report(report: StateReport): void {
    this.reportedIndex = report.index
    this.comparison.reported(this.init.self, report)
    this.connection?.tell(report)
    this.followVerdict()
  }

  private judge(): Verdict | undefined {
    return this.connection && this.comparison.judge(this.connection.voters())
  }

  private followVerdict(): void {
    const verdict = this.judge()
    if (verdict === undefined || this.isStopped) return
    const { index, outcome, agreed, wrong, isComplete, hashes } = verdict
    if (wrong !== undefined && agreed !== undefined) return this.leave({ index, hash: wrong, agreed })
    const peers = Object.fromEntries([...hashes].map(([member, hash]) => [peerIdOf(member), hash || 'incomplete']))
    const key = JSON.stringify([index, outcome, agreed, isComplete, outcome === 'differs' && peers])
    if (key === this.lastVerdict) return
    this.lastVerdict = key
    const { logger } = this.init
    if (outcome === 'differs' && agreed !== undefined) {
      logger?.error({ index, peers }, 'a peer has another state than a majority of the voters')
    } else if (outcome === 'differs' && isComplete) {
      logger?.error({ index, peers }, 'the voters have different states, and no majority agrees on one')
    } else if (outcome === 'incomplete') {
      logger?.warn({ index, peers }, 'not all voters could compare their states')
    } else if (outcome === 'equal') {
      logger?.info({ index }, 'all voters have the same state')
    }
  }

  /** A majority of the voters has another state. The mark refuses the next start, so the peer does not come back. */
  private leave(divergence: Divergence): void {
    const { applier, divergenceError, logger, onFatal } = this.init
    this.stop()
    const error = divergenceError(divergence)
    logger?.error({ ...divergence, err: error }, 'this peer has another state than a majority of the voters')
    applier
      .markDiverged(divergence, error)
      .catch((err: unknown) => logger?.error({ err }, 'the state could not be marked: the next start is not refused'))
      .finally(() => onFatal(error))
  }
}
