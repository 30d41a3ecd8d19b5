/**
 * Lines about remotes that this peer refused. A refused remote may come back at any time, and under any number of new
 * keys. It must not fill the log.
 */
import { createLogQuota, type LogQuota } from '@quire/net'
import { QuireError, clipText, type Clock } from '@quire/protocol'
import type { Logger } from 'pino'

/** Refusals that are remembered, of members and of others each. One that was forgotten is logged again. */
const MAX_REMEMBERED = 1024
/** Of a reason. Much of it may be the remote's own words. */
const MAX_LOGGED_BYTES = 1024

export interface RefusalToLog {
  readonly remote: string
  /** What it is refused for, in the project's words: repeated under one kind, it is no news, whatever the error says. */
  readonly kind: string
  readonly error: Error
  readonly facts?: Readonly<Record<string, unknown>>
  /** Default `warn`. */
  readonly level?: 'warn' | 'error'
  /** A member of the cluster. There are few of them, so their refusals are always logged. */
  readonly isMember?: boolean
}

/** Logs each kind of refusal once for each remote. */
export class Refusals {
  private readonly ofMembers = new Set<string>()
  private readonly ofOthers = new Set<string>()
  private readonly quota: LogQuota

  constructor(
    private readonly logger: Logger | undefined,
    private readonly who: 'client' | 'peer',
    clock: Pick<Clock, 'now'>
  ) {
    this.quota = createLogQuota(
      () => clock.now(),
      (refusals) => logger?.warn({ refusals }, `more ${who}s were refused`)
    )
  }

  log({ remote, kind, error, facts = {}, level = 'warn', isMember = false }: RefusalToLog): void {
    const { who, logger } = this
    const logged = isMember ? this.ofMembers : this.ofOthers
    const key = keyOf(remote, kind)
    if (logged.has(key)) return
    if (!isMember && !this.quota.take()) return
    if (logged.size >= MAX_REMEMBERED) {
      const [oldest] = logged
      if (oldest !== undefined) logged.delete(oldest)
    }
    logged.add(key)
    // A refusal is expected, so where it was made is of no interest; of any other error it is.
    const isExpected = error instanceof QuireError
    const why = isExpected ? { reason: clipText(error.message, MAX_LOGGED_BYTES) } : { err: error }
    // The whole id: an operator who wants to let it in needs it.
    logger?.[level]({ [who]: remote, id: remote, ...facts, ...why }, `${who} refused`)
  }

  /** The member was accepted: its next refusal is news. */
  accepted(remote: string, kinds: readonly string[]): void {
    for (const kind of kinds) this.ofMembers.delete(keyOf(remote, kind))
  }
}

function keyOf(remote: string, kind: string): string {
  return `${remote} ${kind}`
}
