/** The history of a client that was killed. */
import { judge, parseHistory, type HistoryEvent } from '#linearizability'
import { describe, expect, it } from 'vitest'
import { withEpitaph, type Begun } from './src/client/epitaph.js'

const SIZE = 4096

function event(client: string, call: number, fields: Partial<HistoryEvent>): HistoryEvent {
  const base = { client, process: `session-${client}`, file: '7', offset: 0, length: 1, status: 'ok' as const }
  return { ...base, op: 'read', call, return: call + 5, ...fields }
}

const linesOf = (events: readonly HistoryEvent[]): string => events.map((each) => `${JSON.stringify(each)}\n`).join('')

/** Client a is killed at 100, and client b goes on. Returns the number of findings. */
function findings(killed: readonly HistoryEvent[], begun: Begun | undefined, after: readonly HistoryEvent[]): number {
  const history = linesOf(killed)
  const whole = withEpitaph({ history, begun, sizes: new Map([['7', SIZE]]), atNs: 100 }) + linesOf(after)
  return judge(parseHistory(whole), { pageSize: SIZE, initialSize: () => SIZE }).findings.length
}

const reads = (...values: readonly string[]): HistoryEvent[] =>
  values.map((value, i) => event('b', 200 + 10 * i, { value }))

describe('the history of a client that was killed', () => {
  const written = [event('a', 10, { op: 'write', value: '01' })]
  const flushed = [...written, event('a', 20, { op: 'sync', length: 0 })]

  it('a write without a flush may be lost, or not, but is not lost after it was seen', () => {
    expect(findings(written, undefined, reads('00'))).toBe(0)
    expect(findings(written, undefined, reads('01'))).toBe(0)
    expect(findings(written, undefined, reads('01', '00'))).toBe(1)
  })

  it('a flushed write must stay', () => {
    expect(findings(flushed, undefined, reads('01'))).toBe(0)
    expect(findings(flushed, undefined, reads('00'))).toBe(1)
  })

  it('a change that was under way may have happened, and one that its history has is not told twice', () => {
    const begun = { op: 'write', file: '7', offset: 0, length: 1, value: '02', grew: false, call: 50 } as const
    expect(findings(flushed, begun, reads('02'))).toBe(0)
    expect(findings(flushed, begun, reads('01'))).toBe(0)
    expect(findings(flushed, undefined, reads('02'))).toBe(1)
    const ended = event('a', 50, { op: 'write', value: '02', status: 'fail' })
    expect(findings([...flushed, ended], begun, reads('02'))).toBe(1)
  })

  it('a truncation that was under way may still happen later', () => {
    const begun = { op: 'truncate', file: '7', offset: 0, length: 0, call: 50 } as const
    expect(findings(flushed, begun, reads('01', '00'))).toBe(0)
  })

  it('a write that was under way before the first line of the history may have happened', () => {
    const begun = { op: 'write', file: '7', offset: 0, length: 1, value: '02', grew: false, call: 50 } as const
    expect(findings([], begun, reads('02'))).toBe(0)
  })

  it('a last line that the kill has cut off does not count', () => {
    const history = linesOf(flushed) + '{"client":"a","pro'
    const whole = withEpitaph({ history, begun: undefined, sizes: new Map(), atNs: 100 })
    expect(whole).toBe(linesOf(flushed))
  })
})
