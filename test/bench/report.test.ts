import { expect, it } from 'vitest'
import { chartOf, markdownOf } from './src/report.js'
import { alone, compared } from './src/rows.js'

const rows = [
  compared('commit', 'us', { quire: [300, 100, 200], 'etcd put': [100, 100, 100] }, ['quire', 'etcd put'], {
    most: 1.1
  }),
  compared('scan', 'MiB/s', { quire: [300], redis: [100] }, ['quire', 'redis'], { least: 1.2 }),
  compared('scan', 'MiB/s', { quire: [300] }, ['quire', 'etcd'], { least: 1.2 }),
  alone('log', 'entry', 'bytes', [151], { most: 160 })
]

it('the table of a benchmark has each row with its median, ratio, spread and target', () => {
  const [, , ...lines] = markdownOf(rows).trim().split('\n')
  expect(lines).toEqual([
    '| commit | against etcd put | 200 | 100 | us | 2 | 1 to 3 | 1.1 **missed** |',
    '| scan | against redis | 300 | 100 | MiB/s | 3 | 3 to 3 | 1.2 met |',
    '| scan | against etcd | etcd: not installed |  | MiB/s |  |  |  |',
    '| log | entry | 151 |  | bytes |  | 151 to 151 | 160 met |'
  ])
})

it('the chart of a benchmark has a bar for each rival, to the right of the line at 1 if Quire is better', () => {
  const chart = chartOf(rows)
  const bars = [...chart.matchAll(/<rect x="(\d+)" y="\d+" width="(\d+)" height="\d+" fill="(#\w+)"/g)]
  const at1 = Number(/<line x1="(\d+)"[^>]*stroke="#333"/.exec(chart)![1])
  expect(bars.map(([, x, width, color]) => [Number(x) >= at1, Number(x) + Number(width) > at1, color])).toEqual([
    [false, false, '#d9822b'],
    [true, true, '#3f9b57']
  ])
  expect(chart).toContain('>0.500</text>')
})
