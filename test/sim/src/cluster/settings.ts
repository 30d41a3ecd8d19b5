/** What one seed looks like. Each draws its own mix, so that rare combinations come about (swarm testing). */
import type { Chance } from '../random.js'
import { ACTIONS, COMMON as COMMON_ACTIONS } from './actions.js'
import type { ClientSettings } from './clients.js'
import { COMMON as COMMON_FAULTS, FAULTS, type FaultSettings } from './faults.js'
import type { NetworkInit } from './network.js'
import { PAGE_BYTES } from './page-layout.js'
import type { PeerSettings } from './peers.js'

export interface Settings {
  readonly clients: number
  /** True time in which faults happen. */
  readonly faultyMs: number
  readonly peer: PeerSettings
  readonly client: ClientSettings
  readonly network: Omit<NetworkInit, 'scheduler' | 'chance' | 'coverage'>
  readonly faults: FaultSettings
}

export function drawSettings(chance: Chance): Settings {
  const drawn = drawMix(chance)
  return chance.fork('late streams').is(0.1) ? withLateStreams(drawn) : drawn
}

/** Streams that do not wait for each other, and files that shrink all the time: what overtakes what shows only when both come together. */
function withLateStreams(drawn: Settings): Settings {
  const { faults, client } = drawn
  const weights = Object.fromEntries(FAULTS.map((kind) => [kind, kind === 'slowStream' ? 1 : 0]))
  const shrinking = { punch: 2, truncate: 1, write: 5, read: 3, tryWrite: 3 }
  return {
    ...drawn,
    faults: { ...faults, everyMs: 25, weights: weights as FaultSettings['weights'] },
    client: {
      ...client,
      paths: 1,
      wholePaths: 1,
      bytes: 2 * PAGE_BYTES,
      maxPages: 3,
      pauseMs: 1,
      programs: 2,
      weights: { ...client.weights, ...shrinking }
    }
  }
}

function drawMix(chance: Chance): Settings {
  const sessionTtlMs = chance.pick([500, 600, 800, 1000, 1500])
  return {
    clients: chance.int(2, 4),
    faultyMs: chance.between(3000, 6000),
    peer: {
      diskLatencyMs: chance.pick([0.3, 1, 4]),
      segmentBytes: chance.pick([16_384, 65_536]),
      maxTableBytes: chance.pick([32_768, 131_072, 1_048_576]),
      checkpointEntries: chance.pick([5, 20, 100, 1000]),
      checkpointIntervalMs: chance.pick([100, 500, 5000]),
      raftTickMs: 20,
      creditBytes: chance.pick([4096, 16_384, 1_048_576]),
      maxFaults: chance.pick([1, 4, 256]),
      maxProposalBytes: chance.pick([6000, 8_388_608, 8_388_608])
    },
    client: drawClient(chance, sessionTtlMs),
    network: {
      latencyMs: chance.pick([0.3, 1, 3, 8]),
      raftLoss: chance.pick([0, 0.01, 0.05]),
      raftDuplication: chance.pick([0, 0.01, 0.05]),
      raftReordering: chance.pick([0, 0.02, 0.1]),
      dialFailure: chance.pick([0, 0.02, 0.1]),
      highWaterBytes: chance.pick([2000, 20_000, 262_144])
    },
    faults: {
      everyMs: chance.pick([200, 400, 800]),
      weights: drawWeights(FAULTS, COMMON_FAULTS, chance, 0.7),
      ttlMs: sessionTtlMs
    }
  }
}

function drawClient(chance: Chance, sessionTtlMs: number): ClientSettings {
  const pages = chance.pick([1, 1, 2, 2, 3, 4])
  // More pages than frames: some seeds must evict.
  const isCrowded = chance.is(0.2)
  const wholePaths = chance.pick([0, 0, 1, 1, 2])
  return {
    paths: isCrowded ? 2 : chance.int(wholePaths === 2 ? 0 : 1, 2),
    wholePaths,
    bytes: (isCrowded ? 9 : pages) * PAGE_BYTES - chance.pick([0, 0, 0, 8, 2000]),
    maxPages: isCrowded ? 12 : pages + chance.int(1, 2),
    programs: chance.pick([1, 1, 2, 3]),
    pauseMs: chance.pick([1, 3, 8, 20]),
    pinMs: chance.pick([2, 8, 40]),
    aborts: chance.pick([0, 0.03, 0.15]),
    weights: drawWeights(ACTIONS, COMMON_ACTIONS, chance, 0.85),
    cacheBytes: 65_536,
    sessionTtlMs,
    faultTimeoutMs: chance.pick([1000, 2000, 4000])
  }
}

/** Some kinds are left out. */
function drawWeights<K extends string>(
  kinds: readonly K[],
  common: Readonly<Record<K, number>>,
  chance: Chance,
  share: number
): Readonly<Record<K, number>> {
  const weights: Partial<Record<K, number>> = {}
  for (const kind of kinds) weights[kind] = chance.is(share) ? common[kind] * chance.between(0.2, 1) : 0
  return weights as Readonly<Record<K, number>>
}
