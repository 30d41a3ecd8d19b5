/** Processes of a run end with it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { expect, it, onTestFinished } from 'vitest'
import { tied } from './src/machines/tied.js'

/** Starts a child, stops it in its tracks, and prints its id. */
const PARENT = `
import { Child } from ${JSON.stringify(new URL('dist/machines/child.js', import.meta.url).href)}
const child = new Child({
  machine: { name: 'one', address: '127.0.0.1', on: (command) => command },
  command: ['sh', '-c', 'echo $$; exec cat'],
  log: '/dev/null',
  onLine: (pid) => {
    child.pause()
    console.log(pid)
  }
})`

/** A process that nobody has waited for has ended all the same. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

it.skipIf(tied(['true']).length === 1)(
  'a child that is stopped ends when the process that has started it is killed (needs setpriv of util-linux)',
  async () => {
    const parent = spawn(process.execPath, ['--input-type=module', '-e', PARENT], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    onTestFinished(() => void parent.kill('SIGKILL'))
    const [line] = (await once(parent.stdout, 'data')) as [Buffer]
    const pid = Number(String(line))
    onTestFinished(() => {
      if (isRunning(pid)) process.kill(pid, 'SIGKILL')
    })
    expect(isRunning(pid)).toBe(true)
    parent.kill('SIGKILL')
    await expect.poll(() => isRunning(pid), { timeout: 20_000 }).toBe(false)
  },
  60_000
)
