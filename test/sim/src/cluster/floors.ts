/** The floors for a run of the cluster simulation. */
import type { Floors } from '../floors.js'

/** Counts per 1000 seeds. */
export const FLOORS: readonly (readonly [string, number])[] = [
  ['upgrades', 2000],
  ['handovers', 5000],
  ['revokes that crossed a fault', 200],
  ['expiries', 1000],
  ['failovers with copies out', 800],
  ['discards with dirty pages', 1000],
  ['discards that met a pin', 80],
  ['discards across a new connection', 100],
  ['whole-file handovers', 2000],
  ['private copies killed by a discard', 2000],
  ['holds', 200],
  ['BusyError', 120],
  ['private writes', 5000],
  ['private reads', 2000],
  ['private copies read', 200],
  ['private pins', 700],
  ['reads at once', 20_000],
  ['writes at once', 1000],
  ['listings', 500],
  ['files named', 3000],
  ['files named that were flushed for it', 1200],
  ['unnamed files that ended with their session', 50],
  ['frames that came with the next', 20_000],
  ['control frames that waited on thin lines', 800],
  ['older folders refused', 50],
  ['older folders of leaders', 5],
  ['older folders that only the boot tells', 10],
  ['evidence checked', 8000],
  ['evidence of leaders checked', 3000],
  ['compactions', 20_000],
  ['snapshots begun', 400],
  ['snapshots installed', 400],
  ['snapshots refused', 5],
  ['transfers complete', 300],
  ['transfers ended by a limit', 20],
  ['pieces damaged', 50],
  ['met a snapshot: crashReceiver', 80],
  ['met a snapshot: crashSender', 50],
  ['met a snapshot: fillReceiver', 60],
  ['crashes while a snapshot arrived', 15],
  ['seeds with snapshots', 40],
  ['seeds with no faults', 50],
  ['seeds with breaks only', 30],
  ['seeds with deaths only', 15],
  ['seeds with crowds', 30],
  ['seeds with late streams', 50],
  ['seeds with rewrites', 15],
  ['seeds with stalled leaders', 15],
  ['seeds with isolated leaders', 15],
  ['seeds with opens under truncations', 15],
  ['seeds with writes under truncations', 15],
  ['seeds with slow disks', 15],
  ['clusters far apart', 30],
  ['changes of the round trip', 80],
  ['seeds with membership', 40],
  ['peers joined', 150],
  ['learners promoted', 60],
  ['learners removed', 50],
  ['voters removed', 8],
  ['folders wiped', 30],
  ['machines lost for good', 5],
  ['replacements by the same key', 25],
  ['replacements by another key', 20],
  ['promotions of learners that lag refused', 15],
  ['removals that would leave no majority refused', 2],
  ['nonsense refused', 30],
  ['commands of admins without an answer', 300],
  ['configurations heard through a link', 800],
  ['former folders started', 50],
  ['former folders that had to take no part', 5],
  ['twins refused', 3],
  ['clients denied', 60],
  ['denied clients refused', 300],
  ['sessions ended by denial', 20],
  ['changes by another admin', 30],
  ['former admins refused', 30]
]

/** Averages per seed. Operations count if they succeeded. */
export const PER_SEED: readonly (readonly [string, number])[] = [
  ['client operations', 200],
  ['events', 5000]
]

/**
 * Speed counts in events, because a seed that does more takes longer. A machine that does five million rounds of the
 * reference work a second must do 50,000 events, which are ten seeds of as many events as the floor above.
 */
export const CLUSTER_FLOORS: Floors = { counts: FLOORS, perSeed: PER_SEED, eventsPerReference: 10 }
