import { describe, expect, it } from 'vitest'
import { RandomScript } from './support/random-script.js'
import { seededRandom } from './support/seeded-random.js'

const SEEDS = Number(process.env.QUIRE_RANDOM_SCRIPTS ?? 200)
const STEPS = 600
const BATCH = 50

describe('randomly drawn golden scripts', () => {
  for (let first = 1; first <= SEEDS; first += BATCH) {
    it(`randomly drawn golden scripts break no property of Raft and come to rest, seeds from ${first} on (Figure 3)`, () => {
      for (let seed = first; seed < first + BATCH && seed <= SEEDS; seed++) {
        const script = new RandomScript(seededRandom(seed))
        try {
          script.run(STEPS)
        } catch (error) {
          // Save the script below golden/, and replay it there with QUIRE_UPDATE_GOLDEN=1.
          const replay = script.lines.map((line) => `${line}\n----\n`).join('\n')
          expect.fail(`seed ${seed}: ${(error as Error).message}\n\n# seed ${seed}\n${replay}`)
        }
      }
    })
  }
})
