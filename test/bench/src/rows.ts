/** The result of a benchmark: one figure per row. */
import { median, type Figures } from './tasks/contest.js'

export type Unit = 'us' | '1/s' | 'MiB/s' | 'ms/MiB' | 'bytes'

export interface Row {
  readonly row: string
  readonly metric: string
  readonly unit: Unit
  /** The median of all rounds. */
  readonly value: number | null
  /** The same figure of the rival that the metric names, measured in turn with it. */
  readonly rival: number | null
  /** The median of the ratios of each round, value to rival. */
  readonly ratio: number | null
  /** The least and the greatest of these ratios; of the values if there is no rival. */
  readonly spread: readonly [number, number] | null
  /** What the ratio should reach, or the value if there is no rival. */
  readonly target: number | null
  /** Null without a target. */
  readonly ok: boolean | null
  /** Why there is no value. */
  readonly missing: string | null
}

export interface Target {
  readonly least?: number
  readonly most?: number
}

/** Compares the figures of `own` with those of `rival`, round by round. */
export function compared(
  row: string,
  unit: Unit,
  figures: Figures,
  [own, rival]: readonly [string, string],
  target: Target = {}
): Row {
  const metric = own === 'quire' ? `against ${rival}` : `${own.replace('quire ', '')} against ${rival}`
  const values = figures[own] ?? []
  const rivals = figures[rival]
  if (rivals === undefined) return { ...blank(row, metric, unit), missing: `${rival}: not installed` }
  const ratios = values.map((value, round) => value / rivals[round]!)
  const ratio = median(ratios)
  return {
    ...blank(row, metric, unit),
    value: rounded(median(values)),
    rival: rounded(median(rivals)),
    ratio: rounded(ratio),
    spread: spreadOf(ratios),
    ...judged(ratio, target)
  }
}

/** A figure of its own, without a rival. */
export function alone(row: string, metric: string, unit: Unit, values: readonly number[], target: Target = {}): Row {
  const value = median(values)
  return { ...blank(row, metric, unit), value: rounded(value), spread: spreadOf(values), ...judged(value, target) }
}

function blank(row: string, metric: string, unit: Unit): Row {
  return {
    row,
    metric,
    unit,
    value: null,
    rival: null,
    ratio: null,
    spread: null,
    target: null,
    ok: null,
    missing: null
  }
}

function judged(value: number, { least, most }: Target): Pick<Row, 'target' | 'ok'> {
  if (least !== undefined) return { target: least, ok: value >= least }
  if (most !== undefined) return { target: most, ok: value <= most }
  return { target: null, ok: null }
}

function spreadOf(values: readonly number[]): readonly [number, number] {
  return [rounded(Math.min(...values)), rounded(Math.max(...values))]
}

function rounded(value: number): number {
  return Number(value.toPrecision(4))
}

/** NaN if there is none. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? NaN
}
