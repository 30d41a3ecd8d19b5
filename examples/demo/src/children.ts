/** The processes that the demo starts. None of them outlives the demo, even if that is killed (tether.ts). */
import { spawn, type ChildProcess } from 'node:child_process'
import { finished } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'

const TETHER = new URL('./tether.js', import.meta.url).href
const GRACE_MS = 5_000
/** This much of a process's standard error is kept, to report why it ended. */
const KEPT_CHARACTERS = 4096

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Child {
  readonly process: ChildProcess
  readonly exited: Promise<Exit>
  /** From now on the end of the process is not a failure. */
  expectExit(): void
  /** The last lines of the process's standard error. */
  readonly stderr: string
}

export interface Children {
  /** Starts a Node program. `onLine` receives the lines of its standard output. With `ipc` it accepts messages. */
  start(name: string, program: string, args: readonly string[], options?: StartOptions): Child
  /**
   * Runs a Node program to its end and resolves with its standard output. Rejects with its standard error unless it
   * exits with one of `statuses`, by default 0.
   */
  run(name: string, program: string, args: readonly string[], options?: RunOptions): Promise<string>
  /** Rejects when a process ends unexpectedly. */
  readonly failure: Promise<never>
  /** Ends all processes: first with SIGTERM, after a while with SIGKILL. */
  endAll(): Promise<void>
}

export interface RunOptions {
  readonly inherit?: boolean
  readonly statuses?: readonly number[]
}

export interface StartOptions {
  readonly ipc?: boolean
  readonly onLine?: (line: string) => void
  /** The process inherits the output streams of the demo. */
  readonly inherit?: boolean
}

export function createChildren(): Children {
  const running = new Set<Child>()
  let fail: (error: Error) => void = () => {}
  const failure = new Promise<never>((_, reject) => (fail = reject))
  // The demo races every wait against `failure`. A failure that comes between two waits must not be unhandled.
  failure.catch(() => {})

  function start(name: string, program: string, args: readonly string[], options: StartOptions = {}): Child {
    const output = options.inherit === true ? 'inherit' : 'pipe'
    const child = spawn(process.execPath, ['--import', TETHER, program, ...args], {
      stdio: ['pipe', output, output, ...(options.ipc === true ? (['ipc'] as const) : [])]
    })
    let isExpected = false
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-KEPT_CHARACTERS)))
    if (child.stdout !== null) eachLine(child.stdout, options.onLine ?? (() => {}))
    // A write to a process that has just died fails. The exit reports that death.
    child.stdin?.on('error', () => {})
    const exited = new Promise<Exit>((resolve) => {
      child.on('error', (error) => {
        stderr += error.message
        resolve({ code: 1, signal: null })
      })
      child.on('exit', (code, signal) => {
        // The last output may still be unread. (There is no `close` event after this side has closed the IPC channel.)
        const streams = [child.stdout, child.stderr].filter((stream) => stream !== null)
        void Promise.allSettled(streams.map((stream) => finished(stream))).then(() => resolve({ code, signal }))
      })
    })
    const handle: Child = {
      process: child,
      exited,
      expectExit: () => (isExpected = true),
      get stderr() {
        return stderr.trim()
      }
    }
    running.add(handle)
    void exited.then((exit) => {
      running.delete(handle)
      if (!isExpected) fail(new Error(`${name} ended unexpectedly, ${describe(exit)}${indented(stderr)}`))
    })
    return handle
  }

  async function run(
    name: string,
    program: string,
    args: readonly string[],
    { inherit, statuses = [0] }: RunOptions = {}
  ): Promise<string> {
    const lines: string[] = []
    const child = start(name, program, args, { inherit, onLine: (line) => lines.push(line) })
    child.expectExit()
    const exit = await child.exited
    if (exit.code === null || !statuses.includes(exit.code))
      throw new Error(`${name} failed, ${describe(exit)}${indented(child.stderr)}`)
    return lines.join('\n')
  }

  async function endAll(): Promise<void> {
    const children = [...running]
    for (const child of children) {
      child.expectExit()
      child.process.kill('SIGTERM')
    }
    const timer = setTimeout(() => {
      for (const child of running) child.process.kill('SIGKILL')
    }, GRACE_MS)
    await Promise.all(children.map((child) => child.exited))
    clearTimeout(timer)
  }

  return { start, run, failure, endAll }
}

export function program(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url))
}

function describe({ code, signal }: Exit): string {
  return signal === null ? `exit status ${code}` : `by ${signal}`
}

function indented(text: string): string {
  const lines = text.trim()
  return lines === '' ? '' : `:\n    ${lines.replaceAll('\n', '\n    ')}`
}

function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line)
  })
  stream.on('end', () => {
    if (rest !== '') onLine(rest)
  })
}
