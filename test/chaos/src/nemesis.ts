/** Makes the faults of a schedule, and heals everything after each round. */
import type { RandomSource } from '@quire/testing'
import type { Cluster } from './cluster/cluster.js'
import { LANES, type Fault, type World } from './faults/fault.js'
import type { Round } from './schedule.js'
import type { Timeline } from './timeline.js'

export interface NemesisInit<C extends Cluster> {
  readonly world: World<C>
  readonly timeline: Timeline
  readonly random: RandomSource
  /** The faults of a round begin within this time, unless the one before takes longer. */
  readonly roundMs: number
  /** Resolves when each program has carried out an operation since the call. Rejects when that takes too long. */
  readonly progress: () => Promise<void>
  readonly log: (line: string) => void
}

/** Carries out the rounds. Rejects if the cluster does not recover from one. */
export async function makeTrouble<C extends Cluster>(rounds: readonly Round<C>[], init: NemesisInit<C>): Promise<void> {
  for (const [i, round] of rounds.entries()) {
    init.log(`round ${i + 1} of ${rounds.length}`)
    await makeRound(round, init)
    await heal(init)
  }
}

/** Rejects with the first failure of a fault, when neither lane makes trouble any more. */
async function makeRound<C extends Cluster>(round: Round<C>, init: NemesisInit<C>): Promise<void> {
  const failures: unknown[] = []
  const makeAll = async (lane: Fault['lane']): Promise<void> => {
    try {
      await makeLane(round[lane], lane, { ...init, isOver: () => failures.length > 0 })
    } catch (error) {
      failures.push(error)
    }
  }
  await Promise.all(LANES.map(makeAll))
  if (failures.length > 0) throw failures[0]
}

async function makeLane<C extends Cluster>(
  faults: readonly Fault<C>[],
  lane: Fault['lane'],
  init: NemesisInit<C> & { readonly isOver: () => boolean }
): Promise<void> {
  const { timeline, world, roundMs, isOver } = init
  const random = init.random.fork(`${lane} ${timeline.healed.length}`)
  const times = faults.map(() => timeline.nowMs + random.between(0, roundMs)).sort((a, b) => a - b)
  for (const [i, fault] of faults.entries()) {
    // The one before may have taken longer.
    await world.pause(Math.max(0, times[i]! - timeline.nowMs))
    if (isOver()) return
    await makeOne(fault, init)
  }
}

async function makeOne<C extends Cluster>(fault: Fault<C>, { world, timeline, log }: NemesisInit<C>): Promise<void> {
  let event: ReturnType<Timeline['begin']> | undefined
  const begins = (what: string): void => {
    event = timeline.begin(fault.name, what)
    log(`  ${fault.name}: ${what}`)
  }
  try {
    await fault.make(world, begins)
  } catch (error) {
    throw new Error(`${fault.name}: ${(error as Error).message}`, { cause: error })
  } finally {
    if (event !== undefined) event.toMs = timeline.nowMs
  }
}

/** The trouble is over: the cluster must serve again, and each program go on. */
async function heal<C extends Cluster>({ world, timeline, progress, log }: NemesisInit<C>): Promise<void> {
  for (const client of world.clients) client.resume()
  await world.cluster.heal()
  const atMs = timeline.nowMs
  await progress()
  const progressMs = timeline.nowMs - atMs
  timeline.healed.push({ atMs, progressMs })
  log(`  healed: all programs went on within ${(progressMs / 1_000).toFixed(1)} s`)
}
