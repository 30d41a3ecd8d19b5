import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { until } from './support/cluster.js'

const DEMO = join(import.meta.dirname, '../../examples/demo/dist/main.js')
let folder = ''
let demo: ChildProcess | undefined

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-demo-test-'))
})
afterEach(async () => {
  if (demo?.pid !== undefined && groupLives(demo.pid)) process.kill(-demo.pid, 'SIGKILL')
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
})

interface Run {
  readonly child: ChildProcess
  readonly output: () => string
  readonly errors: () => string
  readonly exited: Promise<number | null>
}

/**
 * Runs the demo in a process group and with a temporary directory of its own, so that the test sees what it leaves
 * behind.
 */
function start(...args: string[]): Run {
  const child = spawn(process.execPath, [DEMO, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: folder },
    detached: true
  })
  demo = child
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const exited = once(child, 'close').then(() => child.exitCode)
  return { child, output: () => output, errors: () => errors, exited }
}

function groupLives(group: number): boolean {
  try {
    return process.kill(-group, 0)
  } catch {
    return false
  }
}

describe('the demo', () => {
  it('the demo passes all checks while two clients count and the leader is killed', { timeout: 240_000 }, async () => {
    const run = start('--kill-at', '0.4')
    expect(await run.exited, run.output() + run.errors()).toBe(0)
    const output = run.output()
    expect(output).not.toContain('FAILED')
    for (const text of [
      /killed the leader …\w{6} \(pid \d+\) at 4\d % of the counting/,
      /ok .* another peer took over/,
      /ok .* the restarted peer has applied entry \d+/,
      /ok .* client 2 sees exact sums: shared 2000, own pages 1000 and 1000/,
      /ok .* both clients agree on every byte of the counters/,
      /ok .* client 2 reads every byte of the file after the failover: SHA-256 [0-9a-f]{16}/,
      /upgrade faults .* 1,0\d\d /,
      /p99 .* ms /,
      /handovers /,
      /page bytes received .* MiB /,
      /all 10 checks held\n$/
    ]) {
      expect(output).toMatch(text)
    }
    expect(groupLives(run.child.pid!)).toBe(false)
    expect(await readdir(folder)).toEqual([])
  })

  it(
    'the demo fails if a check fails, here because the leader outlived the counting',
    { timeout: 240_000 },
    async () => {
      // The smallest file and a short counting, because the failing check needs neither.
      const file = join(folder, 'file')
      await writeFile(file, Buffer.alloc(64 * 1024 * 1024, 'quire'))
      const run = start(file, '--rounds', '100', '--kill-after-ms', '120000')
      expect(await run.exited, run.output() + run.errors()).toBe(1)
      expect(run.output()).toMatch(/FAILED .* the leader was killed while the clients were counting/)
      expect(run.output()).toMatch(/[1-9]\d* of \d+ checks failed\n$/)
    }
  )

  it('the demo refuses a file below 64 MiB with one line', async () => {
    const file = join(folder, 'small')
    await writeFile(file, 'too small')
    const run = start(file)
    expect(await run.exited).toBe(1)
    expect(run.errors()).toBe(`${file}: 9 bytes are too few, the demo needs a file of at least 64 MiB\n`)
    expect(run.output()).toBe('')
  })

  it('the demo refuses wrong arguments with status 2', async () => {
    const run = start('--kill-at', '2')
    expect(await run.exited).toBe(2)
    expect(run.errors()).toMatch(/^--kill-at must be 0 to 1\nusage: /)
    const part = start('--rounds', '100.5')
    expect(await part.exited).toBe(2)
    expect(part.errors()).toMatch(/^--rounds must be a whole number\nusage: /)
  })

  it('the demo ends in bounded time, and says that it did not finish', async () => {
    const run = start('--deadline-s', '3')
    expect(await run.exited).toBe(1)
    expect(run.output()).toMatch(/FAILED .* not done within 3 s/)
    expect(await readdir(folder)).toEqual([])
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('the demo leaves nothing behind when %s ends it', async (signal) => {
    const run = start()
    await until(() => run.output().includes('peers run'), 'the peers to run', 30_000)
    run.child.kill(signal)
    expect(await run.exited).toBe(signal === 'SIGINT' ? 130 : 143)
    expect(groupLives(run.child.pid!)).toBe(false)
    expect(await readdir(folder)).toEqual([])
  })

  it('the demo leaves no process behind when it is killed', async () => {
    const run = start()
    await until(() => run.output().includes('peers run'), 'the peers to run', 30_000)
    run.child.kill('SIGKILL')
    await until(() => !groupLives(run.child.pid!), 'the demo and its processes to end', 15_000)
  })
})
