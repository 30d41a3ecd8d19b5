/** The command line `quire`. Exit status: 0 done, 1 failed with one line on stderr, 2 bad usage. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addClusterCommands } from './cluster-commands.js'
import { addCopyCommands } from './copy-commands.js'
import { addDevCommand } from './dev.js'
import { addFileCommands } from './file-commands.js'
import { ExitError, InterruptedError, UsageError, printFailure, tolerateClosedOutput } from './output.js'
import { addStatusCommand } from './status.js'

async function main(argv: readonly string[]): Promise<number> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  const program = new Command('quire')
    .description('A replicated page store whose files are memory: peers, and commands for their clients.')
    .version(version)
    .exitOverride()
    // Commander's own words take several lines; statusOf prints them in one.
    .configureOutput({ writeErr: () => {} })
  addDevCommand(program)
  addClusterCommands(program)
  addCopyCommands(program)
  addFileCommands(program)
  addStatusCommand(program)
  for (const command of program.commands) command.exitOverride()
  try {
    await program.parseAsync(argv)
    return 0
  } catch (error) {
    return statusOf(error)
  }
}

function statusOf(error: unknown): number {
  if (error instanceof ExitError) return error.status
  if (error instanceof CommanderError) {
    // Help and version, which were asked for.
    if (error.exitCode === 0) return 0
    printFailure(`${usageProblem(error)} (see --help)`)
    return 2
  }
  printFailure(error)
  if (error instanceof InterruptedError) return error.status
  return error instanceof UsageError ? 2 : 1
}

function usageProblem(error: CommanderError): string {
  return error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '')
}

tolerateClosedOutput()
const status = await main(process.argv)
// What is still on its way to a slow reader is written first; a handle that somebody forgot must not keep the process.
await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
process.exit(status)
