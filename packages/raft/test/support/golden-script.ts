/**
 * Golden scripts: commands with their output after `----`, in the manner of Go's datadriven, which etcd-io/raft uses.
 */

/** One command. `timeout a 12 now=yes` has the name `timeout`, the words `a` and `12`, and the option `now`. */
export interface Command {
  readonly name: string
  readonly words: readonly string[]
  readonly options: ReadonlyMap<string, string>
}

/** Comments, one or more command lines, and their output. */
interface Block {
  /** Everything up to the output, including the line of dashes. */
  readonly head: readonly string[]
  readonly commands: readonly string[]
  readonly output: readonly string[]
  /** Line number of the output's first line, from 1 on. */
  readonly line: number
}

export interface Script {
  /** The script's first line without its `# `. */
  readonly title: string
  readonly blocks: readonly Block[]
}

/** A command that is invalid now. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

const DASHES = '----'

/** An output ends at an empty line, or at the end of the file. */
export function parseScript(text: string): Script {
  const lines = text.trimEnd().split('\n')
  const blocks: Block[] = []
  let head: string[] = []
  for (let i = 0; i < lines.length; i++) {
    head.push(lines[i]!)
    if (lines[i] !== DASHES) continue
    let end = lines.indexOf('', i)
    if (end < 0) end = lines.length
    const commands = head.map((each) => each.trim()).filter((each) => each !== '' && each !== DASHES && each[0] !== '#')
    blocks.push({ head, commands, output: lines.slice(i + 1, end), line: i + 2 })
    head = []
    i = end
  }
  if (head.length > 0) throw new Error(`the commands at the end have no ${DASHES}`)
  return { title: lines[0]!.replace(/^# */, ''), blocks }
}

export function parseCommand(line: string): Command {
  const [name, ...rest] = line.split(/\s+/)
  const words: string[] = []
  const options = new Map<string, string>()
  for (const part of rest) {
    const [key, value] = part.split('=', 2)
    if (value === undefined) words.push(part)
    else options.set(key!, value)
  }
  return { name: name!, words, options }
}

export interface Outcome {
  /** The script with the actual output. */
  readonly text: string
  /** Describes the first block with a different output; undefined if there is none. */
  readonly difference: string | undefined
}

/** Runs all commands. `run` returns the output lines of a command. */
export function runScript(file: string, script: Script, run: (command: Command) => string[]): Outcome {
  const parts: string[] = []
  let difference: string | undefined
  for (const { head, commands, output, line } of script.blocks) {
    const lines = commands.flatMap((each) => runCommand(`${file}:${line}`, each, run))
    const actual = lines.length === 0 ? ['ok'] : lines
    parts.push([...head, ...actual].join('\n'))
    difference ??= differenceOf(file, line, commands, output, actual)
  }
  return { text: `${parts.join('\n\n')}\n`, difference }
}

function runCommand(place: string, line: string, run: (command: Command) => string[]): string[] {
  try {
    return run(parseCommand(line))
  } catch (error) {
    throw new Error(`${place}: ${line}: ${(error as Error).message}`, { cause: error })
  }
}

function differenceOf(
  file: string,
  line: number,
  commands: readonly string[],
  expected: readonly string[],
  actual: readonly string[]
): string | undefined {
  const first = [...expected, ''].findIndex((each, i) => each !== (actual[i] ?? ''))
  if (first < 0) return undefined
  const before = expected.slice(Math.max(0, first - 2), first).map((each) => `    ${each}`)
  const missing = expected.slice(first).map((each) => `  - ${each}`)
  const added = actual.slice(first).map((each) => `  + ${each}`)
  return [`${file}:${line + first}: after "${commands.join('; ')}"`, ...before, ...missing, ...added].join('\n')
}
