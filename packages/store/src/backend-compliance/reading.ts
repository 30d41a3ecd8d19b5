import assert from 'node:assert/strict'
import { ClosedError } from '@quire/protocol'
import { BACKEND_TABLES, type Backend, type BackendTable } from '../pages/backend.js'
import { change, contentsOf, filled, hex, test, type Rig } from './rig.js'

/** Keys in the order of their bytes: a key comes before those that it begins, and 0x7f before 0x80. */
const KEYS = [[0], [0, 0], [0, 255], [1], [1, 0, 0], [1, 2], [2], [127], [128], [254, 255], [255], [255, 0], [255, 255]]

export function readingTests<S>(rig: Rig<S>): void {
  test(rig, 'a backend has no rows before the first commit', [], async (bench) => {
    const backend = await bench.open()
    assert.equal(contentsOf(backend).size, 0)
    for (const table of BACKEND_TABLES) {
      assert.equal(backend.get(table, Uint8Array.of(1)), undefined)
      assert.deepEqual(keysOf(backend, table, [0], [255], 10), [])
    }
  })

  test(rig, 'a backend keeps rows with the same key apart by table', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit([change('records', [1], [10]), change('heads', [1], [20]), change('bodies', [1], [30])])
    await backend.commit([change('heads', [1])])
    const values = BACKEND_TABLES.map((table) => hex(backend.get(table, Uint8Array.of(1))))
    assert.deepEqual(values, ['0a', undefined, '1e'])
    const keys = BACKEND_TABLES.map((table) => keysOf(backend, table, [0], [255], 10).length)
    assert.deepEqual(keys, [1, 0, 1])
    assert.deepEqual([...contentsOf(backend).keys()], ['records/01', 'bodies/01'])
  })

  test(rig, 'a backend returns values of 1 byte to 64 KiB unchanged', [], async (bench) => {
    const lengths = [1, 28, 44, 2000, 4068, 4096, 8164, 65_508, 65_536]
    const rows = lengths.map(
      (length, i) => ({ table: 'bodies', key: filled(i, 16), value: filled(i, length) }) as const
    )
    const check = (backend: Backend): void => {
      for (const { table, key, value } of rows) assert.equal(hex(backend.get(table, key)), hex(value))
    }
    const backend = await bench.open()
    await backend.commit(rows)
    check(backend)
    check(await bench.open())
  })

  test(rig, 'a backend finds the rows with a prefix, in the order of the bytes of their keys', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(KEYS.toReversed().map((key) => change('heads', key, key)))
    for (const prefix of [[], [0], [0, 0], [1], [1, 2], [3], [127], [128], [255], [255, 255], [255, 255, 0]]) {
      const found: number[][] = []
      for (const [key, value] of backend.entries('heads', Uint8Array.from(prefix))) {
        assert.deepEqual([...value], [...key], `value of key ${key.join(' ')}`)
        found.push([...key])
      }
      const expected = KEYS.filter((key) => prefix.every((byte, at) => key[at] === byte))
      assert.deepEqual(found, expected, `prefix ${prefix.join(' ')}`)
    }
  })

  test(
    rig,
    'a backend lists keys from the first up to but without the end, in the order of their bytes',
    [],
    async (bench) => {
      const backend = await bench.open()
      await backend.commit(KEYS.toReversed().map((key) => change('heads', key, key)))
      for (const [from, first] of KEYS.entries()) {
        for (const [to, end] of KEYS.entries()) {
          const expected = KEYS.slice(from, Math.max(from, to))
          assert.deepEqual(
            keysOf(backend, 'heads', first, end, 100),
            expected,
            `${first.join(' ')} to ${end.join(' ')}`
          )
        }
      }
      // Neither bound has a row of its own.
      assert.deepEqual(keysOf(backend, 'heads', [1, 1], [127, 0], 100), [[1, 2], [2], [127]])
    }
  )

  test(rig, 'a backend lists the smallest keys of a range that has more than the limit', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(KEYS.toReversed().map((key) => change('heads', key, key)))
    for (const limit of [1, 2, KEYS.length - 2, KEYS.length - 1, KEYS.length]) {
      assert.deepEqual(keysOf(backend, 'heads', [0], [255, 255], limit), KEYS.slice(0, -1).slice(0, limit))
    }
  })

  test(rig, 'a backend returns keys as copies, which later calls do not change', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(KEYS.map((key) => change('heads', key, key)))
    const keys = backend.keys('heads', Uint8Array.of(0), Uint8Array.of(2), 100)
    backend.keys('heads', Uint8Array.of(2), Uint8Array.of(255), 100)
    backend.get('heads', Uint8Array.of(254, 255))
    await backend.commit(KEYS.map((key) => change('heads', key)))
    assert.deepEqual(
      keys.map((key) => [...key]),
      KEYS.slice(0, 6)
    )
  })

  test(rig, 'a backend throws ClosedError from each read from the call of close on', [], async (bench) => {
    const backend = await bench.open()
    await backend.commit(KEYS.map((key) => change('heads', key, key)))
    const rows = backend.entries('heads', new Uint8Array(0))[Symbol.iterator]()
    assert.equal(rows.next().done, false)
    const closed = bench.close()
    assert.throws(() => rows.next(), ClosedError, 'the next row of an iteration')
    assert.throws(() => [...backend.entries('heads', new Uint8Array(0))], ClosedError, 'entries')
    assert.throws(() => backend.get('heads', Uint8Array.of(1)), ClosedError, 'get')
    assert.throws(() => backend.keys('heads', Uint8Array.of(0), Uint8Array.of(2), 1), ClosedError, 'keys')
    await closed
  })
}

function keysOf(
  backend: Backend,
  table: BackendTable,
  first: readonly number[],
  end: readonly number[],
  limit: number
): number[][] {
  return backend.keys(table, Uint8Array.from(first), Uint8Array.from(end), limit).map((key) => [...key])
}
