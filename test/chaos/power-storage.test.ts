import { describe, expect, it } from 'vitest'
import { createLmdbBackend } from '../../packages/store/dist/pages/index.js'
import { Machine, noPower, unlessNoPower, useShim } from './power-support.js'

const PAGES = new URL('../../packages/store/dist/pages/index.js', import.meta.url)
const ROUNDS = 20
const ROWS = 50

const power = useShim()

describe.skipIf(noPower)(`a new page store, after a loss of power${unlessNoPower}`, () => {
  it.each([
    ['everything', 1],
    ['random', 1],
    ['random', 2],
    ['random', 3]
  ] as const)('its commits are there, whatever else is lost: %s, seed %i', async (lose, seed) => {
    const machine = new Machine(power.shim)
    // The last commit is under way when the process ends.
    machine.runModule(`
      import { createLmdbBackend } from '${PAGES.href}'
      const backend = createLmdbBackend({ path: 'pages.lmdb' })
      const commit = (round) =>
        backend.commit(
          Array.from({ length: ${ROWS} }, (_, at) => ({
            table: 'bodies',
            key: new Uint8Array([at]),
            value: new Uint8Array(4000).fill(round)
          }))
        )
      for (let round = 1; round <= ${ROUNDS}; round++) await commit(round)
      void commit(${ROUNDS + 1})
      await new Promise((resolve) => setImmediate(resolve))`)
    machine.lose(lose, seed)
    const backend = createLmdbBackend({ path: machine.path('pages.lmdb') })
    const rounds = Array.from({ length: ROWS }, (_, at) => backend.get('bodies', new Uint8Array([at]))?.[0])
    expect([ROUNDS, ROUNDS + 1]).toContain(rounds[0])
    expect(new Set(rounds).size).toBe(1)
    await backend.close()
  })
})
