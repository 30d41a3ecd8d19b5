/** The frame of a command that runs a cluster. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { endAll } from './processes.js'

/** A wrong argument, with a message that takes the place of the usage. */
export class UsageError extends Error {}

export interface CommandInit<O> {
  readonly name: string
  readonly usage: string
  /** Throws for arguments that the usage does not allow. */
  readonly read: (args: string[]) => O
  /** Resolves with the exit status. `folder` is removed at the end. */
  readonly run: (options: O, folder: string) => Promise<number>
  /** The command fails if it is not over by then. */
  readonly deadlineMs?: number
}

/** Runs the command with the arguments of this process, and ends the process and all that it has started. */
export async function runCommand<O>(init: CommandInit<O>): Promise<never> {
  process.exitCode = await statusOf(init)
  // A worker's channel may still be open.
  process.exit()
}

async function statusOf<O>({ name, usage, read, run, deadlineMs }: CommandInit<O>): Promise<number> {
  const args = process.argv.slice(2).filter((argument) => argument !== '--')
  if (args.includes('--help')) {
    console.log(usage)
    return 0
  }
  let options: O
  try {
    options = read(args)
  } catch (error) {
    console.error(error instanceof UsageError ? error.message : usage)
    return 2
  }
  const folder = mkdtempSync(join(tmpdir(), `quire-${name}-`))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
  try {
    return await Promise.race([run(options, folder), ended(deadlineMs)])
  } catch (error) {
    console.error((error as Error).message)
    return 1
  } finally {
    await endAll()
  }
}

/** Rejects when a signal ends the command, or it takes too long. */
function ended(deadlineMs: number | undefined): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => reject(new Error(`stopped by ${signal}`)))
    }
    if (deadlineMs === undefined) return
    setTimeout(() => reject(new Error(`not done within ${deadlineMs / 1000} s`)), deadlineMs).unref()
  })
}
