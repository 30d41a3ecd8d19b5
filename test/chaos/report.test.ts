import { describe, expect, it } from 'vitest'
import { quantile, reportPage } from './src/report/page.js'
import type { Outcome } from './src/run.js'
import { Timeline } from './src/timeline.js'

function outcome(problems: readonly string[], halted?: string): Outcome {
  const timeline = new Timeline()
  timeline.begin('leader killed', 'peer1').toMs = 2_000
  timeline.begin('line thin', '<b>4</b> Mbit/s')
  timeline.leads('peer1')
  timeline.leads(undefined)
  timeline.worked('bank', [1, 2, 300])
  timeline.healed.push({ atMs: 30_000, progressMs: 400 })
  const judged = { events: 12, operations: 10, objects: 3 }
  const none = { findings: [], events: [], clients: new Map<string, string>(), left: [], halted }
  return { problems, timeline, judged, rejected: { BusyError: 2 }, logged: [['snapshots installed', 1]], ...none }
}

const page = (problems: readonly string[]): string =>
  reportPage({ seed: 7, minutes: 20, again: 'pnpm chaos --seed 7', outcome: outcome(problems) })

describe('the report of a chaos run', () => {
  it('the report has the verdict, the counts, and the command that repeats the run', () => {
    const text = page([])
    expect(text).toContain('No acknowledged write is lost, and the history is linearizable.')
    expect(text).toContain('<code>pnpm chaos --seed 7</code>')
    expect(text).toContain('10 operations on 3 pages and sizes of files were judged.')
    expect(text).toContain('<tr><td>leader killed</td><td class="count">1</td></tr>')
    expect(text).toContain('<tr><td>bank</td><td class="count">3</td></tr>')
    expect(text).toContain('<tr><td>BusyError</td><td class="count">2</td></tr>')
    expect(text).toContain('<title>leader killed: peer1</title>')
  })

  it('the report tells what happened to a page whose history is no linearizable one', () => {
    const base = { client: 'a', process: 'session', file: '7', offset: 0, length: 1, status: 'ok' } as const
    const events = [
      { ...base, op: 'write', value: '01', call: 1, return: 2 },
      { ...base, op: 'read', value: '00', call: 3, return: 4 }
    ] as const
    const [impossible, missing] = [events[1], events[0]]
    const findings = [{ file: '7', page: 0, result: 'violation', text: '', impossible, missing }] as const
    const clients = new Map([['a', '<client1>']])
    const found = { ...outcome(['page 0: violation']), events, findings, clients }
    const text = reportPage({ seed: 7, minutes: 20, again: 'pnpm chaos', outcome: found })
    expect(text).toContain('What happened to page 0 of file 7')
    expect(text).toMatch(/<tr class="missing">.*&lt;client1&gt; \(…sion\).*write 1 bytes at 0: 01/)
    expect(text).toMatch(/<tr class="impossible">.*read 1 bytes at 0: 00/)
  })

  it('the report says why a run could not go on, and that its verdict is about the time before', () => {
    const halted = outcome([], 'the command ended with 1: <kill>')
    const text = reportPage({ seed: 7, minutes: 1, again: '', outcome: halted })
    expect(text).toContain('The run could not go on: the command ended with 1: &lt;kill&gt;. The verdict is about')
    expect(text).toContain('Chaos run of 1 minute, seed 7')
    expect(page([])).not.toContain('could not go on')
  })

  it('the report shows each problem, and no text of a run as markup', () => {
    const text = page(['page 1: violation\n<script>'])
    expect(text).toContain('A problem was found.')
    expect(text).toContain('<pre class="broken">page 1: violation\n&lt;script&gt;</pre>')
    expect(text).toContain('&lt;b&gt;4&lt;/b&gt; Mbit/s')
    expect(text).not.toContain('<script>')
    expect(page(['one', 'two'])).toContain('2 problems were found.')
  })
})

it('a quantile is a value of the sample, and 0 without values', () => {
  expect(quantile([5, 1, 3], 0.5)).toBe(3)
  expect(quantile([5, 1, 3], 0.99)).toBe(5)
  expect(quantile([], 0.5)).toBe(0)
})
