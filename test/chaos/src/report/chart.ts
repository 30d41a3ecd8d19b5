/** Charts of a run, as SVG. Pure. */
import type { Timeline } from '../timeline.js'

const WIDTH = 1100
/** The width of the column of names, on the left of the time axis. */
const MARGIN = 170
const ROW = 18
/** A bar of this width has room for the name of a peer. */
const MIN_TEXT_WIDTH = 40
const COLORS = [
  '#3b6fb6',
  '#d9822b',
  '#3f9b57',
  '#b8433f',
  '#7c5bb0',
  '#8a6d3b',
  '#c2639b',
  '#5d6d7e',
  '#9a9a2c',
  '#2aa5a5'
]

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

/** Places moments of a run on the axis. */
class Axis {
  constructor(readonly endMs: number) {}

  x(atMs: number): number {
    return MARGIN + (Math.min(atMs, this.endMs) / this.endMs) * (WIDTH - MARGIN - 10)
  }

  /** Minutes, or tens of seconds in a short run. */
  marks(height: number): string {
    const stepMs = this.endMs > 240_000 ? 60_000 : 10_000
    const marks: string[] = []
    for (let atMs = 0; atMs <= this.endMs; atMs += stepMs) {
      const x = this.x(atMs).toFixed(1)
      const label = stepMs === 60_000 ? `${atMs / 60_000} min` : `${atMs / 1_000} s`
      marks.push(`<line class="grid" x1="${x}" y1="0" x2="${x}" y2="${height - ROW}"/>`)
      marks.push(`<text class="mark" x="${x}" y="${height - 4}">${label}</text>`)
    }
    return marks.join('')
  }
}

function svg(height: number, content: string): string {
  return `<svg viewBox="0 0 ${WIDTH} ${height}" width="100%" role="img">${content}</svg>`
}

function bar(
  axis: Axis,
  fromMs: number,
  toMs: number,
  row: number,
  color: string,
  title: string,
  text?: string
): string {
  const x = axis.x(fromMs)
  const width = Math.max(2, axis.x(toMs) - x)
  const place = `x="${x.toFixed(1)}" y="${row * ROW + 3}" width="${width.toFixed(1)}" height="${ROW - 6}"`
  const rect = `<rect ${place} fill="${color}"><title>${escapeText(title)}</title></rect>`
  if (text === undefined || width < MIN_TEXT_WIDTH) return rect
  return `${rect}<text class="inside" x="${(x + 4).toFixed(1)}" y="${row * ROW + 13}">${escapeText(text)}</text>`
}

function label(row: number, text: string): string {
  return `<text class="name" x="${MARGIN - 6}" y="${row * ROW + 13}">${escapeText(text)}</text>`
}

/** One row for each kind of fault, and one for who leads. */
export function faultChart({ faults, leaders }: Timeline, endMs: number): string {
  const axis = new Axis(endMs)
  const names = [...new Set(faults.map(({ fault }) => fault))]
  const height = (names.length + 2) * ROW
  const peers = [...new Set(leaders.flatMap(({ leader }) => leader ?? []))].sort()
  const rows = faults.map(({ fault, what, fromMs, toMs }) => {
    const row = names.indexOf(fault)
    return bar(axis, fromMs, toMs ?? endMs, row, COLORS[row % COLORS.length]!, `${fault}: ${what}`)
  })
  const leading = leaders.map(({ atMs, leader }, i) => {
    const color = leader === undefined ? '#dddddd' : COLORS[peers.indexOf(leader) % COLORS.length]!
    return bar(axis, atMs, leaders[i + 1]?.atMs ?? endMs, names.length, color, leader ?? 'no leader', leader)
  })
  const labels = [...names.map((name, row) => label(row, name)), label(names.length, 'leader')]
  return svg(height, axis.marks(height) + labels.join('') + rows.join('') + leading.join(''))
}

export interface Line {
  readonly name: string
  /** By second. */
  readonly values: readonly number[]
}

/** Lines over time; the values of `isLogarithmic` charts are at least 1. */
export function lineChart(lines: readonly Line[], endMs: number, unit: string, isLogarithmic: boolean): string {
  const axis = new Axis(endMs)
  const height = 170
  const bottom = height - ROW - 4
  const top = Math.max(1, ...lines.flatMap(({ values }) => values))
  const scale = (value: number): number =>
    isLogarithmic ? Math.log(Math.max(1, value)) / Math.max(1e-9, Math.log(top)) : value / top
  const paths = lines.map(({ values }, i) => {
    const points = values.map((value, second) => {
      return `${axis.x(second * 1_000).toFixed(1)},${(bottom - scale(value) * (bottom - 12)).toFixed(1)}`
    })
    return `<polyline fill="none" stroke="${COLORS[i % COLORS.length]}" points="${points.join(' ')}"/>`
  })
  const highest = `<text class="name" x="${MARGIN - 6}" y="16">${Math.round(top)} ${escapeText(unit)}</text>`
  const lowest = `<text class="name" x="${MARGIN - 6}" y="${bottom}">${isLogarithmic ? 1 : 0}</text>`
  const keys = lines.map(
    ({ name }, i) => `<tspan fill="${COLORS[i % COLORS.length]}" dx="10">${escapeText(name)}</tspan>`
  )
  const legend = `<text class="legend" x="${MARGIN}" y="12">${keys.join('')}</text>`
  return svg(height, axis.marks(height) + highest + lowest + paths.join('') + legend)
}
