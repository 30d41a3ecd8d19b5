/** Judges a run. */
import { judge, parseHistory, type Finding, type HistoryEvent } from '#linearizability'
import { FAULT_KINDS, type FaultKind } from './faults/fault.js'
import { WORKLOADS } from './workloads/index.js'
import { REGISTER_PAGE_BYTES } from './workloads/registers.js'

export interface Observed {
  /** The histories of all clients, in NDJSON. */
  readonly history: string
  /** Sizes with which the files of the history were created. */
  readonly sizes: ReadonlyMap<string, number>
  /** The notes of each client, also of those that were killed: lines of JSON, each with the name of a workload. */
  readonly notes: readonly string[]
  readonly ends: Readonly<Record<string, unknown>>
  /** What clients and the run itself have found wrong meanwhile. */
  readonly wrong: readonly string[]
  /** The kinds of faults that the run has chosen from. */
  readonly kinds: readonly FaultKind[]
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

/** Faults that take processes, lines or disks away for a while. */
const OUTAGES: readonly FaultKind[] = ['kill', 'stop', 'partition', 'members', 'disk', 'rot', 'power']
/** The faults that explain an error. Any other error is a problem. */
const EXPLAINED: Readonly<Record<string, readonly FaultKind[]>> = {
  // A client was cut off or stopped for longer than its lease.
  SessionExpiredError: OUTAGES,
  // No majority for longer than the timeout of a call; or another client that holds a page was stopped for that long.
  UnavailableError: OUTAGES,
  BusyError: OUTAGES,
  NoSpaceError: ['disk'],
  // Another client has cut the file off.
  PastEndError: FAULT_KINDS
}

export function verdictOf({ history, sizes, notes, ends, wrong, kinds, rejected }: Observed): Verdict {
  const problems = [...wrong]
  for (const [name, count] of Object.entries(rejected))
    if (!kinds.some((kind) => EXPLAINED[name]?.includes(kind)))
      problems.push(`${count} calls were rejected with ${name}`)
  for (const workload of WORKLOADS) {
    const { name } = workload
    // The client that reads the end has been reported if it could not.
    if (ends[name] === undefined || ends[name] === null) continue
    const known = notes.map((text) => workload.facts(notesOf(text, name)))
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

/** A line that a kill has cut off is that of an operation without an outcome. */
function notesOf(text: string, workload: string): unknown[] {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  const all = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as readonly [string, unknown])
  return all.filter(([name]) => name === workload).map(([, note]) => note)
}
