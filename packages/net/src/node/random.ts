import type { Random } from '@quire/protocol'

/** Chance from the process. For timeouts and jitter, never for secrets. */
export function createRandom(): Random {
  return { next: () => Math.random() }
}
