/** The settings of one seed. Each seed draws its own mix, so that rare combinations occur (swarm testing). */
import { DEFAULT_ROUND_TRIP_MS, FAR_CLIENT_ROUND_TRIP_MS, MIN_ROUND_TRIP_MS, timingOf } from '@quire/protocol'
import { createRandomSource, type RandomSource } from '@quire/testing'
import { ACTION_WEIGHTS, ACTIONS } from './action-kinds.js'
import type { ClientSettings } from './clients.js'
import { withCompaction, withFaults } from './compaction-settings.js'
import { DRAWN_FAULTS, FAULT_WEIGHTS, FAULTS, type Fault, type FaultSettings } from './faults.js'
import { withMembership } from './membership-settings.js'
import { PAGE_BYTES } from './page-layout.js'
import type { Settings } from './settings-types.js'
import { ALLOWED_BY_BREAKS, ALLOWED_BY_FAULTS, ALLOWED_WITHOUT_FAULTS } from './allowed-errors.js'

export function drawSettings(random: RandomSource): Settings {
  const drawn = drawSituation(random)
  const far = random.fork('far')
  const placed = far.is(0.06) ? farApart(drawn, far.int(MIN_ROUND_TRIP_MS, FAR_CLIENT_ROUND_TRIP_MS)) : drawn
  const retiming = random.fork('retiming')
  const { everyMs, areClientsOnly } = placed.faults
  const isRetimed = everyMs < Infinity && !areClientsOnly && retiming.is(0.1)
  const timed = isRetimed ? withFaults(placed, { retime: retiming.between(0.5, 2) }) : placed
  const compacting = withCompaction(timed, random.fork('compaction'))
  const membership = random.fork('membership')
  const mayChange = placed === drawn && drawn.mixes.length === 0
  return mayChange && membership.is(0.15) ? withMembership(compacting, membership) : compacting
}

/** Whether a seed of the simulation draws the mix. */
export function hasMix(seed: number, mix: string): boolean {
  // Names of forks decide what a seed draws: this one is the simulation's.
  return drawSettings(createRandomSource(seed).fork('settings')).mixes.includes(mix)
}

/** Whether all that goes wrong in a seed goes wrong at clients, or between them and peers. */
export function isLeaderSafe({ isNoisy, faults }: Settings): boolean {
  const { everyMs, weights, areClientsOnly } = faults
  const isHarmless = (kind: Fault): boolean => AT_CLIENTS.has(kind) || (areClientsOnly && BREAKS.has(kind))
  return !isNoisy && (everyMs === Infinity || FAULTS.every((kind) => weights[kind] === 0 || isHarmless(kind)))
}

const AT_CLIENTS: ReadonlySet<Fault> = new Set([
  'crashClient',
  'closeClient',
  'stallClient',
  'isolateClient',
  'hideLeader'
])
const BREAKS: ReadonlySet<Fault> = new Set(['breakStream', 'breakConnection'])

/**
 * Makes links as long as the cluster was founded for, sessions renewable over them, and everything slower in
 * proportion.
 */
function farApart(drawn: Settings, roundTripMs: number): Settings {
  const { client, network, faults, peer } = drawn
  const sessionTtlMs = Math.max(client.sessionTtlMs, timingOf(roundTripMs).minSessionTtlMs)
  const factor = sessionTtlMs / client.sessionTtlMs
  return {
    ...drawn,
    faultyMs: drawn.faultyMs * factor,
    peer: { ...peer, roundTripMs },
    client: {
      ...client,
      sessionTtlMs,
      pauseMs: client.pauseMs * factor,
      pinMs: client.pinMs * factor,
      lockPauseMs: client.lockPauseMs * factor,
      // A connection alone takes eight round trips, and the first peer may know only who leads.
      faultTimeoutMs: Math.round(Math.max(client.faultTimeoutMs * factor, 40 * roundTripMs))
    },
    network: { ...network, roundTripMs },
    faults: { ...faults, everyMs: faults.everyMs * factor, roundTripMs, ttlMs: sessionTtlMs }
  }
}

function drawSituation(random: RandomSource): Settings {
  const drawn = drawMix(random)
  const joined = random.fork('joined frames')
  const network = { ...drawn.network, joined: joined.is(0.4) ? joined.between(0.1, 0.8) : 0 }
  const naming = random.fork('naming')
  const client = { ...drawn.client, naming: naming.is(0.4) ? naming.between(0.02, 0.2) : 0 }
  const whole = { ...drawn, network, client }
  if (random.fork('thin lines').is(0.02)) return withThinLines(whole)
  const mixed = random.fork('late streams').is(0.1) ? withLateStreams(whole) : whole
  const focus = random.fork('focus')
  if (focus.is(0.2)) return focus.pick(FOCUSED)(mixed)
  const share = random.fork('calm').next()
  if (share < 0.05) return withoutFaults(mixed)
  if (share < 0.1) return withBreaksOnly(mixed)
  if (share < 0.13) return withoutFaults(withCrowds(mixed, random.fork('crowds')))
  if (random.fork('hidden leaders').is(0.05)) return withHiddenLeaders(mixed)
  return share < 0.16 ? withDeathsOnly(withCrowds(mixed, random.fork('crowds'))) : mixed
}

/** Few frames, private copies, and pins over many pages of the same files, so that waits depend on each other. */
function withCrowds(drawn: Settings, random: RandomSource): Settings {
  const { client, peer } = drawn
  const pages = random.int(3, 6)
  const wanted = {
    ...{ pinAcross: 4, writeAcross: 2, pin: 2, pinToRead: 1, readAcross: 2, write: 3, burst: 1, extend: 1 },
    ...{ writePrivately: 1.5, pinPrivately: 0.5, unmapPrivately: 0.2, evictRange: 0.5, truncate: 0.4, openAnew: 0.2 }
  }
  return {
    ...drawn,
    mixes: [...drawn.mixes, 'crowds'],
    peer: { ...peer, maxFaults: random.pick([1, 4, 256]) },
    client: {
      ...client,
      paths: 1,
      wholePaths: 1,
      bytes: pages * PAGE_BYTES,
      maxPages: pages + 1,
      programs: 3,
      pauseMs: 1,
      longPins: { share: 0.5, pages: 4 },
      weights: { ...client.weights, ...wanted }
    }
  }
}

/** Without faults, a call that times out has been lost by a bug. */
function withoutFaults(drawn: Settings): Settings {
  const { client, faults, ...rest } = withoutNoise(drawn)
  return {
    ...rest,
    mixes: [...rest.mixes, 'no faults'],
    faults: { ...faults, everyMs: Infinity },
    client: { ...client, allowedErrors: ALLOWED_WITHOUT_FAULTS }
  }
}

/** Clients lose their streams and nothing else. They must repeat at once what was under way. */
function withBreaksOnly(drawn: Settings): Settings {
  const { client, faults, ...rest } = withoutNoise(drawn)
  const weights = weightsOf({ breakStream: 1, breakConnection: 1 })
  return {
    ...rest,
    mixes: [...rest.mixes, 'breaks only'],
    faults: { ...faults, weights, areClientsOnly: true },
    client: { ...client, allowedErrors: ALLOWED_BY_BREAKS }
  }
}

/**
 * Some clients lose sight of the leader for long, and some of their streams break. Nothing else happens, so calls must
 * end in time, through a relay, unless their session expires. If no client used a relay, they would wait for longer.
 */
function withHiddenLeaders(drawn: Settings): Settings {
  const { client, faults, ...rest } = withoutNoise(drawn)
  const weights = weightsOf({ hideLeader: 1, breakStream: 0.5, breakConnection: 1 })
  return {
    ...rest,
    mixes: [...rest.mixes, 'hidden leaders'],
    faultyMs: 15_000,
    faults: { ...faults, everyMs: 500, weights, areClientsOnly: true },
    // A client that knows one peer, and loses sight of it before it has learned the others, can only wait.
    client: { ...client, allowedErrors: ALLOWED_BY_BREAKS, pauseMs: 20, knowsAllPeers: true }
  }
}

/**
 * Clients die or leave, and nothing else happens. A call that waits for a dead client's page waits until that session
 * expires, at most one TTL after the death. Deaths end after `faultyMs` (3 s here at most), and a TTL is at most 1.5 s,
 * so no call waits longer than 4.5 s for the dead. Its timeout is more than twice that.
 */
function withDeathsOnly(drawn: Settings): Settings {
  const { client, faults, ...rest } = withoutNoise(drawn)
  const weights = weightsOf({ crashClient: 1, closeClient: 0.3 })
  return {
    ...rest,
    mixes: [...rest.mixes, 'deaths only'],
    faults: { ...faults, weights },
    client: { ...client, allowedErrors: ALLOWED_BY_BREAKS }
  }
}

/**
 * During a lease, each client's line carries less than the client asks for at once, and nothing else goes wrong.
 * Everything is slow, and no session may end.
 */
export function withThinLines(drawn: Settings): Settings {
  const { client, faults, network, peer, ...rest } = withoutNoise(drawn)
  const pages = 24
  const sizes = {
    paths: 1,
    wholePaths: 0,
    bytes: pages * PAGE_BYTES,
    maxPages: pages,
    cacheBytes: 2 * pages * PAGE_BYTES
  }
  const actions = { readEach: 4, writeEach: 4, read: 2, write: 2, sizes: 1 }
  return {
    ...rest,
    mixes: [...rest.mixes, 'thin lines'],
    faults: { ...faults, everyMs: Infinity, ttlMs: THIN_TTL_MS },
    peer: { ...peer, creditBytes: 1_048_576, maxFaults: 256, maxProposalBytes: 8_388_608, maxMemtableBytes: 1_048_576 },
    network: { ...network, lineBytesPerMs: 100, highWaterBytes: 262_144 },
    client: {
      ...client,
      ...sizes,
      programs: 1,
      aborts: 0,
      naming: 0,
      sessionTtlMs: THIN_TTL_MS,
      allowedErrors: ALLOWED_WITHOUT_FAULTS,
      weights: actionsOf(actions)
    }
  }
}

/** Twenty-four pages take this long on a line of 100 bytes a millisecond. */
const THIN_TTL_MS = 1000

/** Time-outs are far longer than anything takes, and no two clients rightly wait for each other. */
function withoutNoise(drawn: Settings): Settings {
  const { client, faultyMs } = drawn
  return {
    ...drawn,
    isNoisy: false,
    // Nothing interrupts the programs, so half of the time is worth as much.
    faultyMs: faultyMs / 2,
    client: { ...client, faultTimeoutMs: 10_000, weights: { ...client.weights, pinTwo: 0 } }
  }
}

/**
 * Streams that do not wait for each other, and files that shrink all the time. Overtaking shows only if both coincide.
 */
function withLateStreams(drawn: Settings): Settings {
  const { faults, client } = drawn
  const shrinking = { punch: 2, truncate: 1, write: 5, read: 3, tryWrite: 3 }
  return {
    ...drawn,
    mixes: [...drawn.mixes, 'late streams'],
    faults: { ...faults, everyMs: 25, weights: weightsOf({ slowStream: 1 }) },
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

type Mix = Partial<Omit<ClientSettings, 'weights'>> & { readonly weights: Partial<ClientSettings['weights']> }

function withMix(drawn: Settings, mix: string, client: Mix, faults: Partial<FaultSettings> = {}): Settings {
  return {
    ...drawn,
    mixes: [...drawn.mixes, mix],
    client: { ...drawn.client, pauseMs: 1, ...client, weights: actionsOf(client.weights) },
    faults: { ...drawn.faults, ...faults }
  }
}

const ONE_PAGE: Mix = {
  ...{ paths: 1, wholePaths: 0, bytes: PAGE_BYTES },
  weights: { write: 4, read: 4, pin: 2, tryRead: 2, tryWrite: 2 }
}

/**
 * An entry that renews or ends a session takes several writes to a slow disk. Calls last long there. If many overlap on
 * one page, the history has more orders than the checker can try, so each client runs one program.
 */
const ONE_PAGE_ON_SLOW_DISKS: Mix = { ...ONE_PAGE, programs: 1, sessionTtlMs: 3000, faultTimeoutMs: 4000 }

const SHRINKING = { paths: 1, wholePaths: 0, bytes: 3 * PAGE_BYTES, maxPages: 3, programs: 1, aborts: 0 } as const

/** Mixes for rules that only a rare order of events shows. Each makes its order common. */
const FOCUSED: readonly ((drawn: Settings) => Settings)[] = [
  // A page changes while its earlier bytes are on their way.
  (drawn) =>
    withMix(drawn, 'rewrites', { programs: 1, weights: { rewrite: 4, write: 2, read: 1, pin: 1, readAcross: 1 } }),
  // A deposed leader wakes, and serves until its next tick, while clients look for the leader.
  (drawn) =>
    withMix(drawn, 'stalled leaders', ONE_PAGE, {
      everyMs: 80,
      weights: weightsOf({ stallLeader: 3, isolateLeader: 1, breakStream: 2, breakConnection: 4, crashClient: 0.5 })
    }),
  // A leader that no peer hears serves until it notices, while clients look for the leader.
  (drawn) =>
    withMix(drawn, 'isolated leaders', ONE_PAGE, {
      everyMs: 150,
      weights: weightsOf({ isolateLeader: 3, stallLeader: 1, breakStream: 2, breakConnection: 2, crashClient: 0.5 })
    }),
  // A session opens a file while a truncation of it waits for a pin.
  (drawn) =>
    withMix({ ...drawn, clients: 4 }, 'opens under truncations', {
      ...SHRINKING,
      pinMs: 20,
      weights: { truncate: 1.5, extend: 1, reopen: 4, read: 8, pin: 3, write: 1 }
    }),
  // A write over two pages has written the first when a truncation takes the second, and another client goes on.
  (drawn) =>
    withMix({ ...drawn, clients: 4 }, 'writes under truncations', {
      ...SHRINKING,
      pinMs: 10,
      weights: { extendAcross: 4, truncate: 2, pinAcross: 4, readAcross: 2, read: 1 }
    }),
  // A new leader holds entries that nobody has committed, and its own disk is slower to confirm them than a follower's.
  ({ peer, network, faults, ...rest }) => {
    const slow = {
      ...rest,
      faultyMs: 20_000,
      peer: { ...peer, diskLatencyMs: 60 },
      network: { ...network, latencyMs: 0.3 },
      // Far less than a session's time to live: most faults cost a leader, and no session.
      faults: { ...faults, ttlMs: 600 }
    }
    return withMix(slow, 'slow disks', ONE_PAGE_ON_SLOW_DISKS, {
      everyMs: 1200,
      weights: weightsOf({ stallLeader: 2, crashLeader: 1, isolateLeader: 0.3 })
    })
  }
]

function drawMix(random: RandomSource): Settings {
  const sessionTtlMs = random.pick([500, 600, 800, 1000, 1500])
  return {
    mixes: [],
    isAdministered: false,
    isNoisy: true,
    clients: random.int(2, 4),
    faultyMs: random.between(3000, 6000),
    peer: {
      diskLatencyMs: random.pick([0.3, 1, 4]),
      segmentBytes: random.pick([16_384, 65_536]),
      maxMemtableBytes: random.pick([32_768, 131_072, 1_048_576]),
      checkpointEntries: random.pick([5, 20, 100, 1000]),
      checkpointIntervalMs: random.pick([100, 500, 5000]),
      maxReleased: random.fork('released').pick([2, 10, 16_384]),
      roundTripMs: DEFAULT_ROUND_TRIP_MS,
      admins: [],
      creditBytes: random.pick([4096, 16_384, 1_048_576]),
      maxFaults: random.pick([1, 4, 256]),
      maxProposalBytes: random.pick([6000, 8_388_608, 8_388_608]),
      raft: { retainedBytes: 64 * 1024 * 1024, maxPieceBytes: 20_000 },
      snapshots: {},
      scrub: drawScrub(random.fork('scrubs'))
    },
    client: drawClient(random, sessionTtlMs),
    network: {
      roundTripMs: 0,
      latencyMs: random.pick([0.3, 1, 3, 8]),
      raftLoss: random.pick([0, 0.01, 0.05]),
      raftDuplication: random.pick([0, 0.01, 0.05]),
      raftReordering: random.pick([0, 0.02, 0.1]),
      dialFailure: random.pick([0, 0.02, 0.1]),
      joined: 0,
      pieceDamage: 0,
      highWaterBytes: random.pick([2000, 20_000, 262_144]),
      lineBytesPerMs: Infinity
    },
    faults: {
      everyMs: random.pick([200, 400, 800]),
      weights: weightsOf(drawWeights(DRAWN_FAULTS, FAULT_WEIGHTS, random, 0.7)),
      areClientsOnly: false,
      roundTripMs: DEFAULT_ROUND_TRIP_MS,
      ttlMs: sessionTtlMs
    }
  }
}

/** Some walks end at once, others take as long as the interval, and some of those are given up. */
function drawScrub(random: RandomSource): Settings['peer']['scrub'] {
  return {
    intervalMs: random.pick([300, 1000, 3000]),
    bytesPerSecond: random.pick([64_000, 32 * 1024 * 1024]),
    sliceBytes: random.pick([4096, 131_072]),
    maxAgeMs: random.pick([200, 3_600_000])
  }
}

const KINDS = Object.keys(ACTION_WEIGHTS) as (keyof typeof ACTION_WEIGHTS)[]

function drawClient(random: RandomSource, sessionTtlMs: number): ClientSettings {
  const pages = random.pick([1, 1, 2, 2, 3, 4])
  // More pages than frames, so that some seeds must evict.
  const isCrowded = random.is(0.2)
  const wholePaths = random.pick([0, 0, 1, 1, 2])
  return {
    paths: isCrowded ? 2 : random.int(wholePaths === 2 ? 0 : 1, 2),
    wholePaths,
    bytes: (isCrowded ? 9 : pages) * PAGE_BYTES - random.pick([0, 0, 0, 8, 2000]),
    maxPages: isCrowded ? 12 : pages + random.int(1, 2),
    programs: random.pick([1, 1, 2, 3]),
    pauseMs: random.pick([1, 3, 8, 20]),
    pinMs: random.pick([2, 8, 40]),
    lockPauseMs: 0.5,
    longPins: { share: 0.2, pages: 1 },
    aborts: random.pick([0, 0.03, 0.15]),
    weights: actionsOf(drawWeights(KINDS, ACTION_WEIGHTS, random, 0.85)),
    naming: 0,
    cacheBytes: 65_536,
    allowedErrors: ALLOWED_BY_FAULTS,
    sessionTtlMs,
    faultTimeoutMs: random.pick([1000, 2000, 4000]),
    knowsAllPeers: false
  }
}

/** The other actions do not happen. */
function actionsOf(some: Partial<ClientSettings['weights']>): ClientSettings['weights'] {
  const none = Object.fromEntries(ACTIONS.map((action) => [action, 0])) as ClientSettings['weights']
  return { ...none, ...some }
}

function weightsOf(some: Partial<FaultSettings['weights']>): FaultSettings['weights'] {
  const none = Object.fromEntries(FAULTS.map((kind) => [kind, 0])) as FaultSettings['weights']
  return { ...none, ...some }
}

/** Leaves some kinds out. */
function drawWeights<K extends string>(
  kinds: readonly K[],
  common: Readonly<Record<K, number>>,
  random: RandomSource,
  share: number
): Readonly<Record<K, number>> {
  const weights: Partial<Record<K, number>> = {}
  for (const kind of kinds) weights[kind] = random.is(share) ? common[kind] * random.between(0.2, 1) : 0
  return weights as Readonly<Record<K, number>>
}
