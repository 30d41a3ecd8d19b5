/** What one seed looks like. Each draws its own mix, so that rare combinations come about (swarm testing). */
import type { ClientSettings } from './clients.js'
import type { FaultSettings } from './faults.js'
import { FAULTS } from './faults.js'
import type { NetworkInit } from './network.js'
import type { PeerSettings } from './peers.js'
import type { Chance } from './random.js'
import { ACTIONS, type Action } from './workload.js'

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
  const pages = chance.pick([1, 1, 2, 2, 3, 4, 6])
  const sessionTtlMs = chance.pick([500, 600, 800, 1000, 1500])
  // More pages than frames: some seeds must evict.
  const isCrowded = chance.is(0.15)
  return {
    clients: chance.int(2, 4),
    faultyMs: chance.between(5000, 9000),
    peer: {
      diskLatencyMs: chance.pick([0.3, 1, 4]),
      segmentBytes: chance.pick([16_384, 65_536]),
      maxTableBytes: chance.pick([32_768, 131_072, 1_048_576]),
      checkpointEntries: chance.pick([5, 20, 100, 1000]),
      checkpointIntervalMs: chance.pick([100, 500, 5000]),
      raftTickMs: 20,
      creditBytes: chance.pick([4096, 16_384, 1_048_576]),
      maxFaults: chance.pick([1, 4, 256])
    },
    client: {
      files: isCrowded ? 2 : chance.int(1, 2),
      pages: isCrowded ? 11 : pages,
      maxPages: isCrowded ? 14 : pages + chance.int(0, 3),
      pauseMs: chance.pick([3, 10, 30, 80]),
      pinMs: chance.pick([1, 5, 30]),
      weights: Object.fromEntries(ACTIONS.map((action) => [action, drawWeight(action, chance)])) as unknown as Readonly<
        Record<Action, number>
      >,
      cacheBytes: 65_536,
      sessionTtlMs,
      faultTimeoutMs: chance.pick([2000, 4000, 8000]),
      programs: chance.pick([1, 1, 2, 3])
    },
    network: {
      latencyMs: chance.pick([0.3, 1, 3, 8]),
      raftLoss: chance.pick([0, 0.01, 0.05]),
      raftDuplication: chance.pick([0, 0.01, 0.05]),
      raftReordering: chance.pick([0, 0.02, 0.1]),
      dialFailure: chance.pick([0, 0.02, 0.1]),
      highWaterBytes: chance.pick([2000, 20_000, 262_144])
    },
    faults: {
      everyMs: chance.pick([150, 300, 600]),
      weights: Object.fromEntries(
        FAULTS.map((fault) => [fault, chance.is(0.7) ? chance.between(0.2, 1) : 0])
      ) as unknown as FaultSettings['weights'],
      ttlMs: sessionTtlMs
    }
  }
}

const COMMON: Readonly<Record<Action, number>> = {
  increment: 4,
  write: 3,
  writeAcross: 1,
  read: 4,
  readAcross: 1,
  sync: 1,
  extend: 0.2,
  stat: 0.2,
  reopen: 0.3
}

function drawWeight(action: Action, chance: Chance): number {
  return COMMON[action] * chance.between(0.1, 1)
}
