import assert from 'node:assert/strict'
import type { LogFullError } from '../errors.js'
import type { LogWrite, RaftLog } from '../log/types.js'
import { stateAfter, type LogState } from './model.js'
import { entries, isError } from './rig.js'

/** Appends until the log gives a write back (`refused`), with an error named `cause` as the reason. */
export async function fillUp(
  log: RaftLog,
  from: LogState,
  cause: string
): Promise<{ acknowledged: LogState; refused: LogWrite; failure: LogFullError }> {
  let acknowledged = from
  let refused: LogWrite
  let failure: unknown
  do {
    const first = log.lastIndex + 1
    refused = { entries: entries(first, first + 4, 1) }
    await log.append(refused).then(
      () => (acknowledged = stateAfter(acknowledged, refused)),
      (error: unknown) => (failure = error)
    )
  } while (failure === undefined && log.lastIndex < 100_000)
  isError('LogFullError')(failure)
  isError(cause)((failure as Error).cause)
  const { stored } = failure as LogFullError
  assert.ok(stored >= acknowledged.entries.at(-1)!.index && stored <= log.lastIndex)
  return { acknowledged, refused, failure: failure as LogFullError }
}
