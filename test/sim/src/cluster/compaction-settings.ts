/** The settings of compaction and snapshots. */
import { DEFAULT_ROUND_TRIP_MS } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { FaultSettings } from './faults.js'
import type { Settings } from './settings-types.js'

/** With these and without retained bytes, a follower that was away for a moment needs a snapshot. */
const OFTEN = { checkpointEntries: 5, checkpointIntervalMs: 100 }
const SHORT = { segmentBytes: 4096, ...OFTEN }
/** Most of the time, some changes are in no checkpoint. */
const SELDOM = { checkpointEntries: 20, checkpointIntervalMs: 5000 }

/**
 * Logs that drop entries, and snapshots of several pieces. Some transfers end by a limit, but each limit lets a
 * transfer end well when nothing else goes wrong.
 */
export function withCompaction(drawn: Settings, random: RandomSource): Settings {
  const { peer, network } = drawn
  const scale = peer.roundTripMs / DEFAULT_ROUND_TRIP_MS
  const isShort = random.is(0.5)
  const compacting: Settings = {
    ...drawn,
    peer: {
      ...peer,
      ...(isShort ? SHORT : { segmentBytes: random.pick([4096, 16_384, peer.segmentBytes]) }),
      raft: {
        retainedBytes: isShort ? 0 : random.pick([0, 20_000, 64 * 1024 * 1024]),
        maxPieceBytes: random.pick([500, 5000, 20_000])
      },
      snapshots: {
        maxTransfers: random.pick([1, 2]),
        maxIdleMs: scale * random.pick([600, 3000, 60_000]),
        maxAgeMs: scale * random.pick([8000, 3_600_000]),
        maxUnusedBytes: random.pick([4096, 1024 ** 3]),
        maxLogBytes: random.pick([10_000, 1024 ** 3]),
        bytesPerSecond: random.pick([100_000, 64 * 1024 * 1024]),
        retryMs: random.pick([50, 1000])
      }
    },
    network: { ...network, pieceDamage: random.pick([0, 0.01, 0.05]) }
  }
  const { everyMs, weights } = drawn.faults
  const mayCrash = everyMs < Infinity && weights.crashPeer + weights.crashLeader > 0
  if (!mayCrash) return compacting
  const share = random.next()
  const snapshots = share < 0.15 ? withSnapshots(compacting, random) : compacting
  const drawing = share >= 0.15 && share < 0.85 ? withFaults(snapshots, SNAPSHOT_FAULTS) : snapshots
  return random.fork('rot').is(0.25) ? withFaults(drawing, { rotPages: 3 }) : drawing
}

/** Faults that wait for a follower that receives a snapshot. */
const SNAPSHOT_FAULTS: Partial<FaultSettings['weights']> = { crashReceiver: 1.5, crashSender: 0.7, fillReceiver: 0.7 }

/** Followers need a snapshot all the time, many pieces are damaged, and few other faults occur. */
export function withSnapshots(drawn: Settings, random: RandomSource): Settings {
  const { peer, network, faults } = drawn
  const none = Object.fromEntries(Object.keys(faults.weights).map((kind) => [kind, 0])) as FaultSettings['weights']
  const snapshots = { ...SNAPSHOT_FAULTS, crashPeer: 0.3, stopPeer: 0.3, retime: 0.2 }
  return {
    ...drawn,
    mixes: [...drawn.mixes, 'snapshots'],
    peer: { ...peer, ...SHORT, ...random.pick([OFTEN, SELDOM]), raft: { retainedBytes: 0, maxPieceBytes: 5000 } },
    network: { ...network, pieceDamage: 0.1 },
    faults: { ...faults, everyMs: 500, weights: { ...none, ...snapshots } }
  }
}

/** Adds faults to those that occur. */
export function withFaults(drawn: Settings, weights: Partial<FaultSettings['weights']>): Settings {
  const { faults } = drawn
  return { ...drawn, faults: { ...faults, weights: { ...faults.weights, ...weights } } }
}
