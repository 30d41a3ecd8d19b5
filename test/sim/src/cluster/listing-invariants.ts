/** Which paths lead to files, as the log has it, to judge listings by. */
import type { StateView } from '@quire/store/internal'
import { Violation } from '../violation.js'

const ALL = 1000

export class ListingInvariants {
  /** Since when each leads to a file. */
  private readonly since = new Map<string, number>()
  /** When those that lead nowhere last did. */
  private readonly until = new Map<string, number>()

  constructor(private readonly now: () => number) {}

  /** An entry that opens, moves or takes away a path was applied for the first time. */
  applied(state: StateView): void {
    const paths = new Set(state.list('/', '', ALL).map(({ path }) => path))
    for (const path of [...this.since.keys()]) {
      if (paths.has(path)) continue
      this.since.delete(path)
      this.until.set(path, this.now())
    }
    for (const path of paths) if (!this.since.has(path)) this.since.set(path, this.now())
  }

  /** Of a call that began at `call` and ends now: paths that led to files all the time are there once, others only if they did for a part of it. */
  check(listed: readonly string[], call: number, client: string): void {
    for (const [i, path] of listed.entries()) {
      const isKnown = this.since.has(path) || (this.until.get(path) ?? -Infinity) >= call
      if (!isKnown || path <= (listed[i - 1] ?? '')) throw this.violation(listed, `${client}: ${path}`)
    }
    for (const [path, since] of this.since) {
      if (since < call && !listed.includes(path)) throw this.violation(listed, `${client}: no ${path}`)
    }
  }

  private violation(listed: readonly string[], what: string): Violation {
    return new Violation('every path is listed once', `${what} among ${listed.join(' ')}`)
  }
}
