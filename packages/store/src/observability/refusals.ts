import { createLogQuota, type LogQuota } from '@quire/net'
import { QuireError, clipText, type Clock } from '@quire/protocol'
import type { Logger } from 'pino'

/** Refusals to remember: so many of members, and so many of others. A forgotten refusal is logged again. */
const MAX_REMEMBERED = 1024
/**
 * Log lines about one remote and kind in {@link WINDOW_MS}, because the remote decides how often its refusal is news.
 */
const MAX_LINES = 4
const WINDOW_MS = 600_000
/** The longest reason in a log line. The remote may have written most of it. */
const MAX_LOGGED_BYTES = 1024

export interface RefusalToLog {
  readonly remote: string
  /** The kind of the refusal. A repeated refusal of one kind is not logged, whatever its error says. */
  readonly kind: string
  /** The subject of the refusal. A refusal of the same kind with another subject is logged. */
  readonly about?: string
  readonly error: Error
  readonly facts?: Readonly<Record<string, unknown>>
  /** Default `warn`. */
  readonly level?: 'warn' | 'error'
  /** True for a member of the cluster. There are few members, so their refusals have no common limit. */
  readonly isMember?: boolean
}

interface Logged {
  /** The subject of the last line; undefined if the remote was accepted since. */
  about: string | undefined
  /** Lines since `sinceMs`. */
  lines: number
  sinceMs: number
}

/**
 * Logs each kind of refusal once for each remote.
 *
 * It logs a refusal again if its subject is another one, or if the remote was accepted in between. A refused remote may
 * come back at any time and under any number of new keys, and it must not fill the log.
 */
export class Refusals {
  private readonly ofMembers = new Map<string, Logged>()
  private readonly ofOthers = new Map<string, Logged>()
  private readonly quota: LogQuota

  constructor(
    private readonly logger: Logger | undefined,
    private readonly who: 'client' | 'peer',
    private readonly clock: Pick<Clock, 'now'>
  ) {
    this.quota = createLogQuota(
      () => clock.now(),
      (refusals) => logger?.warn({ refusals }, `more ${who}s were refused`)
    )
  }

  log({ remote, kind, about = '', error, facts = {}, level = 'warn', isMember = false }: RefusalToLog): void {
    const { who, logger } = this
    const logged = isMember ? this.ofMembers : this.ofOthers
    const key = keyOf(remote, kind)
    const known = this.knownOf(logged, key)
    if (known.about === about || known.lines >= MAX_LINES) return
    if (!isMember && !this.quota.take()) return
    if (!logged.has(key) && logged.size >= MAX_REMEMBERED) {
      const [oldest] = logged.keys()
      if (oldest !== undefined) logged.delete(oldest)
    }
    logged.set(key, { ...known, about, lines: known.lines + 1 })
    // A refusal is expected, so its stack does not matter. The stack of any other error does.
    const isExpected = error instanceof QuireError
    const why = isExpected ? { reason: clipText(error.message, MAX_LOGGED_BYTES) } : { err: error }
    // The whole id, because an operator who wants to let the remote in needs it.
    logger?.[level]({ [who]: remote, id: remote, ...facts, ...why }, `${who} refused`)
  }

  /** The member was accepted, so its next refusal is logged. */
  accepted(remote: string, kinds: readonly string[]): void {
    for (const kind of kinds) {
      const known = this.ofMembers.get(keyOf(remote, kind))
      if (known !== undefined) known.about = undefined
    }
  }

  private knownOf(logged: ReadonlyMap<string, Logged>, key: string): Logged {
    const known = logged.get(key) ?? { about: undefined, lines: 0, sinceMs: this.clock.now() }
    if (this.clock.now() - known.sinceMs < WINDOW_MS) return known
    return { ...known, lines: 0, sinceMs: this.clock.now() }
  }
}

function keyOf(remote: string, kind: string): string {
  return `${remote} ${kind}`
}
