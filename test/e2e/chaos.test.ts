/** `pnpm chaos` as a whole (docs/chaos.md). Without root, a run leaves some faults out. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { chaos } from './support/chaos.js'

it('a run of half a minute with kills, partitions, full disks, bits that rot, cut files and loss of power breaks no guarantee', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'quire-chaos-e2e-'))
  try {
    const report = join(folder, 'report')
    // Flips bits, fills a disk, cuts a file, kills the leader, loses the power of peers, and cuts a line one way.
    const { status, output } = await chaos('--minutes', '0.5', '--seed', '584755', '--report', report)
    expect(output).toContain('no acknowledged write is lost, and the history is linearizable')
    expect(status).toBe(0)
    expect(output).toMatch(/[1-9]\d* {2}leader killed/)
    for (const workload of ['registers', 'counters', 'bank', 'queue', 'fsx', 'names', 'private'])
      expect(output).toMatch(new RegExp(`[1-9]\\d* {2}operations of ${workload}`))
    expect(await readFile(join(report, 'report.html'), 'utf8')).toContain('No acknowledged write is lost')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}, 240_000)

it('a wrong option of pnpm chaos is refused before anything runs', async () => {
  for (const [args, problem] of [
    [['--minutes', '0'], '--minutes: 0 is no time'],
    [['--faults', 'kill,fire'], '--faults: fire is none of kill'],
    [['--clients', '0'], '--clients: 0 is no number from 1 to 16'],
    [['--speed', '3'], "Unknown option '--speed'"]
  ] as const) {
    const { status, output } = await chaos(...args)
    expect(output).toContain(problem)
    expect(output).toContain('usage: pnpm chaos')
    expect(status).toBe(2)
  }
})
