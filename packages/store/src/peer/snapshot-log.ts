import type { Clock, CorruptionError, RaftSnapshot } from '@quire/protocol'
import type { Logger } from 'pino'
import type { BegunTransfer, EndedTransfer, Receipt } from '../pages/index.js'

/** Transfers to one follower that are logged in {@link WINDOW_MS}. A follower that fails begins anew each time. */
const MAX_TRANSFERS = 4
const WINDOW_MS = 600_000

interface Follower {
  readonly sinceMs: number
  /** Transfers since then. */
  readonly transfers: number
}

/** Logs the snapshots that a peer sends and receives. Transfers that fail over and over do not fill the log. */
export class SnapshotLog {
  private readonly followers = new Map<string, Follower>()
  /** Refusals are silent until a snapshot is installed. */
  private hasRefused = false

  constructor(
    private readonly logger: Logger | undefined,
    private readonly clock: Pick<Clock, 'now'>
  ) {}

  begun({ to, index, totalBytes }: BegunTransfer): void {
    const before = this.followers.get(to)
    const now = this.clock.now()
    const isSame = before !== undefined && now - before.sinceMs < WINDOW_MS
    const { sinceMs, transfers } = isSame ? before : { sinceMs: now, transfers: 0 }
    this.followers.set(to, { sinceMs, transfers: transfers + 1 })
    if (!this.isLogged(to)) return
    const unlogged = isSame ? 0 : Math.max(0, (before?.transfers ?? 0) - MAX_TRANSFERS)
    const facts = { peer: to, index, totalBytes, ...(unlogged === 0 ? {} : { unlogged }) }
    this.logger?.info(facts, 'a snapshot is being sent')
  }

  ended({ to, index, sentBytes, durationMs, reason }: EndedTransfer): void {
    if (!this.isLogged(to)) return
    const facts = { peer: to, index, sentBytes, durationMs }
    if (reason === undefined) this.logger?.info(facts, 'a snapshot has been sent')
    else this.logger?.info({ ...facts, reason }, 'a snapshot was not sent to its end')
  }

  installed({ index }: RaftSnapshot, { receivedBytes, durationMs }: Receipt): void {
    this.hasRefused = false
    this.logger?.info({ index, receivedBytes, durationMs }, 'a snapshot from the leader has become the state')
  }

  refused({ index }: RaftSnapshot, { message }: CorruptionError): void {
    if (this.hasRefused) return
    this.hasRefused = true
    this.logger?.warn({ index, reason: message }, 'a snapshot from the leader is refused')
  }

  private isLogged(to: string): boolean {
    return (this.followers.get(to)?.transfers ?? 0) <= MAX_TRANSFERS
  }
}
