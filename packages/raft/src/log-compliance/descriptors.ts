import assert from 'node:assert/strict'
import type { LogFullError } from '../errors.js'
import type { LogWrite } from '../log/types.js'
import { fillUp } from './fill-up.js'
import { firstState, matchingState, possibleStates, stateAfter, type LogState } from './model.js'
import { BOOTSTRAP, entries, entry, indexesOf, isError, test, turn, type Bench, type Rig } from './rig.js'

/** Files that a log may have open at once, however long it is: see docs/raft.md, "The log on disk". */
export const MAX_OPEN_FILES = 8

/** A few entries of this size fill a segment of 8 KiB. */
const LARGE_BYTES = 2000
/** Turns that are enough for a log without descriptors to do what it must not. */
const PATIENCE_TURNS = 200
/** Rounds that are enough to meet every fill level of a segment, with and without a prepared next file. */
const ROUNDS = 6

export function descriptorTests<S>(rig: Rig<S>): void {
  test(rig, 'a log has a bounded number of files open, however long it is', ['openFiles'], async (bench) => {
    const isBounded = (): void => {
      const { most } = bench.adapter.openFiles!(bench.storage)
      assert.ok(most <= MAX_OPEN_FILES, `${most} files were open at a time, at most ${MAX_OPEN_FILES} may be`)
    }
    await bench.open(BOOTSTRAP)
    const state = await grow(bench, firstState(BOOTSTRAP), 400)
    isBounded()
    matchingState(bench.log, [state], 0)
    for (let index = 400; index > 1; index -= 7) {
      assert.deepEqual(indexesOf(bench.log.entries(index, index + 1, 1)), [index])
      const other = 402 - index
      assert.deepEqual(indexesOf(bench.log.entries(other, other + 1, 1)), [other])
    }
    isBounded()
    matchingState(await bench.reopen(), [state], 0)
    await bench.log.compact(200)
    matchingState(bench.log, [state], 200)
    await bench.log.close()
    isBounded()
    assert.equal(bench.adapter.openFiles!(bench.storage).now, 0, 'files are open after close')
  })

  test(rig, 'a log reads entries later when it cannot open their segment now', ['setDescriptors'], async (bench) => {
    const { adapter, storage } = bench
    await bench.open(BOOTSTRAP)
    const state = await grow(bench, firstState(BOOTSTRAP), 60)
    await bench.reopen()
    for (let round = 0; round < 3; round++) {
      adapter.setDescriptors!(storage, true)
      for (let index = 2; index <= 60; index++) {
        const found = bench.log.entries(index, index + 1, 1)
        assert.ok(found.length === 0 || found[0]!.index === index, `entry ${found[0]?.index} in the place of ${index}`)
      }
      adapter.setDescriptors!(storage, false)
      matchingState(bench.log, [state], 0)
    }
    await bench.log.close()
  })

  test(
    rig,
    'a log gives entries back and keeps hard states when its next file finds no descriptor',
    ['setDescriptors'],
    async (bench) => {
      const { adapter, storage } = bench
      await bench.open(BOOTSTRAP)
      let state = await grow(bench, firstState(BOOTSTRAP), 30)
      for (let term = 2; term <= 4; term++) {
        // A log that was just opened has prepared no file ahead of need.
        const log = await bench.reopen()
        adapter.setDescriptors!(storage, true)
        const { acknowledged, refused, failure } = await fillUp(log, state, 'NoDescriptorsError')
        const { commit } = acknowledged.hardState
        const vote = { hardState: { term, vote: 'b', commit }, entries: [] }
        await log.append(vote)
        assert.deepEqual(log.hardState, vote.hardState)
        adapter.setDescriptors!(storage, false)
        await failure.room
        // This repeats the entries of the refused write that the log has kept.
        const again = { entries: refused.entries }
        await log.append(again)
        state = [vote, again].reduce(stateAfter, acknowledged)
        matchingState(log, [state], 0)
        state = matchingState(await bench.reopen(), [state], 0)
      }
      await bench.log.close()
    }
  )

  test(
    rig,
    'a log loses nothing that it has acknowledged, whenever the descriptors run out',
    ['setDescriptors'],
    async (bench) => {
      const { adapter, storage } = bench
      await bench.open(BOOTSTRAP)
      let state = await grow(bench, firstState(BOOTSTRAP), 30)
      for (let round = 0; round < ROUNDS; round++) {
        state = await grow(bench, state, bench.log.lastIndex + 1)
        for (let turns = 0; turns < PATIENCE_TURNS; turns++) await turn()
        adapter.setDescriptors!(storage, true)
        const writes = largeWrites(bench.log.lastIndex + 1, 10)
        const written = Promise.allSettled(writes.map((write) => bench.log.append(write)))
        for (let turns = 0; turns < PATIENCE_TURNS; turns++) await turn()
        assert.ok(bench.log.lastIndex <= writes.at(-1)!.entries[0]!.index)
        adapter.setDescriptors!(storage, false)
        const refused = (await written).filter((result) => result.status === 'rejected')
        for (const { reason } of refused) isError('LogFullError')(reason)
        const kept = writes.slice(0, writes.length - refused.length)
        state = kept.reduce(stateAfter, state)
        matchingState(bench.log, [state], 0)
        await (refused[0]?.reason as LogFullError | undefined)?.room
        await bench.append(...writes.slice(kept.length))
        state = writes.slice(kept.length).reduce(stateAfter, state)
      }
      matchingState(await bench.reopen(), [state], 0)
      await bench.log.close()
    }
  )

  test(rig, 'a log can be closed while it lacks a descriptor', ['setDescriptors'], async (bench) => {
    const { adapter, storage } = bench
    await bench.open(BOOTSTRAP)
    let state = await grow(bench, firstState(BOOTSTRAP), 30)
    for (let round = 0; round < ROUNDS; round++) {
      state = await grow(bench, state, bench.log.lastIndex + 1)
      for (let turns = 0; turns < PATIENCE_TURNS; turns++) await turn()
      adapter.setDescriptors!(storage, true)
      const writes = largeWrites(bench.log.lastIndex + 1, 40)
      const results = Promise.allSettled(writes.map((write) => bench.log.append(write)))
      for (let turns = 0; turns < PATIENCE_TURNS; turns++) await turn()
      await bench.log.close()
      const rejected = (await results).filter((result) => result.status === 'rejected')
      for (const { reason } of rejected) {
        if ((reason as Error).name !== 'LogFullError') isError('LogFailedError')(reason)
      }
      adapter.setDescriptors!(storage, false)
      const durable = writes.length - rejected.length
      state = matchingState(await bench.open(), possibleStates(state, writes, durable), 0)
    }
    await bench.append({ entries: [entry(bench.log.lastIndex + 1, 1)] })
    await bench.log.close()
  })
}

function largeWrites(first: number, count: number): LogWrite[] {
  return entries(first, first + count - 1, 1, LARGE_BYTES).map((each) => ({ entries: [each] }))
}

/** Appends one write per entry, so that each entry fills a batch. */
async function grow<S>(bench: Bench<S>, state: LogState, last: number): Promise<LogState> {
  let grown = state
  const first = bench.log.lastIndex + 1
  for (const write of largeWrites(first, last - first + 1)) {
    await bench.append(write)
    grown = stateAfter(grown, write)
  }
  return grown
}
