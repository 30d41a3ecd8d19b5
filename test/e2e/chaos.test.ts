/** `pnpm chaos` as a whole (docs/chaos.md). Without root, a run leaves some faults out. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { tied } from '../chaos/src/machines/tied.js'
import { CHAOS, chaos, ended, expectFine, notMade, scheduled } from './support/chaos.js'

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'quire-chaos-e2e-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

it('a run of half a minute with kills, partitions, full disks, bits that rot, cut files and loss of power breaks no guarantee', async () => {
  const [minutes, seed] = [0.5, 584_755]
  const faults = scheduled(minutes, seed)
  if (notMade().length === 0) {
    const titled = ['bits flipped', 'disk full', 'file cut', 'leader killed', 'one way cut', 'power lost']
    expect([...faults].sort()).toEqual(titled)
  }
  expect(faults).toContain('leader killed')
  const report = join(temporaryFolder(), 'report')
  const outcome = await chaos('--minutes', String(minutes), '--seed', String(seed), '--report', report)
  expectFine(outcome, faults)
  for (const workload of ['registers', 'counters', 'bank', 'queue', 'fsx', 'names', 'private'])
    expect(outcome.output).toMatch(new RegExp(`[1-9]\\d* {2}operations of ${workload}`))
  expect(readFileSync(join(report, 'report.html'), 'utf8')).toContain('No acknowledged write is lost')
}, 240_000)

/** Processes whose command line names the folder. */
function processesOf(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && commandLine(name).includes(folder))
    .map(Number)
}

/** Empty if the process has ended. */
function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

it.skipIf(tied(['true']).length === 1)(
  'a run that is killed leaves no process behind, also none that is stopped (needs setpriv of util-linux)',
  async () => {
    const folder = join(temporaryFolder(), 'report')
    const run = spawn(process.execPath, [CHAOS, '--report', folder], { stdio: 'ignore' })
    onTestFinished(() => {
      for (const pid of processesOf(folder)) process.kill(pid, 'SIGKILL')
    })
    // Other programs have started it, which end by becoming it.
    const isPeer = (pid: number): boolean => commandLine(String(pid)).startsWith(process.execPath)
    const peers = (): number[] => processesOf(join(folder, 'peers')).filter(isPeer)
    await expect.poll(() => peers().length, { timeout: 60_000 }).toBeGreaterThan(0)
    process.kill(peers()[0]!, 'SIGSTOP')
    run.kill('SIGKILL')
    await expect.poll(() => processesOf(folder), { timeout: 30_000 }).toEqual([])
  },
  120_000
)

const withoutRight = ['setpriv', '--bounding-set', '-sys_admin', '--']

it.skipIf(process.getuid?.() !== 0 || spawnSync(withoutRight[0]!, [...withoutRight.slice(1), 'true']).status !== 0)(
  'root that may make no network namespaces, as in a container, is told so (needs root and setpriv of util-linux)',
  async () => {
    const { status, output } = await ended([...withoutRight, process.execPath, CHAOS, '--faults', 'disk'])
    expect(output).toContain('not made: disk full: no network namespaces: unshare')
    expect(output).toContain('no fault is left to make')
    expect(status).toBe(2)
  }
)

it('a wrong option of pnpm chaos is refused before anything runs', async () => {
  for (const [args, problem] of [
    [['--minutes', '0'], '--minutes: 0 is no time'],
    [['--faults', 'kill,fire'], '--faults: fire is none of kill'],
    [['--clients', '0'], '--clients: 0 is no number from 1 to 16'],
    [['--report', tmpdir()], `--report: ${tmpdir()} exists already`],
    [['--speed', '3'], "Unknown option '--speed'"]
  ] as const) {
    const { status, output } = await chaos(...args)
    expect(output).toContain(problem)
    expect(output).toContain('usage: pnpm chaos')
    expect(status).toBe(2)
  }
})
