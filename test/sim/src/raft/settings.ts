/**
 * The settings of one seed of the Raft simulation. Each seed draws its own mix, so that rare combinations occur (swarm
 * testing).
 */
import type { RaftLimits } from '@quire/raft'
import type { RandomSource } from '@quire/testing'
import { KINDS, type EventKind } from './schedule.js'

export interface NetworkSettings {
  /** The round trip of every link; 0 puts all nodes in one place. */
  readonly roundTripMs: number
  /** Mean latency of a message, besides half of the round trip. */
  readonly latencyMs: number
  /** Messages of one link arrive in the order of sending, except for the reordered ones. */
  readonly isOrdered: boolean
  /** Shares of messages. */
  readonly loss: number
  readonly duplication: number
  readonly reordering: number
  /** Share of a snapshot's pieces that arrive truncated or with a wrong byte. */
  readonly tearing: number
  /** Messages travel as bytes, through the codec. Otherwise the objects themselves travel, which is faster. */
  readonly isEncoded: boolean
}

interface DiskSettings {
  readonly latencyMs: number
  readonly segmentBytes: number
  readonly cacheBytes: number
}

export interface ApplicationSettings {
  /** A snapshot is taken after so many applied entries. */
  readonly snapshotEntries: number
  readonly snapshotMs: number
  /** 0: entries are applied at once, without a promise. */
  readonly applyMs: number
  /** Bytes that each snapshot has besides its content, so that it takes several pieces. */
  readonly ballastBytes: number
}

export interface ClientSettings {
  /** Each proposer has one command at a time. */
  readonly proposers: number
  readonly pauseMs: number
  /** After that, a client proposes its command again, perhaps to another node. */
  readonly patienceMs: number
  readonly maxValueBytes: number
  readonly readPauseMs: number
}

export interface RaftSettings {
  /** Leadership and membership change all the time. */
  readonly hasHandovers: boolean
  readonly firstVoters: number
  /** The number of nodes in all. */
  readonly nodes: number
  /** True time during which faults occur. */
  readonly faultyMs: number
  /** The length of ticks when the cluster is founded. */
  readonly tickMs: number
  /** The operator may multiply ticks by up to this factor. */
  readonly slowestTicks: number
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** How much a clock may be faster or slower than true time, as a share. */
  readonly skew: number
  readonly limits: Partial<RaftLimits>
  readonly network: NetworkSettings
  readonly disk: DiskSettings
  readonly application: ApplicationSettings
  readonly client: ClientSettings
  /** Mean time between two faults or operations. */
  readonly everyMs: number
  readonly weights: Readonly<Record<EventKind, number>>
}

export function drawSettings(random: RandomSource): RaftSettings {
  const drawn = drawMix(random)
  const mixed = random.fork('handovers').is(0.1) ? withHandovers(drawn, random.fork('weights of handovers')) : drawn
  const far = random.fork('far')
  const placed = far.is(0.08) ? farApart(mixed, far.between(50, MAX_ROUND_TRIP_MS)) : mixed
  const retiming = random.fork('retiming')
  if (!retiming.is(0.15)) return placed
  return { ...placed, slowestTicks: SLOWEST_TICKS, weights: { ...placed.weights, retime: retiming.between(0.5, 2) } }
}

const MAX_ROUND_TRIP_MS = 600
const ELECTION_ROUND_TRIPS = 10
const SLOWEST_TICKS = 2.5

/** Makes links as long as `roundTripMs`, and everything slower in proportion to the election timeout that they need. */
function farApart(drawn: RaftSettings, roundTripMs: number): RaftSettings {
  const { network, client, electionTicks } = drawn
  const tickMs = Math.max(drawn.tickMs, (ELECTION_ROUND_TRIPS * roundTripMs) / electionTicks)
  const factor = tickMs / drawn.tickMs
  return {
    ...drawn,
    tickMs,
    faultyMs: drawn.faultyMs * factor,
    everyMs: drawn.everyMs * factor,
    network: { ...network, roundTripMs },
    client: {
      ...client,
      pauseMs: client.pauseMs * factor,
      patienceMs: client.patienceMs * factor,
      readPauseMs: client.readPauseMs * factor
    }
  }
}

/** Transfers during membership changes and cut links: terms that few nodes know of, and leaders about to be removed. */
function withHandovers(drawn: RaftSettings, random: RandomSource): RaftSettings {
  const weights = { ...drawn.weights }
  for (const [kind] of KINDS) weights[kind] = (HANDOVERS[kind] ?? 0) * random.between(0.2, 1)
  return { ...drawn, hasHandovers: true, everyMs: 50, weights }
}

const HANDOVERS: Partial<Record<EventKind, number>> = {
  crashLeader: 1,
  crashInWrite: 3,
  outage: 1,
  stallLeader: 1,
  cutOneWay: 1,
  isolateLeader: 2,
  deafenLeader: 1,
  split: 1,
  slowDisk: 0.5,
  transfer: 3,
  transferAndCut: 3,
  addLearner: 1.5,
  promote: 2,
  demote: 1,
  remove: 1,
  replace: 2,
  wipe: 0.3
}

function drawMix(random: RandomSource): RaftSettings {
  const firstVoters = random.is(0.65) ? 3 : 5
  return {
    hasHandovers: false,
    firstVoters,
    nodes: firstVoters + random.int(1, 3),
    faultyMs: random.between(2500, 4500),
    tickMs: random.pick([25, 40]),
    slowestTicks: 1,
    electionTicks: random.pick([5, 6, 8]),
    heartbeatTicks: random.pick([1, 2]),
    skew: random.pick([0.0045, 0.0045, 0.05, 0.1]),
    limits: drawLimits(random),
    network: {
      roundTripMs: 0,
      latencyMs: random.pick([0.5, 2, 6]),
      isOrdered: random.is(0.5),
      loss: random.pick([0, 0.01, 0.05]),
      duplication: random.pick([0, 0.01, 0.05]),
      reordering: random.pick([0, 0.05, 0.15]),
      tearing: random.pick([0, 0.05]),
      isEncoded: random.is(0.25)
    },
    disk: {
      latencyMs: random.pick([0.3, 1, 4]),
      segmentBytes: random.pick([2048, 8192, 32_768]),
      cacheBytes: random.pick([0, 1000, 65_536])
    },
    application: {
      snapshotEntries: random.pick([5, 10, 20, 40]),
      snapshotMs: random.pick([1, 5, 30]),
      applyMs: random.pick([0, 0, 1, 5]),
      ballastBytes: random.pick([0, 300, 1500])
    },
    client: {
      proposers: random.int(2, 6),
      pauseMs: random.pick([5, 20, 50]),
      patienceMs: random.pick([100, 300, 600]),
      maxValueBytes: random.pick([100, 1000, 3000, 5000]),
      readPauseMs: random.pick([30, 80, 200])
    },
    everyMs: random.pick([50, 80, 150]),
    weights: drawWeights(random)
  }
}

function drawLimits(random: RandomSource): Partial<RaftLimits> {
  return {
    maxAppendBytes: random.pick([200, 1000, 65_536]),
    maxInflightMessages: random.pick([1, 3, 16]),
    maxInflightBytes: random.pick([600, 4000, 1_048_576]),
    maxUncommittedBytes: random.pick([1000, 4000, 1_048_576]),
    maxApplyBytes: random.pick([100, 1000, 65_536]),
    maxPendingReads: random.pick([2, 100]),
    maxPieceBytes: random.pick([64, 200, 1000]),
    retainedBytes: random.pick([0, 300, 1500])
  }
}

function drawWeights(random: RandomSource): RaftSettings['weights'] {
  const weights: Partial<Record<EventKind, number>> = {}
  for (const [kind, common] of KINDS) {
    if (kind === 'retime') continue
    // A crash can do so many things to a write that every seed tries it.
    weights[kind] = random.is(0.7) || kind === 'crashInWrite' ? common * random.between(0.2, 1) : 0
  }
  return { ...weights, retime: 0 } as RaftSettings['weights']
}
