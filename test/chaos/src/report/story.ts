/** The life of an operation that is missing, and of what goes against it: the events of one page, in order. Pure. */
import type { Finding, HistoryEvent } from '#linearizability'
import type { Timeline } from '../timeline.js'

export interface StoryLine {
  readonly fromMs: number
  readonly toMs: number
  /** The client, and the end of its session's id. */
  readonly who: string
  readonly what: string
  readonly status: HistoryEvent['status']
  /** What the checker says of it. */
  readonly mark: 'missing' | 'impossible' | undefined
  /** The faults of that time. */
  readonly faults: readonly string[]
}

export interface StoryInit {
  readonly events: readonly HistoryEvent[]
  readonly finding: Finding
  readonly pageSize: number
  readonly timeline: Pick<Timeline, 'faults' | 'startNs'>
  /** By PeerId. */
  readonly clients: ReadonlyMap<string, string>
}

/** The most lines of a story. */
const MAX_LINES = 60
/** Events that begin this long before the missing operation, and after the impossible one, belong to the story. */
const MARGIN_NS = 200e6
const SHOWN_BYTES = 16

/** Empty if the checker has found no operation that is impossible. */
export function storyOf(init: StoryInit): StoryLine[] {
  const { finding, events } = init
  const { impossible, missing = impossible } = finding
  if (impossible === undefined || missing === undefined) return []
  const from = Math.min(missing.call, impossible.call) - MARGIN_NS
  const to = impossible.return + MARGIN_NS
  const all = events.filter((event) => event.call >= from && event.call <= to && concerns(event, init))
  all.sort((a, b) => a.call - b.call)
  const isMarked = (event: HistoryEvent): boolean => markOf(event, finding) !== undefined
  // The first ones and the last ones say what was done and what became of it.
  const half = MAX_LINES / 2
  const told = all.filter((event, i) => i < half || i >= all.length - half || isMarked(event))
  return told.map((event) => lineOf(event, init))
}

/** Whether the event may say something about the page, or, without a page, about the size. */
function concerns({ file, op, offset, length }: HistoryEvent, { finding, pageSize }: StoryInit): boolean {
  if (file !== finding.file) return false
  if (finding.page === undefined) return op !== 'sync' && op !== 'writeback' && op !== 'lost'
  const [start, end] = [finding.page * pageSize, (finding.page + 1) * pageSize]
  if (op === 'truncate') return offset < end
  if (op === 'sync' && length === 0) return true
  return op !== 'size' && offset < end && offset + length > start
}

function markOf(event: HistoryEvent, { impossible, missing }: Finding): StoryLine['mark'] {
  const is = (span: Finding['impossible']): boolean => span?.call === event.call && event.op !== 'sync'
  if (is(impossible)) return 'impossible'
  return is(missing) ? 'missing' : undefined
}

function lineOf(event: HistoryEvent, { finding, timeline, clients }: StoryInit): StoryLine {
  const [fromMs, toMs] = [event.call, event.return].map((ns) => (ns - timeline.startNs) / 1e6) as [number, number]
  const faults = timeline.faults.filter((fault) => fault.fromMs <= toMs && (fault.toMs ?? Infinity) >= fromMs)
  return {
    fromMs,
    toMs,
    who: `${clients.get(event.client) ?? event.client} (…${event.process.slice(-4)})`,
    what: textOf(event),
    status: event.status,
    mark: markOf(event, finding),
    faults: faults.map(({ fault, what }) => `${fault}: ${what}`)
  }
}

function textOf({ op, offset, length, value, from, to }: HistoryEvent): string {
  if (op === 'truncate' || op === 'size') return `${op} ${offset}`
  const where = op === 'sync' && length === 0 ? op : `${op} ${length} bytes at ${offset}`
  if (from !== undefined) return `${where}: ${short(from)} → ${to === undefined ? 'unchanged' : short(to)}`
  return value === undefined ? where : `${where}: ${short(value)}`
}

function short(bytes: string): string {
  return bytes.length > 2 * SHOWN_BYTES ? `${bytes.slice(0, 2 * SHOWN_BYTES)}…` : bytes
}
