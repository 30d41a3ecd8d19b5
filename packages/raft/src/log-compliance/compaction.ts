import assert from 'node:assert/strict'
import type { LogWrite } from '../log/types.js'
import { firstState, matchingState, stateAfter, type LogState } from './model.js'
import { BOOTSTRAP, entries, entry, test, turn, type Bench, type Rig } from './rig.js'

/** A snapshot of term 4 whose configuration is older than its last entry. */
const SNAPSHOT = { index: 500, term: 4, configuration: entry(477, 3, 'config') }
const RESET: LogWrite = { reset: SNAPSHOT, hardState: { term: 4, vote: undefined, commit: 500 }, entries: [] }

export function compactionTests<S>(rig: Rig<S>): void {
  for (const [name, write] of [
    ['without entries', RESET],
    ['with the entries after it', { ...RESET, entries: [...entries(501, 540, 4), entry(541, 4, 'config')] }]
  ] as const) {
    test(rig, `a log starts anew after a snapshot, ${name} (§7)`, [], async (bench) => {
      const log = await bench.open(BOOTSTRAP)
      await bench.append({ entries: entries(2, 30, 1) }, write)
      const state = stateAfter(firstState(BOOTSTRAP), write)
      matchingState(log, [state], 0)
      assert.deepEqual([log.firstIndex, log.term(500), log.configurations[0]], [501, 4, SNAPSHOT.configuration])
      matchingState(await bench.reopen(), [state], 0)
      await bench.log.close()
    })
  }

  test(rig, 'an empty log starts after a snapshot, and goes on there', [], async (bench) => {
    await bench.open({ join: true })
    const writes = [RESET, { entries: entries(501, 600, 5) }, { entries: entries(501, 502, 6) }]
    await bench.append(...writes)
    const state = writes.reduce(stateAfter, firstState({ join: true }))
    matchingState(bench.log, [state], 0)
    matchingState(await bench.reopen(), [state], 0)
    await bench.log.close()
  })

  test(rig, 'a log can be reset while other writes wait', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    const later = { index: 700, term: 5, configuration: entry(650, 5, 'config') }
    const writes: LogWrite[] = [
      { entries: entries(2, 40, 1) },
      { ...RESET, entries: entries(501, 503, 4) },
      { entries: entries(502, 510, 5) },
      { reset: later, hardState: { term: 5, vote: 'c', commit: 700 }, entries: [] },
      { entries: [entry(701, 5)] }
    ]
    await bench.append(...writes)
    const state = writes.reduce(stateAfter, firstState(BOOTSTRAP))
    matchingState(bench.log, [state], 0)
    matchingState(await bench.reopen(), [state], 0)
    await bench.log.close()
  })

  test(rig, 'a log drops entries up to the compacted index at most, and keeps the others', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    let state = await grow(bench, firstState(BOOTSTRAP), 400, 1)
    let { firstIndex } = bench.log
    for (const index of [1, 150, 150, 149, 399]) {
      await bench.log.compact(index)
      matchingState(bench.log, [state], 399)
      assert.ok(bench.log.firstIndex <= Math.max(firstIndex, index + 1), `starts at ${bench.log.firstIndex}`)
      assert.ok(bench.log.firstIndex >= firstIndex, `starts at ${bench.log.firstIndex}, at ${firstIndex} before`)
      ;({ firstIndex } = bench.log)
      matchingState(await bench.reopen(), [state], 399)
    }
    assert.ok(firstIndex > 1, 'compaction of 399 entries dropped none')
    state = await grow(bench, state, 500, 2)
    matchingState(await bench.reopen(), [state], 399)
    await bench.log.close()
  })

  test(rig, 'a log keeps its newest entries, as many as take the retained bytes', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    // Much larger than what a log may store besides.
    const bytes = 20_000
    let state = firstState(BOOTSTRAP)
    for (let index = 2; index <= 41; index++) {
      const write = { entries: entries(index, index, 1, bytes) }
      await bench.append(write)
      state = stateAfter(state, write)
    }
    for (const retained of [40, 25, 10, 1]) {
      await bench.log.compact(41, retained * bytes)
      matchingState(bench.log, [state], 41)
      const kept = 41 - bench.log.firstIndex + 1
      assert.ok(kept >= retained * 0.9, `${kept} entries of ${retained} are left`)
    }
    await bench.log.compact(41)
    assert.ok(bench.log.firstIndex > 20, `compaction of 40 entries dropped only those before ${bench.log.firstIndex}`)
    await bench.log.close()
  })

  test(
    rig,
    'a log tells the bytes of its entries after appends, truncations, compactions and resets, and when it is opened again',
    [],
    async (bench) => {
      await bench.open(BOOTSTRAP)
      await appendEach(bench, 2, 41, 1)
      await checkBytes(bench)
      await appendEach(bench, 22, 22, 2)
      await checkBytes(bench)
      await appendEach(bench, 23, 60, 2)
      await bench.log.compact(40)
      assert.ok(bench.log.firstIndex > 20, `compaction of 40 entries dropped only those before ${bench.log.firstIndex}`)
      await checkBytes(bench)
      await bench.append(RESET)
      assert.equal(bench.log.bytes, 0)
      await checkBytes(bench)
      await appendEach(bench, 501, 510, 4)
      await checkBytes(bench)
      const later = { index: 700, term: 5, configuration: SNAPSHOT.configuration }
      await bench.append({ reset: later, entries: entries(701, 702, 5, LARGE_BYTES) })
      await checkBytes(bench)
      await bench.log.close()
    }
  )

  test(rig, '26 membership is recovered from a snapshot after two compactions', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    let state = firstState(BOOTSTRAP)
    for (const [last, term] of [
      [300, 1],
      [600, 2]
    ] as const) {
      const change = { entries: [entry(bench.log.lastIndex + 1, term, 'config')] }
      await bench.append(change)
      state = await grow(bench, stateAfter(state, change), last, term)
      await bench.log.compact(last - 1)
      matchingState(bench.log, [state], last - 1)
      matchingState(await bench.reopen(), [state], last - 1)
      assert.deepEqual(bench.log.configurations.at(-1), change.entries[0])
      assert.ok(bench.log.firstIndex > change.entries[0]!.index, 'the configuration itself was not compacted')
    }
    assert.equal(bench.log.configurations.length, 1)
    await bench.log.close()
  })

  test(rig, 'a log can be compacted during appends and during a reset', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    let state = firstState(BOOTSTRAP)
    const waiting: Promise<void>[] = []
    for (let first = 2; first < 300; first += 3) {
      const write = { entries: entries(first, first + 2, 1) }
      waiting.push(bench.log.append(write))
      state = stateAfter(state, write)
      await turn()
      waiting.push(bench.log.compact(bench.log.lastIndex))
    }
    const written = bench.log.lastIndex
    waiting.push(bench.log.append(RESET), bench.log.compact(written))
    await Promise.all(waiting)
    matchingState(bench.log, [stateAfter(state, RESET)], 500)
    matchingState(await bench.reopen(), [stateAfter(state, RESET)], 500)
    await bench.log.close()
  })

  test(rig, 'a log shows its remaining entries while it is compacted', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    const state = await grow(bench, firstState(BOOTSTRAP), 300, 1)
    const compacting = [100, 200, 299].map((index) => bench.log.compact(index))
    matchingState(bench.log, [state], 299)
    await turn()
    matchingState(bench.log, [state], 299)
    await Promise.all(compacting)
    matchingState(bench.log, [state], 299)
    await bench.log.close()
  })

  test(rig, 'a log can be compacted if truncations have begun later segments below earlier ones', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    let state = await grow(bench, firstState(BOOTSTRAP), 300, 1)
    for (const [first, last, term] of [
      [120, 320, 2],
      [100, 180, 3],
      [95, 260, 4]
    ] as const) {
      const write = { entries: entries(first, last, term) }
      await bench.append(write)
      state = stateAfter(state, write)
      matchingState(await bench.reopen(), [state], 0)
    }
    for (const index of [94, 110, 200, 259]) {
      await bench.log.compact(index)
      matchingState(bench.log, [state], index)
      matchingState(await bench.reopen(), [state], index)
    }
    await bench.log.close()
  })

  test(
    rig,
    'a log opens in a time that depends on the remaining entries, not on all entries ever',
    ['bytesRead'],
    async (bench) => {
      const { adapter, storage } = bench
      await bench.open(BOOTSTRAP)
      const read: number[] = []
      let state = firstState(BOOTSTRAP)
      for (const last of [200, 2000]) {
        while (bench.log.lastIndex < last) {
          state = await grow(bench, state, bench.log.lastIndex + 100, 1)
          await bench.log.compact(bench.log.lastIndex - 20)
        }
        await bench.log.close()
        const before = adapter.bytesRead!(storage)
        await bench.open()
        read.push(adapter.bytesRead!(storage) - before)
        matchingState(bench.log, [state], bench.log.lastIndex - 20)
      }
      assert.ok(read[1]! <= 2 * read[0]!, `${read[0]} bytes read with 200 entries, ${read[1]} with 2000`)
      await bench.log.close()
    }
  )
}

/** Much larger than what a log stores besides, and less than half of a small segment. */
const LARGE_BYTES = 3_000

/** Appends large entries, each in a write of its own. */
async function appendEach<S>(bench: Bench<S>, first: number, last: number, term: number): Promise<void> {
  for (let index = first; index <= last; index++) {
    await bench.append({ entries: entries(index, index, term, LARGE_BYTES) })
  }
}

/** Asserts that `bytes` is the size of the log's large entries, and that it stays the same when the log is reopened. */
async function checkBytes<S>(bench: Bench<S>): Promise<void> {
  const { firstIndex, lastIndex, bytes } = bench.log
  // The first entry is that of BOOTSTRAP, which is small.
  const large = lastIndex - Math.max(firstIndex, 2) + 1
  const isRight = bytes >= large * LARGE_BYTES && bytes <= large * LARGE_BYTES * 1.25 + 1024
  assert.ok(isRight, `${bytes} bytes for ${large} entries of ${LARGE_BYTES} bytes`)
  await bench.reopen()
}

/** Appends entries up to `last`, a few at a time, so that they fill many batches and segments. */
async function grow<S>(bench: Bench<S>, state: LogState, last: number, term: number): Promise<LogState> {
  let grown = state
  for (let first = bench.log.lastIndex + 1; first <= last; first += 5) {
    const write = { entries: entries(first, Math.min(first + 4, last), term) }
    await bench.append(write)
    grown = stateAfter(grown, write)
  }
  return grown
}
