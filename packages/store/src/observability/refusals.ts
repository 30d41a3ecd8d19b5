import { createLogQuota, type LogQuota } from '@quire/net'
import { QuireError, clipText, type Clock } from '@quire/protocol'
import type { Logger } from 'pino'
import { KeyQuota, setBounded } from './key-quota.js'

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

/** The refusals that were logged, by remote and kind. A forgotten one is logged again. */
interface Logged {
  /** The subjects of the last lines, unless the remote was accepted since. */
  readonly subjects: Map<string, string>
  readonly lines: KeyQuota
}

/**
 * Logs each kind of refusal once for each remote.
 *
 * It logs a refusal again if its subject is another one, or if the remote was accepted in between. A refused remote may
 * come back at any time and under any number of new keys, and it must not fill the log.
 */
export class Refusals {
  private readonly ofMembers: Logged
  private readonly ofOthers: Logged
  private readonly quota: LogQuota

  constructor(
    private readonly logger: Logger | undefined,
    private readonly who: 'client' | 'peer',
    clock: Pick<Clock, 'now'>
  ) {
    this.ofMembers = { subjects: new Map(), lines: new KeyQuota(clock) }
    this.ofOthers = { subjects: new Map(), lines: new KeyQuota(clock) }
    this.quota = createLogQuota(
      () => clock.now(),
      (refusals) => logger?.warn({ refusals }, `more ${who}s were refused`)
    )
  }

  log({ remote, kind, about = '', error, facts = {}, level = 'warn', isMember = false }: RefusalToLog): void {
    const { who, logger } = this
    const { subjects, lines } = isMember ? this.ofMembers : this.ofOthers
    const key = keyOf(remote, kind)
    if (subjects.get(key) === about || lines.isUsedUp(key)) return
    if (!isMember && !this.quota.take()) return
    setBounded(subjects, key, about)
    lines.count(key)
    // A refusal is expected, so its stack does not matter. The stack of any other error does.
    const isExpected = error instanceof QuireError
    const why = isExpected ? { reason: clipText(error.message, MAX_LOGGED_BYTES) } : { err: error }
    // The whole id, because an operator who wants to let the remote in needs it.
    logger?.[level]({ [who]: remote, id: remote, ...facts, ...why }, `${who} refused`)
  }

  /** The member was accepted, so its next refusal is logged. */
  accepted(remote: string, kinds: readonly string[]): void {
    for (const kind of kinds) this.ofMembers.subjects.delete(keyOf(remote, kind))
  }
}

function keyOf(remote: string, kind: string): string {
  return `${remote} ${kind}`
}
