/** The result of a benchmark: one figure per row. */
export interface Row {
  readonly row: string
  readonly metric: string
  readonly unit: 'us' | '1/s' | 'MB/s'
  readonly value: number | null
  /** The same figure of a bare libp2p round trip of the same bytes, measured in turn with it. */
  readonly rival: number | null
  readonly ratio: number | null
  readonly target: number | null
  /** Null without a target. */
  readonly ok: boolean | null
  /** Why there is no value. */
  readonly missing: string | null
}

/** One stage of a peer, as `quire status --json` shows it: counts in logarithmic buckets (docs/observability.md). */
export interface StageCounts {
  readonly name: string
  readonly buckets: readonly { readonly index: number; readonly count: number }[]
}

export function row(name: string, metric: string, value: number, rival?: number, unit: Row['unit'] = 'us'): Row {
  const isKnown = Number.isFinite(value)
  return {
    row: name,
    metric,
    unit,
    value: isKnown ? rounded(value) : null,
    rival: rival === undefined ? null : rounded(rival),
    ratio: rival === undefined || !isKnown ? null : rounded(value / rival),
    target: null,
    ok: null,
    missing: isKnown ? null : 'nothing was measured'
  }
}

/** NaN if there is none. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? NaN
}

/** Returns the difference between two answers of the same peer. */
export function between(before: readonly StageCounts[], after: readonly StageCounts[], name: string) {
  const earlier = new Map(find(before, name).map(({ index, count }) => [index, count]))
  return find(after, name).map(({ index, count }) => ({ index, count: count - (earlier.get(index) ?? 0) }))
}

function find(stages: readonly StageCounts[], name: string): StageCounts['buckets'] {
  const stage = stages.find((each) => each.name === name)
  if (stage === undefined) throw new Error(`the peer has no stage ${name}`)
  return stage.buckets
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}
