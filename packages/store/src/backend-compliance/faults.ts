import assert from 'node:assert/strict'
import { change, contentsAfter, contentsOf, filled, hex, test, type Rig } from './rig.js'

export function faultTests<S>(rig: Rig<S>): void {
  test(
    rig,
    'a backend rejects a commit with a NoSpaceError that names the file when the disk is full',
    ['setFull'],
    async (bench) => {
      const { adapter, storage } = bench
      const backend = await bench.open()
      await adapter.setFull!(storage, true)
      await assert.rejects(backend.commit([change('heads', [1], [1])]), (error: Error) => {
        assert.equal(error.name, 'NoSpaceError')
        assertNames(error, backend.name)
        return true
      })
    }
  )

  test(
    rig,
    'a backend serves reads on a full disk, and takes the same commit when there is room again',
    ['setFull'],
    async (bench) => {
      const { adapter, storage } = bench
      const backend = await bench.open()
      await backend.commit([change('records', [1], [1]), change('heads', [1], [1])])
      const before = contentsOf(backend)
      const changes = [change('records', [1], [2]), change('heads', [1]), change('heads', [2], [2])]
      await adapter.setFull!(storage, true)
      for (let attempt = 0; attempt < 2; attempt++) {
        await assert.rejects(backend.commit(changes))
        assert.deepEqual(contentsOf(backend), before)
      }
      await adapter.setFull!(storage, false)
      await backend.commit(changes)
      assert.deepEqual(contentsOf(backend), contentsAfter(before, changes))
      assert.deepEqual(contentsOf(await bench.open()), contentsAfter(before, changes))
    }
  )

  test(
    rig,
    'a backend rejects a commit that the disk fails with an error that names the file',
    ['failWrites'],
    async (bench) => {
      const backend = await bench.open()
      await bench.adapter.failWrites!(bench.storage)
      await assert.rejects(backend.commit([change('heads', [1], [1])]), (error: Error) => {
        assert.notEqual(error.name, 'NoSpaceError')
        assertNames(error, backend.name)
        return true
      })
    }
  )

  // The page store has a checksum in every value. A row that is gone reads as one that was never written.
  test(
    rig,
    'a backend returns a damaged value or throws a CorruptionError, but does not omit the row',
    ['damage'],
    async (bench) => {
      const [key, value] = [Uint8Array.of(1), filled(1, 300)]
      const before = await bench.open()
      await before.commit([{ table: 'heads', key, value }, change('heads', [2], [2])])
      await bench.close()
      await bench.adapter.damage!(bench.storage, value)
      let found: string | undefined
      let rows: number
      try {
        const backend = await bench.open()
        found = hex(backend.get('heads', key))
        rows = contentsOf(backend).size
      } catch (error) {
        assertCorruption(error as Error, before.name, before.remedy)
        return
      }
      assert.equal(rows, 2, 'the listing omits the damaged row')
      assert.ok(found !== undefined, 'the damaged row is gone')
      assert.notEqual(found, hex(value), 'the adapter damaged nothing')
    }
  )

  test(
    rig,
    'a backend refuses a storage that it did not write, and names the file and the remedy',
    ['replace'],
    async (bench) => {
      const { name, remedy } = await bench.open()
      await bench.close()
      await bench.adapter.replace!(bench.storage)
      await assert.rejects(bench.open(), (error: Error) => {
        assertCorruption(error, name, remedy)
        return true
      })
    }
  )
}

function assertCorruption(error: Error, name: string, remedy: string | undefined): void {
  assert.equal(error.name, 'CorruptionError')
  assertNames(error, name)
  assert.ok(error.message.includes(remedy ?? ''), `the message does not name the remedy: ${error.message}`)
}

function assertNames(error: Error, name: string): void {
  assert.ok(error.message.includes(name), `the message does not name ${name}: ${error.message}`)
}
