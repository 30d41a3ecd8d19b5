/**
 * Durations of the stages of a peer's work. Recording is always on and takes a few nanoseconds. Names, units and
 * buckets are those of docs/observability.md and do not change.
 */
import type { Clock, LeaderMessageOf } from '@quire/protocol'

export const STAGES = [
  'fault.read.queue',
  'fault.write.queue',
  'fault.write.commit',
  'log.flush',
  'entries.apply'
] as const
export type Stage = (typeof STAGES)[number]

/** One stage in a status message. It lists the buckets that are not empty. */
export type StageReport = LeaderMessageOf<'status'>['stages'][number]

/**
 * Eight buckets for each doubling: bucket i holds durations from 2^(i/8) to 2^((i+1)/8) µs. The first bucket also holds
 * shorter ones.
 */
const BUCKETS_PER_DOUBLING = 8
/** The buckets reach about 70 minutes. The last one also holds longer durations. */
const BUCKETS = 256

/** Records how long each stage takes. */
export interface Stages {
  record(stage: Stage, durationMs: number): void
  /** Calls `work` and records its duration. If it returns a promise, the duration ends when the promise resolves. */
  time<T>(stage: Stage, work: () => T): T
  report(): StageReport[]
}

export function createStages(clock: Pick<Clock, 'now'>): Stages {
  const histograms = new Map(STAGES.map((stage) => [stage, new Uint32Array(BUCKETS)]))

  function record(stage: Stage, durationMs: number): void {
    const us = durationMs * 1000
    const bucket = us <= 1 ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log2(us) * BUCKETS_PER_DOUBLING))
    histograms.get(stage)![bucket]!++
  }

  function time<T>(stage: Stage, work: () => T): T {
    const begin = clock.now()
    const result = work()
    const end = (): void => record(stage, clock.now() - begin)
    // Only successful work counts. The caller handles its failure.
    if (result instanceof Promise) result.then(end, () => {})
    else end()
    return result
  }

  function report(): StageReport[] {
    return STAGES.map((name) => {
      const buckets: StageReport['buckets'] = []
      for (const [index, count] of histograms.get(name)!.entries()) if (count > 0) buckets.push({ index, count })
      return { name, buckets }
    })
  }

  return { record, time, report }
}

/** The duration in µs that `percent` of all durations do not exceed, within 9 % (one bucket). 0 without durations. */
export function stagePercentile(buckets: StageReport['buckets'], percent: number): number {
  const total = buckets.reduce((sum, { count }) => sum + count, 0)
  let left = (total * percent) / 100
  for (const { index, count } of buckets) {
    left -= count
    // The middle of the bucket.
    if (left <= 0) return 2 ** ((index + 0.5) / BUCKETS_PER_DOUBLING)
  }
  return 0
}
