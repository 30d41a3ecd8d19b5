import assert from 'node:assert/strict'
import { MAX_ENTRY_BYTES } from '@quire/protocol'
import type { LogWrite, RaftLog } from '../log/types.js'
import { firstState, matchingState, stateAfter } from './model.js'
import { BOOTSTRAP, entries, entry, isError, test, type Rig } from './rig.js'

export function writingTests<S>(rig: Rig<S>): void {
  test(rig, 'a log starts with the first configuration as entry 1 of term 1, committed', [], async (bench) => {
    const log = await bench.open(BOOTSTRAP)
    matchingState(log, [firstState(BOOTSTRAP)], 0)
    assert.deepEqual(log.hardState, { term: 1, vote: undefined, commit: 1 })
    await log.close()
  })

  test(rig, 'a log starts empty for a node that joins, and stays empty until the first append', [], async (bench) => {
    const check = (log: RaftLog): void => {
      matchingState(log, [firstState({ join: true })], 0)
      assert.deepEqual([log.firstIndex, log.lastIndex, log.term(0), log.configurations.length], [1, 0, 0, 0])
      assert.deepEqual(log.hardState, { term: 0, vote: undefined, commit: 0 })
    }
    check(await bench.open({ join: true }))
    check(await bench.reopen())
    const write = { hardState: { term: 3, vote: undefined, commit: 0 }, entries: entries(1, 4, 3) }
    await bench.append(write)
    matchingState(await bench.reopen(), [stateAfter(firstState({ join: true }), write)], 0)
    await bench.log.close()
  })

  test(rig, '22 a wiped voter rejoining under its old id is refused', [], async ({ adapter, storage }) => {
    await assert.rejects(adapter.open(storage, undefined), isError('LogNotInitializedError'))
    // The refusal has made nothing.
    await assert.rejects(adapter.open(storage, undefined), isError('LogNotInitializedError'))
  })

  test(rig, 'a log that exists ignores `create`', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    const write = { hardState: { term: 2, vote: 'b', commit: 1 }, entries: entries(2, 5, 2) }
    await bench.append(write)
    await bench.log.close()
    for (const create of [{ join: true } as const, BOOTSTRAP]) {
      matchingState(await bench.open(create), [stateAfter(firstState(BOOTSTRAP), write)], 0)
      await bench.log.close()
    }
  })

  test(
    rig,
    'a log acknowledges appends in the order of the calls, and shows what it has acknowledged',
    [],
    async (bench) => {
      const log = await bench.open(BOOTSTRAP)
      const acks: number[] = []
      const writes = entries(2, 60, 1).map((each) =>
        log.append({ entries: [each] }).then(() => {
          acks.push(each.index)
          assert.ok(log.lastIndex >= each.index, `entry ${each.index} acknowledged, the log ends at ${log.lastIndex}`)
        })
      )
      assert.equal(log.lastIndex, 1)
      await Promise.all(writes)
      assert.deepEqual(
        acks,
        entries(2, 60, 1).map(({ index }) => index)
      )
      await log.close()
    }
  )

  test(rig, 'a log keeps appends of all sizes over a restart, also those that shared a write', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    const writes: LogWrite[] = [
      { entries: entries(2, 40, 1) },
      { entries: [entry(41, 1, 'normal', MAX_ENTRY_BYTES)] },
      { hardState: { term: 2, vote: 'a', commit: 1 }, entries: [] },
      { entries: [entry(42, 2, 'noop', 0)] },
      { entries: entries(43, 50, 2, 100_000) },
      { hardState: { term: 2, vote: 'a', commit: 42 }, entries: entries(51, 52, 2) }
    ]
    await bench.append(...writes)
    const state = writes.reduce(stateAfter, firstState(BOOTSTRAP))
    matchingState(bench.log, [state], 0)
    matchingState(await bench.reopen(), [state], 0)
    await bench.log.close()
  })

  test(rig, 'a log waits for pending appends when it is closed, and accepts nothing afterwards', [], async (bench) => {
    const log = await bench.open(BOOTSTRAP)
    const write = { entries: entries(2, 9, 1) }
    const appended = log.append(write)
    await log.close()
    await appended
    await assert.rejects(log.append({ entries: [entry(10, 1)] }), isError('LogFailedError'))
    matchingState(await bench.open(), [stateAfter(firstState(BOOTSTRAP), write)], 0)
    await bench.log.close()
  })

  test(rig, 'a log replaces a conflicting suffix, also over a restart (§5.3)', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    let state = firstState(BOOTSTRAP)
    const replacements = [entries(2, 90, 1), entries(80, 85, 2), entries(30, 31, 3), entries(20, 99, 4), [entry(2, 5)]]
    for (const [i, list] of replacements.entries()) {
      const write = { hardState: { term: i + 1, vote: undefined, commit: 1 }, entries: list }
      await bench.append(write)
      state = stateAfter(state, write)
      matchingState(bench.log, [state], 0)
      matchingState(await bench.reopen(), [state], 0)
    }
    await bench.log.close()
  })

  test(rig, 'a log replaces entries that wait for the same flush', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    const writes: LogWrite[] = [
      { entries: entries(2, 20, 1) },
      { entries: entries(15, 16, 2) },
      { entries: entries(3, 9, 3) },
      { entries: [entry(10, 3)] },
      { entries: entries(10, 12, 4) }
    ]
    await bench.append(...writes)
    const state = writes.reduce(stateAfter, firstState(BOOTSTRAP))
    matchingState(bench.log, [state], 0)
    matchingState(await bench.reopen(), [state], 0)
    await bench.log.close()
  })

  test(rig, '16 a truncated configuration gives way to the one before', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    let state = firstState(BOOTSTRAP)
    const writes = [
      { entries: [...entries(2, 9, 1), entry(10, 1, 'config'), ...entries(11, 30, 1), entry(31, 1, 'config')] },
      { entries: [entry(31, 2)] },
      { entries: [entry(10, 3), entry(11, 3, 'config')] },
      { entries: entries(5, 12, 4) }
    ]
    for (const write of writes) {
      await bench.append(write)
      state = stateAfter(state, write)
      matchingState(bench.log, [state], 0)
      matchingState(await bench.reopen(), [state], 0)
    }
    assert.equal(bench.log.configurations.length, 1)
    await bench.log.close()
  })
}
