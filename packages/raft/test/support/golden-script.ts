/** Golden scripts: commands, and after `----` what came of them. In the manner of Go's datadriven, as etcd-io/raft uses it. */

/** `timeout a 12 now=yes` is name `timeout`, words `a` and `12`, options `now`. */
export interface Command {
  readonly name: string
  readonly words: readonly string[]
  readonly options: ReadonlyMap<string, string>
}

/** Comments, one or more command lines, and their output. */
interface Block {
  /** Everything up to the output, with the line of dashes. */
  readonly head: readonly string[]
  readonly commands: readonly string[]
  readonly output: readonly string[]
  /** Of the first line of the output, from 1 on. */
  readonly line: number
}

export interface Script {
  /** The first line, without its `# `. */
  readonly title: string
  readonly blocks: readonly Block[]
}

/** A command that makes no sense now. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

const DASHES = '----'

/** Output ends at an empty line, or where the file ends. */
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
  /** The script with the output that there was. */
  readonly text: string
  /** The first block whose output is another, in words; undefined when all are the same. */
  readonly difference: string | undefined
}

/** Runs all commands; `run` returns the lines that a command made. */
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
