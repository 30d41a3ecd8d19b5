import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSegmentedLog, type RaftLog } from '../src/index.js'
import { createNodeDisk } from '../src/node-disk.js'
import { contentOf, entries, entry } from './support/log-model.js'

const create = { bootstrap: { voters: ['a'], learners: [], context: new Uint8Array(0) } }
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quire-raft-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

function open(): Promise<RaftLog> {
  return createSegmentedLog({ disk: createNodeDisk(directory), segmentBytes: 32 * 1024, cacheBytes: 1000, create })
}

describe('a log on the file system', () => {
  it('keeps what was appended over a restart, in several segments', async () => {
    const log = await open()
    await log.append({ hardState: { term: 3, vote: 'a', commit: 1 }, entries: entries(2, 10, 3) })
    for (let i = 11; i <= 200; i++) await log.append({ entries: [entry(i, 3)] })
    const before = contentOf(log)
    await log.close()
    const again = await open()
    expect(contentOf(again)).toEqual(before)
    expect(again.lastIndex).toBe(200)
    await again.close()
    expect((await readdir(directory)).filter((name) => name.endsWith('.log')).length).toBeGreaterThan(1)
  })

  it('goes on where a process was killed in the middle of making a segment', async () => {
    const log = await open()
    await log.append({ entries: entries(2, 10, 1) })
    await log.close()
    await createNodeDisk(directory).create('spare.tmp', 512)
    const again = await open()
    expect(again.lastIndex).toBe(10)
    await again.close()
    expect(await readdir(directory)).toEqual(['0000000001-00000000000001.log'])
  })

  it('allocates a segment whole, so that an append is one data flush', async () => {
    const log = await open()
    const { size, blocks } = await stat(join(directory, '0000000001-00000000000001.log'))
    expect(size).toBe(32 * 1024)
    expect(blocks * 512).toBeGreaterThanOrEqual(size)
    await log.close()
  })
})
