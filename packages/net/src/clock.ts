import type { Clock } from '@quire/protocol'

/** The process's clock. A scheduled callback keeps the process alive until it ran or was cancelled. */
export function createClock(): Clock {
  return {
    now: () => performance.now(),
    wallTime: () => Date.now(),
    schedule: (delayMs, callback) => {
      const timer = setTimeout(callback, delayMs)
      return () => clearTimeout(timer)
    }
  }
}
