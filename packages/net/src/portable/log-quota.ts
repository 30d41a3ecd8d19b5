/** How many lines remotes that nobody has listed may bring into a log: keys cost nothing, so each line may name another. */

const MAX_LINES = 32
const WINDOW_MS = 60_000

export interface LogQuota {
  /** True when one more line may be written now. Otherwise the line is counted. */
  take(): boolean
}

/**
 * At most 32 lines a minute. The first `take` of a later minute calls `tell` with the number of lines that were held back
 * before, if there were any. `now` is in milliseconds and never goes back.
 */
export function createLogQuota(now: () => number, tell: (heldBack: number) => void): LogQuota {
  let beginMs = now()
  let lines = 0
  let heldBack = 0

  function turn(): void {
    if (now() - beginMs < WINDOW_MS) return
    beginMs = now()
    lines = 0
    if (heldBack > 0) tell(heldBack)
    heldBack = 0
  }

  return {
    take() {
      turn()
      if (lines < MAX_LINES) {
        lines++
        return true
      }
      heldBack++
      return false
    }
  }
}
