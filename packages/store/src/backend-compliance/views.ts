import assert from 'node:assert/strict'
import { ClosedError } from '@quire/protocol'
import { BACKEND_TABLES, type BackendChange, type BackendView } from '../pages/backend.js'
import {
  change,
  contentsAfter,
  contentsOf,
  filled,
  hex,
  isSame,
  nameOf,
  test,
  turn,
  type Contents,
  type Rig
} from './rig.js'

/** Enough rows for a backend to write them in several turns of the event loop. */
const MANY_ROWS = 600

export function viewTests<S>(rig: Rig<S>): void {
  test(rig, 'a view shows the rows of the last commit before it, whatever is committed later', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(rowsOf(1))
    const before = contentsOf(backend)
    const view = backend.view()
    for (let version = 2; version <= 4; version++) {
      await backend.commit(rowsOf(version))
      assert.deepEqual(shownBy(view), before, `after commit ${version}`)
    }
    view.close()
    const after = backend.view()
    assert.deepEqual(shownBy(after), contentsOf(backend))
    after.close()
  })

  test(rig, 'a view shows no row of a commit that has not ended when the view is read', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(rowsOf(1))
    const before = contentsOf(backend)
    const earlier = backend.view()
    const run = backend.commit(rowsOf(2))
    const possible = [before, contentsAfter(before, rowsOf(2))]
    let isRunning = true
    void run.finally(() => (isRunning = false))
    while (isRunning) {
      const view = backend.view()
      assert.deepEqual(shownBy(earlier), before)
      const shown = shownBy(view)
      assert.ok(
        possible.some((each) => isSame(each, shown)),
        'a view shows a part of a commit'
      )
      view.close()
      await turn()
    }
    await run
    assert.deepEqual(shownBy(earlier), before)
    earlier.close()
  })

  test(rig, 'a view finds the rows from a key on, in the order of the bytes of their keys', [], async (bench) => {
    const backend = await bench.open()
    const keys = [[0], [0, 0], [1], [1, 255], [2, 0, 1], [127], [128], [255, 255]]
    await backend.commit(keys.toReversed().map((key) => change('bodies', key, key)))
    const view = backend.view()
    for (const [at, first] of keys.entries()) {
      const found = [...view.from('bodies', Uint8Array.from(first))].map(([key]) => [...key])
      assert.deepEqual(found, keys.slice(at), `from ${first.join(' ')}`)
    }
    assert.deepEqual([...view.from('heads', new Uint8Array(0))], [])
    assert.deepEqual(
      [...view.from('bodies', Uint8Array.of(1, 1))].map(([key]) => [...key]),
      keys.slice(3)
    )
    view.close()
  })

  test(rig, "a view throws ClosedError from each read from its close on, or its backend's", [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(rowsOf(1))
    const [first, second] = [backend.view(), backend.view()]
    const rows = first.from('heads', new Uint8Array(0))[Symbol.iterator]()
    assert.equal(rows.next().done, false)
    first.close()
    first.close()
    assert.throws(() => rows.next(), ClosedError, 'the next row of an iteration')
    assert.throws(() => [...first.from('heads', new Uint8Array(0))], ClosedError, 'a closed view')
    assert.equal(shownBy(second).size, contentsOf(backend).size)
    await bench.close()
    assert.throws(() => [...second.from('heads', new Uint8Array(0))], ClosedError, 'a view of a closed backend')
    assert.throws(() => backend.view(), ClosedError, 'a new view')
  })

  test(rig, 'a backend reports the bytes that its rows take, and those of its file', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(rowsOf(1))
    const { usedBytes } = backend.usage()
    const value = filled(1, 4000)
    const more = Array.from({ length: 100 }, (_, at) => change('bodies', [7, at], [...value]))
    await backend.commit(more)
    const grown = backend.usage()
    assert.ok(grown.usedBytes >= usedBytes + 100 * value.length, `${grown.usedBytes} after ${usedBytes}`)
    assert.ok(grown.fileBytes >= grown.usedBytes, `${grown.usedBytes} of ${grown.fileBytes}`)
    await backend.commit(more.map(({ table, key }) => ({ table, key, value: undefined })))
    assert.ok(backend.usage().usedBytes < grown.usedBytes, `${backend.usage().usedBytes} after ${grown.usedBytes}`)
  })

  test(
    rig,
    'a view holds back the space of rows that change, and a backend reuses it afterwards',
    [],
    async (bench) => {
      const backend = await bench.open()
      const change5 = async (): Promise<void> => {
        for (let version = 1; version <= 5; version++) await backend.commit(largeRows(version))
      }
      await change5()
      const { usedBytes, fileBytes } = backend.usage()
      const view = backend.view()
      await change5()
      const held = backend.usage()
      assert.ok(held.fileBytes >= fileBytes + 2 * usedBytes, `${fileBytes} before the view, ${held.fileBytes} with it`)
      view.close()
      await change5()
      const after = backend.usage()
      assert.ok(after.fileBytes <= held.fileBytes, `${held.fileBytes} with the view, ${after.fileBytes} after it`)
      assert.ok(after.fileBytes >= fileBytes, `${fileBytes} at first, ${after.fileBytes} now`)
    }
  )
}

function largeRows(version: number): BackendChange[] {
  const value = [...filled(version, 4000)]
  return Array.from({ length: 100 }, (_, at) => change('bodies', [8, at], value))
}

/** Every row has another value in each version, and each version lacks some rows. */
function rowsOf(version: number): BackendChange[] {
  return Array.from({ length: MANY_ROWS }, (_, at) => {
    const isAbsent = at % 7 === version % 7
    const key = [at >> 8, at & 255]
    return change(BACKEND_TABLES[at % 3]!, key, isAbsent ? undefined : [version, at & 255])
  })
}

function shownBy(view: BackendView): Contents {
  const contents = new Map<string, string>()
  for (const table of BACKEND_TABLES) {
    for (const [key, value] of view.from(table, new Uint8Array(0))) contents.set(nameOf(table, key), hex(value))
  }
  return contents
}
