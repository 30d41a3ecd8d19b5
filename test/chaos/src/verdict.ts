/** Judges a run. */
import { judge, parseHistory, type Finding, type HistoryEvent } from '#linearizability'
import { WORKLOADS } from './workloads/index.js'
import { REGISTER_PAGE_BYTES } from './workloads/registers.js'

export interface Observed {
  /** The histories of all clients, in NDJSON. */
  readonly history: string
  /** Sizes with which the files of the history were created. */
  readonly sizes: ReadonlyMap<string, number>
  /** By client, then by workload. */
  readonly facts: readonly Readonly<Record<string, unknown>>[]
  readonly ends: Readonly<Record<string, unknown>>
  /** What clients and the run itself have found wrong meanwhile. */
  readonly wrong: readonly string[]
  /** Rejected calls by the name of the error. */
  readonly rejected: Readonly<Record<string, number>>
}

export interface Verdict {
  readonly problems: readonly string[]
  /** What the checker has found in the histories. */
  readonly findings: readonly Finding[]
  readonly events: readonly HistoryEvent[]
  readonly judged: { readonly events: number; readonly operations: number; readonly objects: number }
}

/** Errors that faults explain. Any other one is a problem. */
const EXPLAINED: readonly string[] = [
  // A client was cut off or stopped for longer than its lease.
  'SessionExpiredError',
  // No majority for longer than the timeout of a call; or another client that holds a page was stopped for that long.
  'UnavailableError',
  'BusyError',
  // Another client has cut the file off.
  'PastEndError',
  'NoSpaceError'
]

export function verdictOf({ history, sizes, facts, ends, wrong, rejected }: Observed): Verdict {
  const problems = [...wrong]
  for (const [name, count] of Object.entries(rejected))
    if (!EXPLAINED.includes(name)) problems.push(`${count} calls were rejected with ${name}`)
  for (const workload of WORKLOADS) {
    const { name } = workload
    const known = facts.map((each) => each[name])
    // A client whose facts are missing has been reported by now.
    if (known.some((each) => each === undefined) || ends[name] === undefined) continue
    for (const problem of workload.judge(known, ends[name])) problems.push(`${name}: ${problem}`)
  }
  const events = parseHistory(history)
  const { findings, objects, operations } = judge(events, {
    pageSize: REGISTER_PAGE_BYTES,
    initialSize: (file) => sizes.get(file) ?? 0
  })
  for (const { file, page, result, text } of findings) problems.push(`file ${file}, page ${page}: ${result}\n${text}`)
  return { problems, findings, events, judged: { events: events.length, operations, objects } }
}
