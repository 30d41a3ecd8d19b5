/**
 * Lines about remotes that this peer refused. A refused remote may come back at any time, and under any number of new
 * keys. It must not fill the log.
 */
import { createLogQuota, type LogQuota } from '@quire/net'
import { QuireError, clipText, type Clock } from '@quire/protocol'
import type { Logger } from 'pino'

/** Refusals that are remembered, of members and of others each. One that was forgotten is logged again. */
const MAX_REMEMBERED = 1024
/** Lines of one remote and kind in {@link WINDOW_MS}. The remote decides how often its refusal is news. */
const MAX_LINES = 4
const WINDOW_MS = 600_000
/** Of a reason. Much of it may be the remote's own words. */
const MAX_LOGGED_BYTES = 1024

export interface RefusalToLog {
  readonly remote: string
  /** What it is refused for, in the project's words: repeated under one kind, it is no news, whatever the error says. */
  readonly kind: string
  /** What the refusal is about, if another refusal of the same kind can be news. */
  readonly about?: string
  readonly error: Error
  readonly facts?: Readonly<Record<string, unknown>>
  /** Default `warn`. */
  readonly level?: 'warn' | 'error'
  /** A member of the cluster. There are few of them, so their refusals are always logged. */
  readonly isMember?: boolean
}

interface Logged {
  /** Of the last line; undefined when the remote was accepted since. */
  about: string | undefined
  /** Since `sinceMs`. */
  lines: number
  sinceMs: number
}

/** Logs each kind of refusal once for each remote, and again when it is about something else or was over. */
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
    // A refusal is expected, so where it was made is of no interest; of any other error it is.
    const isExpected = error instanceof QuireError
    const why = isExpected ? { reason: clipText(error.message, MAX_LOGGED_BYTES) } : { err: error }
    // The whole id: an operator who wants to let it in needs it.
    logger?.[level]({ [who]: remote, id: remote, ...facts, ...why }, `${who} refused`)
  }

  /** The member was accepted: its next refusal is news. */
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
