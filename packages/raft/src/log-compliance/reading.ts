import assert from 'node:assert/strict'
import { raftEntryBytes } from '@quire/protocol'
import type { RaftLog } from '../log/types.js'
import { BOOTSTRAP, entries, entry, indexesOf, test, type Rig } from './rig.js'

export function readingTests<S>(rig: Rig<S>): void {
  test(rig, 'a read of a log returns as many entries as fit, but at least one', [], async (bench) => {
    const log = await bench.open(BOOTSTRAP)
    await bench.append({ entries: entries(2, 50, 1) })
    const one = raftEntryBytes(entry(2, 1))
    for (const lo of [2, 30, 50]) {
      assert.deepEqual(indexesOf(log.entries(lo, 51, 0)), [lo])
      assert.deepEqual(indexesOf(log.entries(lo, lo + 1, 1e9)), [lo])
    }
    assert.equal(log.entries(2, 51, 3 * one).length, 3)
    assert.equal(log.entries(2, 51, 4 * one - 1).length, 3)
    assert.equal(log.entries(2, 51, 1e9).length, 49)
    await log.close()
  })

  test(rig, 'a log knows the terms from the entry before the first one on', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    await bench.append({ entries: entries(2, 9, 2) }, { entries: entries(7, 12, 5) })
    const check = (log: RaftLog): void => {
      const terms = [-1, 0, 1, 2, 6, 7, 12, 13].map((index) => log.term(index))
      assert.deepEqual(terms, [undefined, 0, 1, 2, 2, 5, 5, undefined])
    }
    check(bench.log)
    check(await bench.reopen())
    await bench.log.close()
  })

  test(rig, 'a log reads many entries in pieces, forward and backward', [], async (bench) => {
    await bench.open(BOOTSTRAP)
    for (let first = 2; first < 200; first += 11) await bench.append({ entries: entries(first, first + 10, 1) })
    const { lastIndex } = bench.log
    const check = (log: RaftLog): void => {
      for (let lo = 2; lo <= lastIndex; lo += 7) {
        const hi = Math.min(lo + 7, lastIndex + 1)
        assert.deepEqual(log.entries(lo, hi, 1e9), entries(lo, hi - 1, 1))
      }
      for (let index = lastIndex; index > 1; index--) {
        assert.deepEqual(log.entries(index, index + 1, 1), [entry(index, 1)])
      }
    }
    check(bench.log)
    check(await bench.reopen())
    await bench.log.close()
  })
}
