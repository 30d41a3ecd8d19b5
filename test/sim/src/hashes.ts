/**
 * `pnpm sim NAME --hashes`: compares what fixed seeds do with hashes in a file beside the simulator. A change of
 * structure, names or prose leaves every hash as it is. A hash that differs shows that behavior has changed.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { runSeeds, type Job, type Report, type WorkerEntry } from './runner.js'

/** The seeds are 1 to this number. */
export const HASHED_SEEDS = 60

interface HashesInit {
  readonly job: Job
  readonly entry: WorkerEntry
  /** One line per seed: the seed and its hash. */
  readonly file: string
  readonly workers: number
  readonly mode: 'compare' | 'write'
  readonly seeds?: number
  readonly print?: (line: string) => void
}

/** Returns the exit code: 1 if a hash differs, or a seed fails. */
export async function checkHashes(init: HashesInit): Promise<number> {
  const { file, mode, seeds = HASHED_SEEDS, print = console.log } = init
  const { hashes, failed } = await hashSeeds(init, seeds)
  if (failed.length > 0) {
    print(`failed: ${failed.join(' ')}`)
    return 1
  }
  if (mode === 'write') {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, hashes.map((hash, i) => `${i + 1} ${hash}\n`).join(''))
    print(`${seeds} hashes written to ${file}`)
    return 0
  }
  const expected = await readHashes(file)
  const different = hashes.flatMap((hash, i) => (expected.get(i + 1) === hash ? [] : [i + 1]))
  print(`${seeds - different.length} of ${seeds} the same`)
  if (different.length > 0) print(`different: ${different.join(' ')}`)
  return different.length > 0 ? 1 : 0
}

async function hashSeeds(
  { job, entry, workers }: HashesInit,
  seeds: number
): Promise<{ readonly hashes: string[]; readonly failed: number[] }> {
  const hashes: string[] = []
  const failed: number[] = []
  let next = 1
  const take = (): number | undefined => (next <= seeds ? next++ : undefined)
  const report = ({ seed, hash, failure }: Report): void => {
    hashes[seed - 1] = hash!
    if (failure !== undefined) failed.push(seed)
  }
  await runSeeds(job, workers, entry, { take, report })
  return { hashes, failed }
}

async function readHashes(file: string): Promise<ReadonlyMap<number, string>> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '')
  return new Map(lines.map((line) => [Number(line.split(' ')[0]), line.split(' ')[1]!]))
}
