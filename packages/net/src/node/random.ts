import type { Random } from '@quire/protocol'

/** The process's random numbers, for timeouts and jitter. They are not fit for secrets. */
export function createRandom(): Random {
  return { next: () => Math.random() }
}
