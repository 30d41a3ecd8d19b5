/** Limits the log lines that strangers can cause. Keys cost nothing, so each line may name another stranger. */

const MAX_LINES = 32
const WINDOW_MS = 60_000

export interface LogQuota {
  /** Returns true if the caller may write one more line now. Otherwise counts the line as held back. */
  take(): boolean
}

/**
 * Grants 32 lines a minute. The first `take` of a later minute calls `tell` with the number of lines held back so far,
 * if there were any. `now` returns monotonic milliseconds.
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
