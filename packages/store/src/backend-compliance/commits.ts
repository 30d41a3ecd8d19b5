import assert from 'node:assert/strict'
import type { Backend, BackendChange } from '../pages/backend.js'
import { change, contentsAfter, contentsOf, filled, hex, test, turn, type Rig } from './rig.js'

/** Enough rows for a backend to write them in several turns of the event loop. */
const MANY_ROWS = 1000

export function commitTests<S>(rig: Rig<S>): void {
  test(rig, 'a backend shows each commit when it resolves, in the order of the commits', [], async (bench) => {
    const backend = await bench.open()
    for (let i = 1; i <= 20; i++) {
      await backend.commit([change('records', [0], [i]), change('records', [i], [i])])
      assert.equal(hex(backend.get('records', Uint8Array.of(0))), hex(Uint8Array.of(i)))
      assert.equal(contentsOf(backend).size, i + 1)
    }
  })

  test(
    rig,
    'a backend applies several changes of one row in the order in which the commit names them',
    [],
    async (bench) => {
      const backend = await bench.open()
      await backend.commit([change('heads', [1], [1]), change('heads', [2], [1])])
      const changes = [
        change('heads', [1]),
        change('heads', [1], [2]),
        change('heads', [2], [2]),
        change('heads', [2]),
        change('heads', [3], [1]),
        change('heads', [3], [2])
      ]
      await backend.commit(changes)
      assert.deepEqual(contentsOf(backend), contentsAfter(new Map(), changes))
    }
  )

  test(rig, 'a backend removes rows, and ignores the removal of a row that is not there', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit([change('heads', [1], [1]), change('heads', [2], [2])])
    await backend.commit([change('heads', [1]), change('heads', [3]), change('bodies', [2])])
    assert.deepEqual([...contentsOf(backend)], [['heads/02', '02']])
  })

  test(
    rig,
    'a backend keeps its rows when the caller overwrites the arrays of a commit that has resolved',
    [],
    async (bench) => {
      const backend = await bench.open()
      const [key, value] = [Uint8Array.of(1), Uint8Array.of(1)]
      await backend.commit([{ table: 'heads', key, value }])
      key.fill(9)
      value.fill(9)
      assert.deepEqual([...contentsOf(backend)], [['heads/01', '01']])
      assert.equal(hex(backend.get('heads', Uint8Array.of(1))), '01')
    }
  )

  test(rig, 'a backend keeps its rows when it is closed and opened again', [], async (bench) => {
    const backend = await bench.open()
    const changes = [change('records', [1], [1]), change('heads', [2], [2]), change('bodies', [3], [3])]
    await backend.commit(changes)
    assert.deepEqual(contentsOf(await bench.open()), contentsAfter(new Map(), changes))
  })

  test(
    rig,
    'a backend commits no row and rejects with the error when the iteration of the changes throws',
    [],
    async (bench) => {
      const backend = await bench.open()
      await backend.commit([change('records', [1], [1])])
      const before = contentsOf(backend)
      const failure = new Error('no more rows')
      function* failing(): Iterable<BackendChange> {
        yield change('records', [1], [2])
        yield* manyRows(2)
        throw failure
      }
      await assert.rejects(backend.commit(failing()), failure)
      assert.deepEqual(contentsOf(backend), before)
      assert.deepEqual(contentsOf(await bench.open()), before)
    }
  )

  test(rig, 'a backend commits again after a commit that it rejected', [], async (bench) => {
    const backend = await bench.open()
    function* failing(): Iterable<BackendChange> {
      yield change('records', [1], [1])
      throw new Error('no more rows')
    }
    await assert.rejects(backend.commit(failing()))
    await backend.commit([change('records', [2], [2])])
    assert.deepEqual([...contentsOf(await bench.open())], [['records/02', '02']])
  })

  test(rig, 'a backend reads each row as it was or as it becomes while a commit runs', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit([...manyRows(1), change('heads', [1], [1])])
    const [old, next] = [filled(1, 100), filled(2, 100)]
    await whileRunning(backend.commit(manyRows(2)), () => {
      for (let i = 0; i < MANY_ROWS; i += 37) {
        const value = hex(backend.get('bodies', keyOf(i)))
        assert.ok(value === hex(old) || value === hex(next), `row ${i} is ${value}`)
      }
    })
    await whileRunning(backend.commit(manyRows(undefined)), () => {
      for (let i = 0; i < MANY_ROWS; i += 37) {
        const value = hex(backend.get('bodies', keyOf(i)))
        assert.ok(value === undefined || value === hex(next), `row ${i} is ${value}`)
      }
    })
  })

  test(rig, 'a backend reads and lists the rows that a running commit does not change', [], async (bench) => {
    const backend = await bench.open()
    const kept = [5, 6, 7, 250].map((key) => change('heads', [key], [key]))
    await backend.commit([...kept, ...manyRows(1)])
    await whileRunning(backend.commit(manyRows(2)), () => {
      for (const { key, value } of kept) assert.equal(hex(backend.get('heads', key)), hex(value))
      const keys = backend.keys('heads', Uint8Array.of(0), Uint8Array.of(255), 10)
      assert.deepEqual(keys.map(hex), ['05', '06', '07', 'fa'])
      const found = [...backend.entries('heads', new Uint8Array(0))].map(([key]) => hex(key))
      assert.deepEqual(found, ['05', '06', '07', 'fa'])
      // A commit that replaces rows removes none.
      assert.equal(backend.keys('bodies', keyOf(0), keyOf(MANY_ROWS), MANY_ROWS).length, MANY_ROWS)
    })
  })

  test(rig, 'a backend removes a range whose keys the commit looks up while it runs', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(manyRows(1))
    const [first, end] = [100, 900]
    await backend.commit(removals(backend, first, end))
    const left = backend.keys('bodies', keyOf(0), keyOf(MANY_ROWS), MANY_ROWS).map(indexOf)
    const expected = [...Array(MANY_ROWS).keys()].filter((i) => i < first || i >= end)
    assert.deepEqual(left, expected)
  })

  test(
    rig,
    'a backend keeps the rows that a commit writes into a range after it removed the range',
    [],
    async (bench) => {
      const backend = await bench.open()
      await backend.commit(manyRows(1))
      function* replacing(): Iterable<BackendChange> {
        yield* removals(backend, 0, MANY_ROWS)
        yield { table: 'bodies', key: keyOf(500), value: filled(2, 100) }
      }
      await backend.commit(replacing())
      assert.deepEqual([...contentsOf(backend)], [[`bodies/${hex(keyOf(500))}`, hex(filled(2, 100))]])
    }
  )
}

/** Calls `check` in every turn of the event loop until `commit` has settled. */
async function whileRunning(commit: Promise<void>, check: () => void): Promise<void> {
  let isRunning = true
  const settled = commit.finally(() => (isRunning = false))
  // A check that throws leaves the commit alone; its error is not to end the process.
  settled.catch(() => {})
  do {
    check()
    await turn()
  } while (isRunning)
  await settled
}

/** Writes `value` into every row, or removes every row. */
function* manyRows(value: number | undefined): Iterable<BackendChange> {
  for (let i = 0; i < MANY_ROWS; i++) {
    yield { table: 'bodies', key: keyOf(i), value: value === undefined ? undefined : filled(value, 100) }
  }
}

/** Looks up the keys from row `first` up to but without row `end`, a few at a time, as the page store does. */
function* removals(backend: Backend, first: number, end: number): Iterable<BackendChange> {
  for (let from = first; from < end;) {
    const keys = backend.keys('bodies', keyOf(from), keyOf(end), 64)
    for (const key of keys) yield { table: 'bodies', key, value: undefined }
    from = keys.length === 64 ? indexOf(keys.at(-1)!) + 1 : end
  }
}

function keyOf(index: number): Uint8Array {
  return Uint8Array.of(index >> 8, index)
}

function indexOf(key: Uint8Array): number {
  return key[0]! * 256 + key[1]!
}
