import assert from 'node:assert/strict'
import type { LogWrite } from '../log/types.js'
import { firstState, matchingState, possibleStates, stateAfter, type LogState } from './model.js'
import { BOOTSTRAP, entries, entry, indexesOf, isError, test, turn, type Bench, type Rig } from './rig.js'

/** Files that a log may hold open at a time, however long it is: see docs/raft.md, "The log on disk". */
export const MAX_OPEN_FILES = 8

/** Fills a segment of 8 KiB with a few of them. */
const LARGE_BYTES = 2000
/** Turns in which a log that waits for a descriptor had every chance to do otherwise. */
const PATIENCE_TURNS = 200

export function descriptorTests<S>(rig: Rig<S>): void {
  test(rig, 'holds a bounded number of files open, however long it is', ['openFiles'], async (bench) => {
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

  test(rig, 'reads later what it cannot open now', ['setDescriptors'], async (bench) => {
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

  test(rig, 'waits for a descriptor, and loses nothing meanwhile', ['setDescriptors'], async (bench) => {
    const { adapter, storage } = bench
    await bench.open(BOOTSTRAP)
    let state = await grow(bench, firstState(BOOTSTRAP), 30)
    for (let round = 0; round < 3; round++) {
      adapter.setDescriptors!(storage, true)
      const writes = largeWrites(bench.log.lastIndex + 1, 40)
      const written = bench.append(...writes)
      for (let turns = 0; turns < PATIENCE_TURNS; turns++) await turn()
      // Whatever it shows meanwhile is durable, and whatever is not shown waits.
      assert.ok(bench.log.lastIndex <= writes.at(-1)!.entries[0]!.index)
      adapter.setDescriptors!(storage, false)
      await written
      state = writes.reduce(stateAfter, state)
      matchingState(bench.log, [state], 0)
    }
    matchingState(await bench.reopen(), [state], 0)
    await bench.log.close()
  })

  test(rig, 'closes while it waits for a descriptor', ['setDescriptors'], async (bench) => {
    const { adapter, storage } = bench
    await bench.open(BOOTSTRAP)
    const state = await grow(bench, firstState(BOOTSTRAP), 30)
    adapter.setDescriptors!(storage, true)
    const writes = largeWrites(31, 40)
    const results = Promise.allSettled(writes.map((write) => bench.log.append(write)))
    for (let turns = 0; turns < PATIENCE_TURNS; turns++) await turn()
    await bench.log.close()
    const rejected = (await results).filter((result) => result.status === 'rejected')
    for (const { reason } of rejected) isError('LogFailedError')(reason)
    adapter.setDescriptors!(storage, false)
    const durable = writes.length - rejected.length
    matchingState(await bench.open(), possibleStates(state, writes, durable), 0)
    await bench.append({ entries: [entry(bench.log.lastIndex + 1, 1)] })
    await bench.log.close()
  })
}

function largeWrites(first: number, count: number): LogWrite[] {
  return entries(first, first + count - 1, 1, LARGE_BYTES).map((each) => ({ entries: [each] }))
}

/** One write an entry, so that each fills a batch. */
async function grow<S>(bench: Bench<S>, state: LogState, last: number): Promise<LogState> {
  let grown = state
  const first = bench.log.lastIndex + 1
  for (const write of largeWrites(first, last - first + 1)) {
    await bench.append(write)
    grown = stateAfter(grown, write)
  }
  return grown
}
