import { statSync } from 'node:fs'
import { parseArgs } from 'node:util'

export const MIN_FILE_BYTES = 64 * 1024 * 1024

export const USAGE = `usage: npm start -- [FILE] [options]

FILE is imported into the cluster and must have at least 64 MiB; default: the Node executable.
  --kill-at FRACTION    kill the leader when this fraction of the counting is done, above 0 and below 1
  --kill-after-ms N     or: kill it N ms after the counting has begun
  --rounds N            increments of the shared word by each client, and of its own pages; default 1000
  --seed N              selects the moment of the kill if none is given; default: random
  --deadline-s N        give up after this time; default 180`

/** The moment to kill the leader: after a fraction of the work and some milliseconds, or after a fixed time. */
export type KillMoment = { readonly fraction: number; readonly extraMs: number } | { readonly afterMs: number }

export interface Options {
  readonly file: string
  readonly fileBytes: number
  readonly seed: number
  /** The increments by each client of the shared word, and equally many of words on its own pages. */
  readonly rounds: number
  readonly kill: KillMoment
  readonly deadlineMs: number
}

/** The arguments are wrong. The exit status is 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export function parseOptions(argv: readonly string[]): Options | 'help' {
  const { values, positionals } = parse(argv)
  if (values.help === true) return 'help'
  if (positionals.length > 1) throw new UsageError(`one FILE at most, not ${positionals.length}`)
  const file = positionals[0] ?? process.execPath
  const seed = numberOf('--seed', values.seed, 0, 2 ** 32 - 1) ?? Math.floor(Math.random() * 2 ** 32)
  const rounds = numberOf('--rounds', values.rounds, 100, 100_000) ?? 1000
  const deadlineMs = (numberOf('--deadline-s', values['deadline-s'], 1, 86_400) ?? 180) * 1000
  if (!Number.isInteger(rounds)) throw new UsageError('--rounds must be a whole number')
  return { file, fileBytes: sizeOf(file), seed, rounds, kill: killMoment(values, seed), deadlineMs }
}

function parse(argv: readonly string[]) {
  const text = { type: 'string' } as const
  const options = {
    'kill-at': text,
    'kill-after-ms': text,
    rounds: text,
    seed: text,
    'deadline-s': text,
    help: { type: 'boolean', short: 'h' }
  } as const
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function killMoment(values: { 'kill-at'?: string; 'kill-after-ms'?: string }, seed: number): KillMoment {
  if (values['kill-at'] !== undefined && values['kill-after-ms'] !== undefined) {
    throw new UsageError('--kill-at or --kill-after-ms, not both')
  }
  const afterMs = numberOf('--kill-after-ms', values['kill-after-ms'], 0, 86_400_000)
  if (afterMs !== undefined) return { afterMs }
  const random = sequence(seed)
  const drawn = 0.05 + 0.9 * random()
  const fraction = numberOf('--kill-at', values['kill-at'], 0, 1) ?? drawn
  if (fraction === 0 || fraction === 1) throw new UsageError('--kill-at must be above 0 and below 1')
  // A few milliseconds later, so that the kill does not always follow right after an increment.
  return { fraction, extraMs: Math.floor(10 * random()) }
}

function numberOf(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !(value >= min && value <= max)) throw new UsageError(`${name} must be ${min} to ${max}`)
  return value
}

/** Returns the size of a file. Throws a one-line error if there is no such file or it is too small. */
function sizeOf(file: string): number {
  const stat = statSync(file, { throwIfNoEntry: false })
  if (stat === undefined || !stat.isFile()) throw new Error(`${file}: no such file`)
  if (stat.size < MIN_FILE_BYTES) {
    throw new Error(`${file}: ${stat.size} bytes are too few, the demo needs a file of at least 64 MiB`)
  }
  return stat.size
}

/** Mulberry32: a sequence of numbers in [0, 1) that depends only on the seed. */
function sequence(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
