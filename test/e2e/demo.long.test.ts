import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)
const DEMO = join(import.meta.dirname, '../../examples/demo/dist/main.js')
const MOMENTS = [0.02, 0.1, 0.2, 0.31, 0.42, 0.55, 0.66, 0.78, 0.9, 0.98]

describe('the demo', () => {
  it.each(MOMENTS)('the demo passes if the leader is killed at %d of the counting', async (moment) => {
    // Rejects with the output of the demo if it does not exit with 0.
    const { stdout } = await run(process.execPath, [DEMO, '--kill-at', String(moment)])
    expect(stdout).not.toContain('failed')
  })
})
