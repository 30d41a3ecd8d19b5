import type { Clock, CorruptionError, RaftSnapshot } from '@quire/protocol'
import type { Logger } from 'pino'
import { KeyQuota } from '../observability/key-quota.js'
import type { BegunTransfer, EndedTransfer, Receipt } from '../pages/index.js'
import { peerIdOf } from '../state/index.js'

/** Logs the snapshots that a peer sends and receives. Transfers that fail over and over do not fill the log. */
export class SnapshotLog {
  /** By follower. A follower that fails begins anew each time. */
  private readonly quota: KeyQuota
  /** The followers whose present transfer is logged. */
  private readonly logged = new Set<string>()
  /** Refusals are silent until a snapshot is installed. */
  private hasRefused = false

  constructor(
    private readonly logger: Logger | undefined,
    clock: Pick<Clock, 'now'>
  ) {
    this.quota = new KeyQuota(clock)
  }

  begun({ to, index, totalBytes }: BegunTransfer): void {
    const isLogged = !this.quota.isUsedUp(to)
    const unlogged = this.quota.count(to)
    if (!isLogged) return
    this.logged.add(to)
    const facts = { peer: peerIdOf(to), index, totalBytes, ...(unlogged === 0 ? {} : { unlogged }) }
    this.logger?.info(facts, 'a snapshot is being sent')
  }

  ended({ to, index, sentBytes, durationMs, reason }: EndedTransfer): void {
    if (!this.logged.delete(to)) return
    const facts = { peer: peerIdOf(to), index, sentBytes, durationMs }
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
}
