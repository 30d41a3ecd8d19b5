/** A log without a disk: its states, how a write changes them, and which of them a crash may leave. */
import assert from 'node:assert/strict'
import type { Entry, HardState } from '../core/types.js'
import { FIRST_BASE } from '../log/segment-base.js'
import { firstContent } from '../log/creation.js'
import type { LogCreation, LogWrite, RaftLog } from '../log/types.js'

export interface LogState {
  readonly prevIndex: number
  readonly prevTerm: number
  /** The `config` entry in force at `prevIndex`. */
  readonly configuration: Entry | undefined
  readonly hardState: HardState
  /** The entries from `prevIndex + 1` on. */
  readonly entries: readonly Entry[]
}

export function firstState(creation: LogCreation): LogState {
  return stateAfter({ ...FIRST_BASE, entries: [] }, firstContent(creation))
}

export function lastIndexOf({ prevIndex, entries }: LogState): number {
  return prevIndex + entries.length
}

export function stateAfter(state: LogState, write: LogWrite): LogState {
  return statesOf(state, write).at(-1)!
}

/** All states that a log may have after `writes` in this order, if the first `durable` of them are certain. */
export function possibleStates(start: LogState, writes: readonly LogWrite[], durable: number): LogState[] {
  let state = start
  for (const write of writes.slice(0, durable)) state = stateAfter(state, write)
  const states = [state]
  for (const write of writes.slice(durable)) {
    states.push(...statesOf(state, write))
    state = states.at(-1)!
  }
  return states
}

/** A write may become durable piece by piece: first the reset together with the hard state, then each entry. */
function statesOf(before: LogState, { reset, hardState, entries }: LogWrite): LogState[] {
  let state = before
  if (reset !== undefined) {
    const { index, term, configuration } = reset
    state = { ...state, prevIndex: index, prevTerm: term, configuration, entries: [] }
  }
  if (hardState !== undefined) state = { ...state, hardState }
  const states = [state]
  for (const added of entries) {
    state = { ...state, entries: [...state.entries.slice(0, added.index - state.prevIndex - 1), added] }
    states.push(state)
  }
  return states
}

/** The same log without its entries up to `prevIndex`. */
function startingAfter(state: LogState, prevIndex: number): LogState {
  if (prevIndex === state.prevIndex) return state
  const dropped = state.entries.slice(0, prevIndex - state.prevIndex)
  return {
    ...state,
    prevIndex,
    prevTerm: dropped.at(-1)!.term,
    configuration: dropped.findLast(({ kind }) => kind === 'config') ?? state.configuration,
    entries: state.entries.slice(dropped.length)
  }
}

/**
 * Asserts that the log is one of `states`, apart from entries up to `compacted`, which it may have dropped. Returns
 * that state.
 */
export function matchingState(log: RaftLog, states: readonly LogState[], compacted: number): LogState {
  const found = describeLog(log)
  const prevIndex = log.firstIndex - 1
  const mayStart = (state: LogState): boolean =>
    prevIndex === state.prevIndex ||
    (prevIndex > state.prevIndex && prevIndex <= compacted && prevIndex <= lastIndexOf(state))
  const expected = states.filter(mayStart).map((state) => ({ state, text: describe(startingAfter(state, prevIndex)) }))
  const match = expected.find(({ text }) => text === found)
  if (match !== undefined) return match.state
  // Compare with the newest state, so that the assertion shows the difference.
  assert.equal(found, expected.at(-1)?.text ?? `a log that starts elsewhere: entry ${prevIndex + 1} is not compacted`)
  assert.fail('no state matches')
}

/** Everything that a log shows through its interface. */
function describeLog(log: RaftLog): string {
  const { firstIndex, lastIndex, hardState, configurations } = log
  const entries: Entry[] = []
  for (let next = firstIndex; next <= lastIndex; next = entries.at(-1)!.index + 1) {
    const found = log.entries(next, lastIndex + 1, 300)
    assert.ok(found.length > 0, `entry ${next} cannot be read`)
    entries.push(...found)
  }
  for (const { index, term } of entries) assert.equal(log.term(index), term, `term of entry ${index}`)
  assert.equal(log.term(firstIndex - 2), undefined)
  assert.equal(log.term(lastIndex + 1), undefined)
  return text(firstIndex - 1, log.term(firstIndex - 1)!, hardState, configurations, entries)
}

function describe({ prevIndex, prevTerm, configuration, hardState, entries }: LogState): string {
  const configurations = entries.filter(({ kind }) => kind === 'config')
  if (configuration !== undefined) configurations.unshift(configuration)
  return text(prevIndex, prevTerm, hardState, configurations, entries)
}

function text(
  prevIndex: number,
  prevTerm: number,
  { term, vote, commit }: HardState,
  configurations: readonly Entry[],
  entries: readonly Entry[]
): string {
  return [
    `after ${prevIndex}@${prevTerm}`,
    `term ${term}, vote ${vote}, commit ${commit}`,
    `configurations ${configurations.map(entryText).join(', ')}`,
    ...entries.map(entryText)
  ].join('\n')
}

function entryText({ index, term, kind, data }: Entry): string {
  return `${index}@${term} ${kind} ${Buffer.from(data.buffer, data.byteOffset, data.length).toString('base64')}`
}
