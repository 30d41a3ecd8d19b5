import type { Clock } from '@quire/protocol'

/** The start of the process, which is the zero of `performance.now`, on the machine's monotonic clock. */
const ORIGIN_MS = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now()

/** Node fires timers with a longer delay after 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * The machine's clock, which reads the same in all of its processes. A scheduled callback keeps the process alive until
 * it runs or is canceled.
 */
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
