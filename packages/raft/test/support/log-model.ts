import { fromString } from 'uint8arrays/from-string'
import type { Entry, HardState, LogWrite, RaftLog } from '../../src/index.js'

export function entry(index: number, term: number, text = `${index}@${term}`): Entry {
  return { index, term, kind: 'normal', data: fromString(text) }
}

export function entries(first: number, last: number, term: number): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, i) => entry(first + i, term))
}

export interface LogState {
  readonly hardState: HardState
  readonly entries: readonly Entry[]
}

/** What a log holds, read through its interface. */
export function contentOf(log: RaftLog): LogState {
  const found: Entry[] = []
  while (found.length < log.lastIndex) found.push(...log.entries(found.length + 1, log.lastIndex + 1, 1000))
  return { hardState: log.hardState, entries: found }
}

/** All states that a log may have when `writes` were made in this order and the first `durable` are certain. */
export function possibleStates(start: LogState, writes: readonly LogWrite[], durable: number): LogState[] {
  const states: LogState[] = []
  let state = start
  if (durable === 0) states.push(state)
  for (const [i, write] of writes.entries()) {
    if (write.hardState !== undefined) state = { ...state, hardState: write.hardState }
    // A large write takes several batches, so a crash may leave a beginning of it.
    if (i >= durable) states.push(state)
    for (const added of write.entries) {
      state = { ...state, entries: [...state.entries.slice(0, added.index - 1), added] }
      if (i >= durable) states.push(state)
    }
    if (i === durable - 1) states.push(state)
  }
  return states
}
