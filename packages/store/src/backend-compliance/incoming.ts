import assert from 'node:assert/strict'
import { change, contentsAfter, contentsOf, filled, isSame, spread, test, turn, type Rig } from './rig.js'

const CRASHES = 32

const FORMER = [change('records', [1], [1]), change('heads', [1], [1]), change('bodies', [2], [...filled(1, 500)])]
const INCOMING = [change('records', [1], [2]), change('heads', [3], [3]), change('bodies', [4], [...filled(2, 500)])]

export function incomingTests<S>(rig: Rig<S>): void {
  test(
    rig,
    'incoming rows are apart from the rows in use, and take their place when they are adopted',
    ['openIncoming', 'adoptIncoming'],
    async (bench) => {
      const backend = await bench.open()
      await backend.commit(FORMER)
      const incoming = await bench.openIncoming()
      assert.equal(contentsOf(incoming).size, 0)
      for (const row of INCOMING) await incoming.commit([row])
      assert.deepEqual(contentsOf(backend), contentsAfter(new Map(), FORMER))
      await incoming.close()
      await bench.close()
      await bench.adopt()
      const adopted = await bench.open()
      assert.deepEqual(contentsOf(adopted), contentsAfter(new Map(), INCOMING))
      await adopted.commit(FORMER)
      assert.deepEqual(contentsOf(await bench.open()), contentsAfter(contentsAfter(new Map(), INCOMING), FORMER))
    }
  )

  test(
    rig,
    'incoming rows that were not adopted are gone when others come, and when the storage is opened again',
    ['openIncoming', 'adoptIncoming'],
    async (bench) => {
      await (await bench.open()).commit(FORMER)
      for (let round = 0; round < 2; round++) {
        const incoming = await bench.openIncoming()
        assert.equal(contentsOf(incoming).size, 0)
        await incoming.commit(INCOMING)
        await incoming.close()
      }
      assert.deepEqual(contentsOf(await bench.open()), contentsAfter(new Map(), FORMER))
    }
  )

  test(
    rig,
    'a crash during an adoption leaves the former rows in use, or all incoming rows',
    ['openIncoming', 'adoptIncoming', 'crash'],
    async (bench) => {
      const random = spread()
      let backend = await bench.open()
      await backend.commit(FORMER)
      let former = contentsOf(backend)
      for (let crash = 1; crash <= CRASHES; crash++) {
        const incoming = await bench.openIncoming()
        const rows = [...INCOMING, change('records', [1], [crash])]
        await incoming.commit(rows)
        await incoming.close()
        await bench.close()
        const adopted = contentsAfter(new Map(), rows)
        let isDone = false
        const adopting = bench.adopt().then(() => (isDone = true))
        // A program that a crash cuts short may reject later, or never settle.
        adopting.catch(() => {})
        // A backend in memory is done within a few turns, one that waits for a disk takes hundreds.
        for (let turns = crash % 2 === 0 ? random() * 6 : 2 ** (random() * 9); turns > 1; turns--) await turn()
        const wasDone = isDone
        backend = await bench.crash(random)
        const found = contentsOf(backend)
        const isSound = isSame(found, adopted) || (!wasDone && isSame(found, former))
        assert.ok(isSound, `crash ${crash}, ${wasDone ? 'after' : 'during'} the adoption`)
        former = found
      }
    }
  )
}
