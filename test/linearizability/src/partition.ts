/** Divides a history into objects that are checked separately: every page, and every file's size. */
import type { Operation } from './checker.js'
import type { HistoryEvent } from './history.js'
import type { PageInput } from './page-model.js'
import { Fates } from './sessions.js'
import type { SizeInput } from './size-model.js'

interface PageHistory {
  readonly file: string
  readonly page: number
  readonly operations: readonly Operation<PageInput>[]
}

interface SizeHistory {
  readonly file: string
  readonly operations: readonly Operation<SizeInput>[]
}

/**
 * Pages that some operation read or wrote, in order. `pageSize` applies to all files, or is a function of the file's
 * id.
 */
export function pagesOf(
  history: readonly HistoryEvent[],
  pageSize: number | ((file: string) => number)
): PageHistory[] {
  const sizeOf = typeof pageSize === 'number' ? () => pageSize : pageSize
  const found: PageHistory[] = []
  for (const [file, events] of byFile(history)) {
    const bytes = sizeOf(file)
    const pages = new Map<number, HistoryEvent[]>()
    for (const event of events) {
      if (event.op === 'truncate' || event.length === 0 || !touchesPages(event)) continue
      for (let page = Math.floor(event.offset / bytes); page * bytes < event.offset + event.length; page++) {
        const there = pages.get(page)
        if (there === undefined) pages.set(page, [event])
        else there.push(event)
      }
    }
    const truncations = events.filter(({ op }) => op === 'truncate')
    const flushes = events.filter(({ op }) => op === 'sync')
    for (const page of [...pages.keys()].sort((a, b) => a - b)) {
      const [start, end] = [page * bytes, (page + 1) * bytes]
      const cut = truncations.filter(({ offset }) => offset < end)
      // Without a length, it concerns the whole file.
      const flushed = flushes.filter(
        ({ offset, length }) => length === 0 || (offset <= start && offset + length >= end)
      )
      found.push({ file, page, operations: pageOperations([...pages.get(page)!, ...cut, ...flushed], start, bytes) })
    }
  }
  return found
}

export function sizesOf(history: readonly HistoryEvent[]): SizeHistory[] {
  return [...byFile(history)].map(([file, events]) => {
    const cuts = events.filter(({ op, status }) => op === 'truncate' && status !== 'fail')
    return { file, operations: events.flatMap((event) => sizeOperation(event, cuts)) }
  })
}

function byFile(history: readonly HistoryEvent[]): Map<string, HistoryEvent[]> {
  const files = new Map<string, HistoryEvent[]>()
  for (const event of history) {
    const events = files.get(event.file)
    if (events === undefined) files.set(event.file, [event])
    else events.push(event)
  }
  return files
}

function touchesPages({ op }: HistoryEvent): boolean {
  return op !== 'sync' && op !== 'size' && op !== 'lock' && op !== 'unlock'
}

function pageOperations(events: readonly HistoryEvent[], start: number, bytes: number): Operation<PageInput>[] {
  const fates = new Fates()
  for (const event of events) fates.add(event)
  const operations: Operation<PageInput>[] = []
  for (const event of events) {
    const input = pageInput(event, start, bytes)
    if (input === undefined || event.status === 'fail') continue
    // Truncations and holes are entries of the log, so no lost session undoes them.
    const fate = event.op === 'truncate' || event.op === 'punch' ? 'happened' : fates.of(event)
    const isUnknown = event.status === 'info' || fate === 'maybe'
    // A read that may have happened tells nothing.
    if (fate === 'undone' || (isUnknown && input.op === 'read')) continue
    const { call, status } = event
    // The effect of an answered operation is known. If it is unknown whether bytes were written, or stayed, then that
    // was decided when the call ended, if ever. A request to the cluster may still arrive later.
    const end = status === 'ok' || event.op === 'write' || event.op === 'exchange' ? event.return : Infinity
    operations.push({
      input: status === 'info' ? unheard(event, input) : input,
      call,
      return: end,
      ...(isUnknown && { isOptional: true }),
      ...(fate === 'maybe' && status === 'ok' && { undoneWith: event.process })
    })
  }
  return operations
}

/** Returns the event's part in the page that begins at byte `start` of the file. */
function pageInput(event: HistoryEvent, start: number, bytes: number): PageInput | undefined {
  const { op, value = '', from = '', to } = event
  const first = Math.max(event.offset, start)
  const offset = first - start
  switch (op) {
    case 'read':
    case 'write': {
      const part = value.slice(2 * (first - event.offset), 2 * (start + bytes - event.offset))
      return part === '' ? undefined : { op, offset, bytes: part }
    }
    case 'punch':
      return { op: 'zero', offset, end: Math.min(event.offset + event.length, start + bytes) - start }
    case 'truncate':
      return { op: 'zero', offset, end: bytes }
    case 'exchange': {
      // It may span several pages.
      const slice = [2 * (first - event.offset), 2 * (start + bytes - event.offset)] as const
      return { op: 'update', offset, from: from.slice(...slice), to: to?.slice(...slice) }
    }
    case 'add':
    case 'cas':
      return { op: 'update', offset, from, to: op === 'cas' && event.ok !== true ? undefined : to }
    default:
      return undefined
  }
}

/** Returns an atomic operation without a known answer, by its arguments. */
function unheard(event: HistoryEvent, input: PageInput): PageInput {
  const { offset } = input
  const { op, value = '', from = '' } = event
  if (op === 'add') return { op, offset, bytes: value }
  // The bytes before it may be known all the same.
  if (op === 'exchange' && event.to === undefined) return { op: 'write', offset, bytes: value }
  if (op === 'cas') return { op: 'compareExchange', offset, expected: from, bytes: value }
  return input
}

function sizeOperation(event: HistoryEvent, cuts: readonly HistoryEvent[]): Operation<SizeInput>[] {
  const input = sizeInput(event)
  if (input === undefined) return []
  const { call } = event
  const isUnknown = event.status === 'info'
  const end = isUnknown ? Infinity : event.return
  if (input.op === 'set') return [{ input, call, return: end }]
  if (input.op !== 'extend') return isUnknown ? [] : [{ input, call, return: end }]
  // A file that was long enough was not extended. A write that a truncation overtakes begins again, and may have
  // extended the file before.
  const overtaking = cuts.filter((cut) => cut.call <= event.return && cut.return >= call)
  const again = overtaking.map(() => ({ input, call, return: event.return, isOptional: true }))
  const grown = [{ input, call, return: end, isOptional: true }, ...again]
  // In both cases the file reached so far when the bytes were written.
  return isUnknown ? grown : [...grown, { input: { op: 'reaches', end: input.end }, call, return: end }]
}

function sizeInput({ op, offset, length, status, value = '', grew = true }: HistoryEvent): SizeInput | undefined {
  if (status === 'fail' || (length === 0 && op !== 'size' && op !== 'truncate')) return undefined
  switch (op) {
    case 'size':
      return { op: 'read', size: offset }
    case 'truncate':
      return { op: 'set', size: offset }
    case 'read':
      // A short read ended where the file did.
      if (value === '') return { op: 'endsBy', size: offset }
      if (value.length < 2 * length) return { op: 'read', size: offset + value.length / 2 }
      return { op: 'reaches', end: offset + length }
    case 'exchange':
      return { op: 'reaches', end: offset + length }
    case 'write':
      // Zeros that are written at most up to the end may be fewer than the call asked for.
      return value === '' ? undefined : { op: grew ? 'extend' : 'reaches', end: offset + value.length / 2 }
    default:
      return undefined
  }
}
