import assert from 'node:assert/strict'
import type { BackendChange } from '../pages/backend.js'
import {
  change,
  contentsAfter,
  contentsOf,
  filled,
  isSame,
  spread,
  test,
  turn,
  type Contents,
  type Rig
} from './rig.js'

const CRASHES = 16
/** Commits between two crashes, of which some finish. */
const COMMITS = 4

export function crashTests<S>(rig: Rig<S>): void {
  test(rig, 'a backend keeps a commit that has resolved when the process crashes', ['crash'], async (bench) => {
    const random = spread()
    let backend = await bench.open()
    let expected: Contents = new Map()
    for (let i = 1; i <= CRASHES; i++) {
      const changes = changesOf(i, random)
      await backend.commit(changes)
      expected = contentsAfter(expected, changes)
      backend = await bench.crash(random)
      assert.deepEqual(contentsOf(backend), expected, `crash ${i}`)
    }
  })

  // The page store writes the applied index in the same commit as the rows of the entries up to it. A commit that
  // survives in part would show pages of one index under the other.
  test(
    rig,
    'a backend keeps a commit in all tables or in none when the process crashes while it runs',
    ['crash'],
    async (bench) => {
      const random = spread()
      let backend = await bench.open()
      let start: Contents = new Map()
      for (let crash = 0, next = 1; crash < CRASHES; crash++) {
        const possible = [start]
        let resolved = 0
        const run = async (): Promise<void> => {
          for (let i = 0; i < COMMITS; i++) {
            const changes = changesOf(next++, random)
            possible.push(contentsAfter(possible.at(-1)!, changes))
            await running.commit(changes)
            resolved++
          }
        }
        const running = backend
        const program = run()
        // A program that a crash cuts short may reject later, or never settle.
        program.catch(() => {})
        // From no turn to several hundred: a backend may write in memory, or wait for a disk.
        const awaited = crash % COMMITS
        while (resolved < awaited) await turn()
        for (let turns = 2 ** (random() * 9) - 1; turns > 0; turns--) await turn()
        const durable = resolved
        const started = possible.length
        backend = await bench.crash(random)
        const contents = contentsOf(backend)
        const survived = possible.slice(durable, started).findIndex((each) => isSame(each, contents))
        assert.ok(
          survived >= 0,
          `crash ${crash}: the rows are those of none of the commits ${durable} to ${started - 1}`
        )
        start = contents
      }
    }
  )
}

/** Commit number `index`: an applied index in one table, and rows of two other tables that come and go. */
function changesOf(index: number, random: () => number): BackendChange[] {
  const changes = [change('records', [1], [index])]
  for (let key = 0; key < 40; key++) {
    const value = random() < 0.3 ? undefined : filled(index, 200)
    changes.push({ table: 'heads', key: Uint8Array.of(key), value: value?.subarray(0, 45) })
    changes.push({ table: 'bodies', key: Uint8Array.of(key), value })
  }
  return changes
}
