/** The output of commands: results on stdout, progress and failures on stderr. */
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { constants } from 'node:os'
import cliProgress from 'cli-progress'
import pc from 'picocolors'
import { showControls, visibleJson } from './visible.js'

/** Bad usage: exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** SIGINT or SIGTERM arrived. The exit status is the one that a shell reports for the signal. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError'
  readonly status: number
  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super('interrupted')
    this.status = 128 + constants.signals[signal]
  }
}

/** Ends a command with this status. Everything that there is to say has been printed. */
export class ExitError extends Error {
  override readonly name = 'ExitError'
  constructor(readonly status: number) {
    super(`exit ${status}`)
  }
}

export function printLine(text: string): void {
  writeText(text + '\n')
}

export function printJson(value: unknown): void {
  printLine(visibleJson(value))
}

let isJson = false

/** Makes failures and notes JSON from now on, one object per line. */
export function useJson(): void {
  isJson = true
}

function printJsonError(value: object): void {
  process.stderr.write(`${visibleJson(value)}\n`)
}

/** Prints the cause of a failure on one line. */
export function printFailure(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  if (isJson) return printJsonError({ error: { code: codeOf(error), message } })
  process.stderr.write(
    `${pc.isColorSupported && process.stderr.isTTY ? pc.red('quire:') : 'quire:'} ${oneLine(message)}\n`
  )
}

/**
 * The code of an error of Quire. Codes of the system and of the option parser are not documented, so they are left out.
 */
function codeOf(error: unknown): string | null {
  const { code } = error instanceof Error ? (error as { readonly code?: unknown }) : {}
  return typeof code === 'string' && code.startsWith('ERR_') ? code : null
}

/** Prints the help for a bare `quire`. The user did not ask for it, so it goes to stderr. */
export function printHelpAsError(help: string): void {
  process.stderr.write(help)
}

export function printNote(text: string): void {
  if (isJson) return printJsonError({ note: text })
  process.stderr.write(`quire: ${oneLine(text)}\n`)
}

/** Notes a number of voters that costs more than it protects. */
export function adviseOnVoters(voters: number): void {
  if (voters % 2 === 0) printNote(`${voters} voters survive no more failures than ${voters - 1}: use an odd number`)
}

/** Standard output cannot be written. If its reader has exited, as `head` does, the command stays silent. */
export class OutputError extends Error {
  override readonly name = 'OutputError'
  readonly isReaderGone: boolean
  /** 141 if the reader has exited: what a shell reports for a program that SIGPIPE ends. */
  readonly status: number
  constructor(cause: NodeJS.ErrnoException) {
    super(`standard output cannot be written (${cause.code ?? cause.message})`, { cause })
    this.isReaderGone = cause.code === 'EPIPE' || cause.code === 'ECONNRESET'
    this.status = this.isReaderGone ? 128 + constants.signals.SIGPIPE : 1
  }
}

const STDOUT = 1

let outputFailure: OutputError | undefined
let reportFailure: (failure: OutputError) => void
const failedOutput = new Promise<OutputError>((resolve) => (reportFailure = resolve))

/** Must run before the first write: an error of a stream without a listener ends the process with a stack trace. */
export function watchOutput(): void {
  process.stdout.on('error', fail)
  // A failure of stderr cannot be printed. The exit status still tells the outcome.
  process.stderr.on('error', () => {})
}

function fail(error: NodeJS.ErrnoException): void {
  outputFailure ??= new OutputError(error)
  reportFailure(outputFailure)
}

/**
 * Writes to stdout. Returns false if the reader is slower. A failure is kept, and the command ends with it.
 *
 * Node writes correctly to a pipe, a terminal or a socket. If a full disk cuts a write to a file short, Node takes it
 * for a complete one; what goes to a block device or a folder it drops. So this function writes to these itself.
 */
export function writeText(bytes: Uint8Array | string): boolean {
  if (process.stdout instanceof Socket) return process.stdout.write(bytes)
  if (outputFailure !== undefined) return true
  try {
    let rest = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
    while (rest.length > 0) {
      const written = writeSync(STDOUT, rest)
      if (written === 0) throw Object.assign(new Error('nothing was written'), { code: 'ENOSPC' })
      rest = rest.subarray(written)
    }
  } catch (error) {
    fail(error as NodeJS.ErrnoException)
  }
  return true
}

/** Writes to stdout at the reader's pace. Throws OutputError. */
export async function writeOutput(bytes: Uint8Array | string): Promise<void> {
  throwIfFailed()
  if (writeText(bytes)) return throwIfFailed()
  // An error that rejects `once` has already reached the listener of `watchOutput`.
  await Promise.race([once(process.stdout, 'drain').catch(() => {}), failedOutput])
  throwIfFailed()
}

function throwIfFailed(): void {
  if (outputFailure !== undefined) throw outputFailure
}

let mayLoseReader = false

/**
 * Rejects when standard output fails. For a process that goes on after its last output, such as a peer: from now on, a
 * reader that exits is not a failure.
 */
export async function whenOutputFails(): Promise<never> {
  mayLoseReader = true
  const failure = await failedOutput
  if (failure.isReaderGone) return new Promise(() => {})
  throw failure
}

/** Resolves once a slow reader has taken all output, with the failure if there was one. */
export async function flushOutput(): Promise<OutputError | undefined> {
  if (outputFailure === undefined) {
    // Only behind pending output: a command that prints nothing must not fail because stdout is full or closed.
    if (process.stdout.writableLength > 0) {
      const written = new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
      await Promise.race([written, failedOutput])
    }
    // A stream reports a failed write one turn later.
    await new Promise((resolve) => setImmediate(resolve))
  }
  return mayLoseReader && outputFailure?.isReaderGone === true ? undefined : outputFailure
}

export interface Progress {
  add(bytes: number): void
  stop(): void
}

/** Shows a progress bar on stderr if stderr is a terminal. */
export function startProgress(label: string, totalBytes: number, enabled: boolean): Progress {
  if (!enabled || !process.stderr.isTTY) return { add: () => {}, stop: () => {} }
  const bar = new cliProgress.SingleBar(
    {
      format: `${label} {bar} {percentage}% | {value}/{total} bytes | {eta_formatted}`,
      stream: process.stderr,
      clearOnComplete: true
    },
    cliProgress.Presets.shades_classic
  )
  bar.start(totalBytes, 0)
  return { add: (bytes) => bar.increment(bytes), stop: () => bar.stop() }
}

function oneLine(text: string): string {
  return showControls(text.replaceAll(/\s*\n\s*/g, ' '))
}
