/** Makes the faults of a schedule, and heals everything after each round. */
import type { RandomSource } from '@quire/testing'
import { LANES, type Fault, type World } from './faults/fault.js'
import type { Round } from './schedule.js'
import type { Timeline } from './timeline.js'

export interface NemesisInit {
  readonly world: World
  readonly timeline: Timeline
  readonly random: RandomSource
  /** The faults of a round begin within this time, unless the one before takes longer. */
  readonly roundMs: number
  /** Resolves when each program has carried out an operation since the call. Rejects when that takes too long. */
  readonly progress: () => Promise<void>
  readonly log: (line: string) => void
}

/** Carries out the rounds. Rejects if the cluster does not recover from one. */
export async function makeTrouble(rounds: readonly Round[], init: NemesisInit): Promise<void> {
  for (const [i, round] of rounds.entries()) {
    init.log(`round ${i + 1} of ${rounds.length}`)
    await Promise.all(LANES.map((lane) => makeLane(round[lane], lane, init)))
    await heal(init)
  }
}

async function makeLane(faults: readonly Fault[], lane: Fault['lane'], init: NemesisInit): Promise<void> {
  const { timeline, world, roundMs } = init
  const random = init.random.fork(`${lane} ${timeline.healed.length}`)
  const times = faults.map(() => timeline.nowMs + random.between(0, roundMs)).sort((a, b) => a - b)
  for (const [i, fault] of faults.entries()) {
    // The one before may have taken longer.
    await world.pause(Math.max(0, times[i]! - timeline.nowMs))
    await makeOne(fault, init)
  }
}

async function makeOne(fault: Fault, { world, timeline, log }: NemesisInit): Promise<void> {
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

/** All peers run, all lines are whole: the cluster must serve again, and each program go on. */
async function heal({ world, timeline, progress, log }: NemesisInit): Promise<void> {
  const { cluster, clients, lines } = world
  await lines?.mend()
  for (const client of clients) client.resume()
  await cluster.revive()
  const atMs = timeline.nowMs
  await progress()
  const progressMs = timeline.nowMs - atMs
  timeline.healed.push({ atMs, progressMs })
  log(`  healed: all programs went on within ${(progressMs / 1_000).toFixed(1)} s`)
}
