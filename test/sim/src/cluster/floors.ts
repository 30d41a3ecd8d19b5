/** What a run of the cluster simulation must have met to be worth anything. */
import type { Floors } from '../floors.js'

export const CLUSTER_FLOORS: Floors = {
  counts: [
    ['upgrades', 500],
    ['handovers', 500],
    ['revokes that crossed a fault', 100],
    ['expiries', 500],
    ['failovers with copies out', 500],
    ['discards with dirty pages', 500],
    ['discards that met a pin', 100],
    ['discards across a new connection', 100],
    ['whole-file handovers', 500],
    ['private copies killed by a discard', 500],
    ['holds', 100]
  ],
  perSeed: [
    ['client operations', 200],
    ['events', 5000]
  ],
  rates: { seedsPerSecond: 10 }
}
