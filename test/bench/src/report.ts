/** The results of a benchmark for people: a table in Markdown, and a chart of the ratios. Pure. */
import type { Row } from './rows.js'

const WIDTH = 900
const LINE = 22
/** The column of names, on the left of the axis. */
const MARGIN = 330
const TOP = 40
/** The ends of the axis. It is logarithmic; a bar that goes beyond ends there. */
const [LEAST, MOST] = [0.1, 32]
const MARKS = [0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32]
const MET = '#3f9b57'
const MISSED = '#d9822b'

export function markdownOf(rows: readonly Row[]): string {
  const lines = rows.map(({ row, metric, value, rival, unit, ratio, spread, target, ok, missing }) => {
    const aim = target === null ? '' : `${target} ${ok === true ? 'met' : '**missed**'}`
    return [row, metric, value ?? missing ?? '', rival ?? '', unit, ratio ?? '', spread?.join(' to ') ?? '', aim]
  })
  const head = ['row', 'metric', 'value', 'rival', 'unit', 'ratio', 'spread', 'target']
  const align = [':--', ':--', '--:', '--:', ':--', '--:', '--:', '--:']
  return [head, align, ...lines].map((cells) => `| ${cells.join(' | ')} |\n`).join('')
}

/** How many times as good as its rival each row is. The line at 1 is the rival, the mark on each bar is the target. */
export function chartOf(rows: readonly Row[]): string {
  const compared = rows.filter(({ ratio }) => ratio !== null)
  const height = TOP + compared.length * LINE + 10
  const axis = MARKS.map((mark) => {
    const x = place(mark)
    const line = `<line x1="${x}" y1="${TOP - 8}" x2="${x}" y2="${height}" stroke="${mark === 1 ? '#333' : '#ddd'}"/>`
    return `${line}<text x="${x}" y="${TOP - 14}" text-anchor="middle">${mark}x</text>`
  })
  const bars = compared.map((row, i) => barOf(row, TOP + i * LINE))
  const style = '<style>text{font:12px sans-serif;fill:#222}</style>'
  const background = `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${style}${background}${[...axis, ...bars].join('\n')}</svg>\n`
}

function barOf({ row, metric, unit, ratio, target, ok }: Row, y: number): string {
  // Times are better if they are smaller.
  const goodness = (value: number): number => (unit === 'us' ? 1 / value : value)
  const [from, to] = [place(1), place(goodness(ratio!))].sort((a, b) => a - b) as [number, number]
  const text = `<text x="${MARGIN - 12}" y="${y + 13}" text-anchor="end">${row}: ${metric}</text>`
  const color = ok === false ? MISSED : MET
  const bar = `<rect x="${from}" y="${y + 2}" width="${Math.max(1, to - from)}" height="${LINE - 8}" fill="${color}"/>`
  const value = `<text x="${to + 6}" y="${y + 13}">${goodness(ratio!).toPrecision(3)}</text>`
  if (target === null) return text + bar + value
  const aim = place(goodness(target))
  return `${text}${bar}<line x1="${aim}" y1="${y}" x2="${aim}" y2="${y + LINE - 4}" stroke="#b8433f" stroke-width="2"/>${value}`
}

function place(value: number): number {
  const share = Math.log(Math.min(MOST, Math.max(LEAST, value)) / LEAST) / Math.log(MOST / LEAST)
  return Math.round(MARGIN + share * (WIDTH - MARGIN - 60))
}
