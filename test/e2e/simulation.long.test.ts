import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, it } from 'vitest'

const run = promisify(execFile)
const SIMULATION = join(import.meta.dirname, '../sim/dist/main.js')

describe('the simulation', () => {
  it('of five hundred clusters finds nothing', async () => {
    // Rejects, with the seed and how to replay it, when one fails.
    await run(process.execPath, [SIMULATION, 'cluster', '--seeds', '500', '--from', '1'], { maxBuffer: 2 ** 26 })
  })
})
