/** The report of a run that has lost an acknowledged write tells its life. */
import type { HistoryEvent } from '#linearizability'
import { describe, expect, it } from 'vitest'
import { storyOf, type StoryLine } from './src/report/story.js'
import { verdictOf, type Verdict } from './src/verdict.js'

const START_NS = 1e12
const timeline = {
  startNs: START_NS,
  faults: [
    { fault: 'leader killed', what: 'peer1', fromMs: 1_900, toMs: 2_500 },
    { fault: 'line thin', what: 'peer2', fromMs: 100, toMs: 200 }
  ]
}

function event(client: string, fromMs: number, toMs: number, fields: Partial<HistoryEvent>): HistoryEvent {
  const [call, end] = [START_NS + fromMs * 1e6, START_NS + toMs * 1e6]
  const rest = { client, process: `session-${client}`, file: '7', offset: 0, length: 8, status: 'ok' as const }
  return { ...rest, op: 'read', call, return: end, ...fields }
}

/** A write is flushed, is read by another client, and is gone after the kill of a leader. */
const lost = [
  event('a', 10, 20, { op: 'write', value: '0100000000000001' }),
  event('a', 2_000, 2_010, { op: 'write', value: '0200000000000001' }),
  event('a', 2_020, 2_030, { op: 'sync', length: 0 }),
  event('b', 2_040, 2_050, { value: '0200000000000001' }),
  event('b', 2_060, 2_070, { offset: 4096, value: '0000000000000000' }),
  event('b', 2_400, 2_410, { value: '0100000000000001' })
]

function verdict(history: readonly HistoryEvent[]): Verdict {
  const text = history.map((each) => JSON.stringify(each)).join('\n')
  const sizes = new Map([['7', 8192]])
  return verdictOf({ history: text, sizes, notes: [], ends: {}, wrong: [], kinds: [], rejected: {} })
}

function story(history: readonly HistoryEvent[]): StoryLine[] {
  const { findings, events } = verdict(history)
  const clients = new Map([['a', 'client1']])
  return findings.flatMap((finding) => storyOf({ events, finding, pageSize: 4096, timeline, clients }))
}

describe('the story of a lost write', () => {
  it('the story has the write, its flush, those who saw it and the one who did not, in order, with the faults of each time', () => {
    expect(story(lost).map(({ fromMs, who, what, mark }) => [fromMs, who, what, mark])).toEqual([
      [2_000, 'client1 (…on-a)', 'write 8 bytes at 0: 0200000000000001', 'missing'],
      [2_020, 'client1 (…on-a)', 'sync', undefined],
      [2_040, 'b (…on-b)', 'read 8 bytes at 0: 0200000000000001', undefined],
      [2_400, 'b (…on-b)', 'read 8 bytes at 0: 0100000000000001', 'impossible']
    ])
    for (const { faults } of story(lost)) expect(faults).toEqual(['leader killed: peer1'])
  })

  it('a long story keeps its beginning, its end, and the operations in question', () => {
    const [old, write] = lost as [HistoryEvent, HistoryEvent]
    const reads = Array.from({ length: 200 }, (_, i) => event('b', 2_020 + i, 2_020 + i, { value: write.value! }))
    const lines = story([old, write, ...reads, lost.at(-1)!])
    expect(lines).toHaveLength(60)
    expect(lines[0]!.mark).toBe('missing')
    expect(lines.at(-1)!.mark).toBe('impossible')
  })

  it('a size that went back has a story, too', () => {
    const lines = story([
      event('a', 10, 20, { op: 'truncate', offset: 100, length: 0 }),
      event('b', 30, 40, { op: 'size', offset: 8192, length: 0 })
    ])
    expect(lines.map(({ what, mark }) => [what, mark])).toEqual([
      ['truncate 100', 'missing'],
      ['size 8192', 'impossible']
    ])
  })

  it('a history without a fault has no story', () => {
    expect(story(lost.slice(0, -1))).toEqual([])
  })
})
