/** What the commands write: results on stdout, progress and failures on stderr. */
import { once } from 'node:events'
import { constants } from 'node:os'
import cliProgress from 'cli-progress'
import pc from 'picocolors'
import { showControls } from './visible.js'

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
  process.stdout.write(text + '\n')
}

export function printJson(value: unknown): void {
  printLine(JSON.stringify(value))
}

/** One line that names the cause. */
export function printFailure(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  process.stderr.write(
    `${pc.isColorSupported && process.stderr.isTTY ? pc.red('quire:') : 'quire:'} ${oneLine(message)}\n`
  )
}

export function printNote(text: string): void {
  process.stderr.write(`quire: ${oneLine(text)}\n`)
}

/** Whoever reads our output may stop doing so, as `head` does: that is no failure, and what follows is written to nobody. */
export function tolerateClosedOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  }
}

/** Writes to stdout at the reader's pace. Throws ExitError when the reader has gone: nothing more is wanted, and all is well. */
export async function writeOutput(bytes: Uint8Array | string): Promise<void> {
  if (process.stdout.destroyed) throw new ExitError(0)
  if (process.stdout.write(bytes)) return
  try {
    await once(process.stdout, 'drain')
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EPIPE' ? new ExitError(0) : error
  }
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
