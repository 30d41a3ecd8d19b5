/** The command line as a user runs it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

export const BIN = fileURLToPath(new URL('../../bin/quire.js', import.meta.url))

/** The PeerId of an admin whose key no test has. */
export const ADMIN = '12D3KooWLemdri1zNbMBuemEyHQtd4crNYGMbVoguXNvzSdLNacz'
/** The arguments with which a test that needs no admin founds a cluster. */
export const INIT = ['init', '--admins', ADMIN] as const

export interface Finished {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** Its standard input; default: none. */
  readonly input?: Uint8Array
  /** Files that take its output instead, such as /dev/full. */
  readonly stdoutTo?: string
  readonly stderrTo?: string
  /** Redirections of a shell, such as `< folder` or `<&-`. */
  readonly redirect?: string
  readonly env?: Record<string, string>
  /** The network namespace to run in, which needs root. */
  readonly namespace?: string
  /** The limit of open files, hard and soft: Node raises the soft one to the hard one. */
  readonly maxOpenFiles?: number
}

export async function quire(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const running = startQuire(args, options)
  await once(running.child, 'close')
  return { status: running.child.exitCode, stdout: running.stdout, stderr: running.stderr }
}

/** Writes a new key to the file and returns its PeerId. */
export async function keygen(file: string): Promise<string> {
  return (await quire(['keygen', file])).stdout.trim()
}

/** Concurrent processes: enough that one runs while another waits, too few to starve each other. */
const AT_A_TIME = 4

/** Calls `run` for each case, a few at a time. The cases must be independent. Resolves with the results in order. */
export async function quireEach<T, R>(cases: readonly T[], run: (each: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const work = async (): Promise<void> => {
    while (next < cases.length) {
      const at = next++
      results[at] = await run(cases[at]!)
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, work))
  return results
}

export interface Running {
  readonly child: ChildProcess
  stdout: string
  stderr: string
}

export function startQuire(args: readonly string[], options: RunOptions = {}): Running {
  const command = [process.execPath, BIN, ...args]
  const { maxOpenFiles, namespace, redirect } = options
  if (redirect !== undefined) command.unshift('sh', '-c', `exec "$0" "$@" ${redirect}`)
  if (maxOpenFiles !== undefined) command.unshift('sh', '-c', `ulimit -n ${maxOpenFiles} && exec "$0" "$@"`)
  // `ip` becomes the program, so a signal to the child reaches it.
  if (namespace !== undefined) command.unshift('ip', 'netns', 'exec', namespace)
  const files = [options.stdoutTo, options.stderrTo].map((path) =>
    path === undefined ? undefined : openSync(path, 'w')
  )
  const [stdout, stderr] = files
  const child = spawn(command[0]!, command.slice(1), {
    env: { ...process.env, NO_COLOR: '1', QUIRE_PEERS: '', QUIRE_KEY: '', QUIRE_CLUSTER: '', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', stdout ?? 'pipe', stderr ?? 'pipe']
  })
  child.stdin?.end(options.input)
  for (const file of files) if (file !== undefined) closeSync(file)
  const running: Running = { child, stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk: Buffer) => (running.stdout += String(chunk)))
  child.stderr?.on('data', (chunk: Buffer) => (running.stderr += String(chunk)))
  return running
}

/** Makes a folder for the running test, removed when the test ends. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'quire-cli-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
