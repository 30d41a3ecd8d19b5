import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { checkHashes } from './src/hashes.js'
import { createRaftJob } from './src/raft/command.js'

describe('pnpm sim raft --hashes', { timeout: 60_000 }, () => {
  let folder = ''

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hashes-'))
  })

  afterEach(() => rm(folder, { recursive: true }))

  async function run(
    mode: 'compare' | 'write',
    job = createRaftJob({}, { isMinimized: false, isHashed: true })
  ): Promise<{ code: number; lines: string[] }> {
    const lines: string[] = []
    const entry = { file: '', args: [] }
    const file = join(folder, 'raft.txt')
    const code = await checkHashes({ job, entry, file, workers: 1, mode, seeds: 3, print: (line) => lines.push(line) })
    return { code, lines }
  }

  it('the hashes that `--hashes write` writes pass `--hashes compare`, which names each seed whose hash differs', async () => {
    const file = join(folder, 'raft.txt')
    expect(await run('write')).toEqual({ code: 0, lines: [`3 hashes written to ${file}`] })
    expect(await run('compare')).toEqual({ code: 0, lines: ['3 of 3 the same'] })
    const [first, , third] = (await readFile(file, 'utf8')).split('\n')
    await writeFile(file, `${first}\n2 0123456789abcdef\n${third}\n`)
    expect(await run('compare')).toEqual({ code: 1, lines: ['2 of 3 the same', 'different: 2'] })
  })

  it('a seed that fails has no hash: it is named, and nothing is written', async () => {
    const report = { events: 1, virtualMs: 1, hash: '0123456789abcdef', counts: [] }
    const runSeed = (seed: number) => Promise.resolve({ ...report, seed, failure: seed === 2 ? 'broken' : undefined })
    expect(await run('write', { runSeed, onFailure: () => {} })).toEqual({ code: 1, lines: ['failed: 2'] })
    expect(await readdir(folder)).toEqual([])
  })
})
