/**
 * The command line `quire`. Exit status: 0 done; 1 failed, with one line on stderr; 2 bad usage; 130 or 143
 * interrupted (a signal ends `peer` and `dev` with 0); 141 the reader of standard output has exited.
 */
import { InvalidArgumentError } from '@quire/protocol'
import { Command, CommanderError } from 'commander'
import { addAdminCommands } from './admin-commands.js'
import { addClusterCommands } from './cluster-commands.js'
import { addCopyCommands } from './copy-commands.js'
import { addDevCommand } from './dev.js'
import { addDoctorCommand } from './doctor.js'
import { addFileCommands } from './file-commands.js'
import {
  ExitError,
  InterruptedError,
  OutputError,
  UsageError,
  flushOutput,
  printFailure,
  printHelpAsError,
  printJson,
  printLine,
  useJson,
  watchOutput,
  writeText
} from './output.js'
import { addStatusCommands } from './status.js'
import { readVersion, versionLine } from './version.js'

async function main(argv: readonly string[]): Promise<number> {
  if (asksForJson(argv)) useJson()
  const program = new Command('quire')
    .description('Distributed mmap: run the peers of a cluster, and copy, list and inspect its files.')
    .option('-V, --version', 'print the version, its commit and the version of Node')
    .exitOverride()
    // Commander's errors take several lines; `statusOf` prints each on one line.
    .configureOutput({ writeOut: writeText, writeErr: () => {} })
  addDevCommand(program)
  addClusterCommands(program)
  addCopyCommands(program)
  addFileCommands(program)
  addStatusCommands(program)
  addAdminCommands(program)
  addDoctorCommand(program)
  program.on('option:version', () => {
    const version = readVersion()
    if (asksForJson(argv)) printJson(version)
    else printLine(versionLine(version))
    throw new ExitError(0)
  })
  for (const command of program.commands) command.exitOverride()
  try {
    await program.parseAsync(argv)
    return 0
  } catch (error) {
    return statusOf(error, program, argv)
  }
}

/** Looks for --json before the options are parsed, because an error of parsing must be JSON, too. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end < 0 ? undefined : end).includes('--json')
}

function statusOf(error: unknown, program: Command, argv: readonly string[]): number {
  if (error instanceof ExitError) return error.status
  if (error instanceof OutputError) return reportOutput(error)
  if (error instanceof CommanderError) {
    // The user asked for help.
    if (error.exitCode === 0) return 0
    reportUsage(error, program, argv)
    return 2
  }
  printFailure(error)
  if (error instanceof InterruptedError) return error.status
  return error instanceof UsageError || error instanceof InvalidArgumentError ? 2 : 1
}

function reportUsage(error: CommanderError, program: Command, argv: readonly string[]): void {
  if (error.code !== 'commander.help') printFailure(`${usageOf(error, program, argv)} (see --help)`)
  else if (argv[2] === 'help') printFailure(`unknown command '${argv[3]}' (see --help)`)
  else printHelpAsError(commandOf(program, argv).helpInformation())
}

/** The command that was given alone, such as `members`, which needs another one behind it. */
function commandOf(program: Command, argv: readonly string[]): Command {
  return program.commands.find((each) => each.name() === argv[2]) ?? program
}

/** Commander's message on one line. Commander puts the command that it suggests on a second one. */
function usageOf({ code, message }: CommanderError, program: Command, argv: readonly string[]): string {
  const first = argv[2] ?? ''
  const command = commandOf(program, argv)
  // Commander names only the first of the required options that are missing.
  if (code === 'commander.missingMandatoryOptionValue') {
    const missing = command.options.filter(
      (option) => option.mandatory && command.getOptionValue(option.attributeName()) === undefined
    )
    if (missing.length > 1)
      return `required options ${missing.map(({ flags }) => `'${flags}'`).join(', ')} not specified`
  }
  if (code === 'commander.unknownOption' && first.startsWith('-')) {
    const name = first.split('=', 1)[0]
    const isKnown = program.commands.some(({ options }) =>
      options.some(({ short, long }) => [short, long].includes(name))
    )
    if (isKnown) return `unknown option '${name}': options of a command come after its name`
  }
  return message.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ')
}

function reportOutput(failure: OutputError): number {
  if (!failure.isReaderGone) printFailure(failure)
  return failure.status
}

watchOutput()
let status = await main(process.argv)
// Output that a slow reader has not taken yet is written first. A handle that is still open must not keep the process.
const failure = await flushOutput()
if (status === 0 && failure !== undefined) status = reportOutput(failure)
process.exit(status)
