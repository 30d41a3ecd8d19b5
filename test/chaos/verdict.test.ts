/** Errors that a run takes for granted. */
import { expect, it } from 'vitest'
import type { FaultKind } from './src/faults/fault.js'
import { verdictOf } from './src/verdict.js'

function problems(error: string, ...kinds: readonly FaultKind[]): readonly string[] {
  const nothing = { history: '', sizes: new Map<string, number>(), notes: [], ends: {}, wrong: [] }
  return verdictOf({ ...nothing, kinds, rejected: { [error]: 2 } }).problems
}

it('an error is a problem unless the run has chosen a fault that explains it', () => {
  expect(problems('NoSpaceError', 'kill', 'disk')).toEqual([])
  expect(problems('NoSpaceError', 'kill', 'power')).toEqual(['2 calls were rejected with NoSpaceError'])
  expect(problems('SessionExpiredError', 'stop')).toEqual([])
  expect(problems('SessionExpiredError', 'clock')).toEqual(['2 calls were rejected with SessionExpiredError'])
  expect(problems('PastEndError', 'clock')).toEqual([])
  expect(problems('CorruptionError', 'rot')).toEqual(['2 calls were rejected with CorruptionError'])
})
