import assert from 'node:assert/strict'
import type { CorruptionError } from '@quire/protocol'
import type { LogWrite, RaftLog } from '../log/types.js'
import { fillUp } from './fill-up.js'
import { firstState, matchingState, possibleStates, stateAfter, type LogState } from './model.js'
import { BOOTSTRAP, entries, entry, isError, seeded, test, turn, type Bench, type Rig } from './rig.js'

const FLIPS = 100

export function faultTests<S>(rig: Rig<S>): void {
  test(
    rig,
    'a log accepts nothing after a failed flush, and never reports success for it',
    ['failNextWrite'],
    async (bench) => {
      const { log, state } = await filled(bench, 20)
      const writes: LogWrite[] = [
        { hardState: { term: 2, vote: 'b', commit: 20 }, entries: [entry(21, 2)] },
        { entries: [entry(22, 2)] },
        { entries: [entry(21, 3)] }
      ]
      bench.adapter.failNextWrite!(bench.storage)
      const results = await Promise.allSettled(writes.map((write) => log.append(write)))
      for (const result of results) {
        assert.equal(result.status, 'rejected')
        isError('LogFailedError')(result.reason)
      }
      // The same write could succeed on a disk that has dropped the pages that it failed to write.
      await assert.rejects(log.append(writes[0]!), isError('LogFailedError'))
      await assert.rejects(log.compact(5), isError('LogFailedError'))
      matchingState(log, [state], 0)
      await log.close()
      await assert.rejects(log.append(writes[0]!), isError('LogFailedError'))
      // The failed flush may have stored any prefix of the writes.
      matchingState(await bench.open(), possibleStates(state, writes, 0), 0)
      await bench.log.close()
    }
  )

  test(
    rig,
    'a log gives entries back without losing an acknowledged one when there is no more space',
    ['setFull'],
    async (bench) => {
      const { adapter, storage } = bench
      const { log, state } = await filled(bench, 20)
      await adapter.setFull!(storage, true)
      const { acknowledged, refused } = await fillUp(log, state, 'NoSpaceError')
      await log.close()
      await adapter.setFull!(storage, false)
      matchingState(await bench.open(), possibleStates(acknowledged, [refused], 0), 0)
      await bench.append({ entries: [entry(bench.log.lastIndex + 1, 1)] })
      await bench.log.close()
    }
  )

  test(rig, 'a log keeps any number of hard states when there is no more space', ['setFull'], async (bench) => {
    const { adapter, storage } = bench
    const { log, state } = await filled(bench, 20)
    await adapter.setFull!(storage, true)
    const { acknowledged } = await fillUp(log, state, 'NoSpaceError')
    const { commit } = acknowledged.hardState
    for (let term = 2; term <= 50; term++) {
      await log.append({ hardState: { term, vote: undefined, commit }, entries: [] })
      await log.append({ hardState: { term, vote: 'b', commit }, entries: [] })
    }
    assert.deepEqual(log.hardState, { term: 50, vote: 'b', commit })
    const again = await bench.reopen()
    assert.deepEqual(again.hardState, { term: 50, vote: 'b', commit })
    await adapter.setFull!(storage, false)
    // The segments catch up, and agree with each other.
    const first = again.lastIndex + 1
    for (let index = first; index < first + 100; index++) await bench.append({ entries: [entry(index, 50)] })
    assert.deepEqual((await bench.reopen()).hardState, { term: 50, vote: 'b', commit })
    await bench.log.close()
  })

  test(rig, 'a log whose storage was full goes on when compaction has made room', ['setFull'], async (bench) => {
    const { adapter, storage } = bench
    const { log, state } = await filled(bench, 400)
    await adapter.setFull!(storage, true)
    await log.compact(399)
    await adapter.setFull!(storage, false)
    const write = { entries: entries(401, 900, 1) }
    await log.append(write)
    matchingState(await bench.reopen(), [stateAfter(state, write)], 399)
    await bench.log.close()
  })

  test(rig, '39 damage to a committed entry is not a torn tail', ['flipBit'], async ({ adapter }) => {
    let refused = 0
    let next = 0
    const flipBits = async (): Promise<void> => {
      while (next < FLIPS) {
        const seed = next++
        const storage = await adapter.createStorage()
        const log = await adapter.open(storage, BOOTSTRAP)
        const state = await fill(log, 60)
        await log.close()
        await adapter.flipBit!(storage, seeded(seed))
        if (await isRefused(() => adapter.open(storage, undefined), state)) refused++
        await adapter.removeStorage?.(storage)
      }
    }
    // Most of the time goes to flushes. Several storages wait for theirs at once.
    await Promise.all(Array.from({ length: 4 }, flipBits))
    assert.ok(refused > 0, `none of ${FLIPS} flipped bits was noticed`)
  })
}

/** Damage shows when the log is opened or an entry is read. Damage that does not show must have changed nothing. */
async function isRefused(open: () => Promise<RaftLog>, state: LogState): Promise<boolean> {
  let log
  try {
    log = await open()
    matchingState(log, [state], 0)
    return false
  } catch (error) {
    if ((error as Error).name === 'VersionMismatchError') return true
    if ((error as Error).name !== 'CorruptionError') throw error
    const { where, offset } = error as CorruptionError
    assert.ok(where.length > 0 && offset !== undefined && offset >= 0, `damage at ${offset} of ${where}`)
    return true
  } finally {
    await log?.close()
  }
}

async function filled<S>(bench: Bench<S>, last: number): Promise<{ log: RaftLog; state: LogState }> {
  const log = await bench.open(BOOTSTRAP)
  const state = await fill(log, last)
  // Wait until work that the log does ahead of need is done.
  for (let i = 0; i < 100; i++) await turn()
  return { log, state }
}

async function fill(log: RaftLog, last: number): Promise<LogState> {
  let state = firstState(BOOTSTRAP)
  for (let first = 2; first <= last; first += 6) {
    const write = {
      hardState: { term: 1, vote: 'a', commit: first - 1 },
      entries: entries(first, Math.min(first + 5, last), 1, 300)
    }
    await log.append(write)
    state = stateAfter(state, write)
  }
  return state
}
