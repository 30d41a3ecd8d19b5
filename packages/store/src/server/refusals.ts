import { QuireError } from '@quire/protocol'
import type { Logger } from 'pino'

/** Refusals that are remembered. One that was forgotten is logged again. */
const MAX_REMEMBERED = 1024

/** Logs each refusal once for each remote and reason: who is refused comes again and again, and must not fill the log. */
export class Refusals {
  private readonly logged = new Set<string>()

  constructor(
    private readonly logger: Logger | undefined,
    private readonly kind: 'client' | 'peer'
  ) {}

  log(
    remote: string,
    error: Error,
    facts: Readonly<Record<string, unknown>> = {},
    level: 'warn' | 'error' = 'warn'
  ): void {
    const refusal = `${remote} ${error.message}`
    if (this.logged.has(refusal)) return
    if (this.logged.size >= MAX_REMEMBERED) {
      const [oldest] = this.logged
      if (oldest !== undefined) this.logged.delete(oldest)
    }
    this.logged.add(refusal)
    // A refusal is expected, so where it was made is of no interest; of any other error it is.
    const why = error instanceof QuireError ? { reason: error.message } : { err: error }
    // The whole id: an operator who wants to let it in needs it.
    this.logger?.[level]({ [this.kind]: remote, id: remote, ...facts, ...why }, `${this.kind} refused`)
  }
}
