import type { Clock } from '@quire/protocol'

/** So much may the clocks of two processes differ. A message between them takes longer. */
const PRECISION_MS = 0.02
const MAX_READINGS = 10_000
/** The start of the process, which is the zero of `performance.now`, on the machine's monotonic clock. */
const ORIGIN_MS = measureOrigin()

/** The process may have to wait between the readings of two clocks. So this takes the closest of many pairs. */
function measureOrigin(): number {
  let closest = { gapMs: Infinity, originMs: 0 }
  for (let count = 0; count < MAX_READINGS && closest.gapMs > PRECISION_MS; count++) {
    const before = performance.now()
    const machineMs = Number(process.hrtime.bigint()) / 1e6
    const gapMs = performance.now() - before
    if (gapMs < closest.gapMs) closest = { gapMs, originMs: machineMs - before - gapMs / 2 }
  }
  return closest.originMs
}

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
