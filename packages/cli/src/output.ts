/** What the commands write: results on stdout, progress and failures on stderr. */
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

/** Ctrl-C, or a request to end; the status is the one that a shell gives. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError'
  readonly status: number
  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super('interrupted')
    this.status = 128 + constants.signals[signal]
  }
}

/** A failure that has been reported already, or needs no more words than its exit status. */
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

/** From now on, failures and notes are JSON as well, one object a line. */
export function useJson(): void {
  isJson = true
}

function printJsonError(value: object): void {
  process.stderr.write(`${visibleJson(value)}\n`)
}

/** One line that names the cause. */
export function printFailure(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  if (isJson) return printJsonError({ error: { code: codeOf(error), message } })
  process.stderr.write(
    `${pc.isColorSupported && process.stderr.isTTY ? pc.red('quire:') : 'quire:'} ${oneLine(message)}\n`
  )
}

/** Quire's own; those of the system and of the parser of options are no part of what the README says. */
function codeOf(error: unknown): string | null {
  const { code } = error instanceof Error ? (error as { readonly code?: unknown }) : {}
  return typeof code === 'string' && code.startsWith('ERR_') ? code : null
}

/** The help that a bare `quire` gets: it has asked for nothing, so standard output stays empty. */
export function printHelpAsError(help: string): void {
  process.stderr.write(help)
}

export function printNote(text: string): void {
  if (isJson) return printJsonError({ note: text })
  process.stderr.write(`quire: ${oneLine(text)}\n`)
}

/** Standard output cannot be written. When its reader has gone, as `head` goes, nobody needs to be told. */
export class OutputError extends Error {
  override readonly name = 'OutputError'
  readonly isReaderGone: boolean
  /** When the reader has gone, the status that a shell reports for a program that SIGPIPE ends. */
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

/** Call it before anything is written: a stream without a listener ends the process with a stack trace. */
export function watchOutput(): void {
  process.stdout.on('error', fail)
  // Nobody is left to tell; the exit status still says what happened.
  process.stderr.on('error', () => {})
}

function fail(error: NodeJS.ErrnoException): void {
  outputFailure ??= new OutputError(error)
  reportFailure(outputFailure)
}

/**
 * Writes text of a command. False if the reader is slower. A failure is kept, and is the command's in the end.
 *
 * Node writes to a pipe, a terminal or a socket as it should. Of a file it takes a write that was cut short, as by a disk
 * that is full, for a whole one, and what goes to a block device or a folder it drops.
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
  // What `once` would reject with is the failure that the listener has seen already.
  await Promise.race([once(process.stdout, 'drain').catch(() => {}), failedOutput])
  throwIfFailed()
}

function throwIfFailed(): void {
  if (outputFailure !== undefined) throw outputFailure
}

let mayLoseReader = false

/**
 * For a process that runs on after it has said everything, such as a peer: rejects when standard output fails, but not when
 * its reader goes, which is no failure from now on.
 */
export async function whenOutputFails(): Promise<never> {
  mayLoseReader = true
  const failure = await failedOutput
  if (failure.isReaderGone) return new Promise(() => {})
  throw failure
}

/** Resolves when everything is written that still waits for a slow reader, with the failure if there was one. */
export async function flushOutput(): Promise<OutputError | undefined> {
  if (outputFailure === undefined) {
    // Only behind something: a command that prints nothing has no use for its output, which may be full or gone.
    if (process.stdout.writableLength > 0) {
      const written = new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
      await Promise.race([written, failedOutput])
    }
    // A failure is reported one turn after the write that it belongs to.
    await new Promise((resolve) => setImmediate(resolve))
  }
  return mayLoseReader && outputFailure?.isReaderGone === true ? undefined : outputFailure
}

export interface Progress {
  add(bytes: number): void
  stop(): void
}

/** A bar on stderr when that is a terminal. */
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
