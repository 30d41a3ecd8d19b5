import type { Random } from '@quire/protocol'
import { seeded } from '../../src/log-compliance/rig.js'

export function seededRandom(seed: number): Random {
  return { next: seeded(seed) }
}
