import type { Clock } from '@quire/protocol'

/** `performance.now` counts from the process's start; this far before is the zero of the machine's monotonic clock. */
const ORIGIN_MS = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now()

/** Of what is longer than that, Node makes 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** The machine's clock: equal in all its processes. A scheduled callback keeps the process alive until it ran or was cancelled. */
export function createClock(): Clock {
  return {
    now: () => ORIGIN_MS + performance.now(),
    wallTime: () => Date.now(),
    schedule: (delayMs, callback) => {
      let timer: NodeJS.Timeout
      const wait = (leftMs: number): void => {
        const ms = Math.min(leftMs, MAX_TIMER_MS)
        timer = setTimeout(() => (leftMs > ms ? wait(leftMs - ms) : callback()), ms)
      }
      wait(delayMs)
      return () => clearTimeout(timer)
    }
  }
}
