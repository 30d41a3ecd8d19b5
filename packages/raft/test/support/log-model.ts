import { fromString } from 'uint8arrays/from-string'
import type { Entry, HardState, RaftLog } from '../../src/index.js'

export function entry(index: number, term: number, text = `${index}@${term}`): Entry {
  return { index, term, kind: 'normal', data: fromString(text) }
}

export function entries(first: number, last: number, term: number): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, i) => entry(first + i, term))
}

/** The content of a log, read through its interface. */
export function contentOf(log: RaftLog): { readonly hardState: HardState; readonly entries: readonly Entry[] } {
  const found: Entry[] = []
  for (let next = log.firstIndex; next <= log.lastIndex; next = found.at(-1)!.index + 1) {
    found.push(...log.entries(next, log.lastIndex + 1, 1000))
  }
  return { hardState: log.hardState, entries: found }
}
