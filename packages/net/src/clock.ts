import type { Clock } from '@quire/protocol'

/** `performance.now` counts from the process's start; this far before is the zero of the machine's monotonic clock. */
const ORIGIN_MS = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now()

/** The machine's clock: equal in all its processes. A scheduled callback keeps the process alive until it ran or was cancelled. */
export function createClock(): Clock {
  return {
    now: () => ORIGIN_MS + performance.now(),
    wallTime: () => Date.now(),
    schedule: (delayMs, callback) => {
      const timer = setTimeout(callback, delayMs)
      return () => clearTimeout(timer)
    }
  }
}
