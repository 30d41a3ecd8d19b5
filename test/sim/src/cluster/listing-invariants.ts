import type { StateView } from '@quire/store/internal'
import { Violation } from '../violation.js'

const ALL = 1000

/** Judges listings by the paths that lead to files according to the log. */
export class ListingInvariants {
  /** Since when each path leads to a file. */
  private readonly since = new Map<string, number>()
  /** When each path that leads nowhere last led to a file. */
  private readonly until = new Map<string, number>()

  constructor(private readonly now: () => number) {}

  /** The first application of an entry that opens, moves or removes a path. */
  applied(state: StateView): void {
    const paths = new Set(state.list('/', '', ALL).map(({ path }) => path))
    for (const path of [...this.since.keys()]) {
      if (paths.has(path)) continue
      this.since.delete(path)
      this.until.set(path, this.now())
    }
    for (const path of paths) if (!this.since.has(path)) this.since.set(path, this.now())
  }

  /**
   * Checks a call that began at `call` and ends now. It lists each path once that led to a file all the time, and other
   * paths only if they did for part of it.
   */
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
