/** How many lines remotes that nobody has listed may bring into a log: keys cost nothing, so each line may name another. */

const MAX_LINES = 32
const WINDOW_MS = 60_000

export interface LogQuota {
  /** True when one more line may be written now. Otherwise the line is counted. */
  take(): boolean
  /** Lines that were held back and not yet spoken of; 0 until the next window begins. Resets the count. */
  heldBack(): number
}

/** At most 32 lines a minute. `now` is in milliseconds and never goes back. */
export function createLogQuota(now: () => number): LogQuota {
  let beginMs = now()
  let lines = 0
  let held = 0
  let toTell = 0

  function turn(): void {
    if (now() - beginMs < WINDOW_MS) return
    beginMs = now()
    lines = 0
    toTell += held
    held = 0
  }

  return {
    take() {
      turn()
      if (lines < MAX_LINES) {
        lines++
        return true
      }
      held++
      return false
    },
    heldBack() {
      turn()
      const count = toTell
      toTell = 0
      return count
    }
  }
}
