import { execFile } from 'node:child_process'
import type * as Fs from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { NoSpaceError } from '@quire/protocol'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createSegmentedLog, SECTOR_BYTES, type RaftLog } from '../src/index.js'
import { createNodeDisk } from '../src/node-disk.js'
import { contentOf, entries, entry } from './support/log-model.js'

const create = { bootstrap: { voters: ['a'], learners: [], context: new Uint8Array(0) } }
let directory: string
/** The most bytes that the kernel takes in one write. */
let maxWriteBytes = Infinity

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof Fs>()
  type Callback = (error: Error | null, count: number) => void
  const write = (fd: number, data: Uint8Array, at: number, length: number, position: number, done: Callback): void =>
    fs.write(fd, data, at, Math.min(length, maxWriteBytes), position, done)
  return { ...fs, write }
})

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quire-raft-'))
})
afterEach(() => {
  maxWriteBytes = Infinity
  return rm(directory, { recursive: true, force: true })
})

function open(): Promise<RaftLog> {
  return createSegmentedLog({ disk: createNodeDisk(directory), segmentBytes: 32 * 1024, cacheBytes: 1000, create })
}

describe('logs on the file system', () => {
  it('a log keeps appended entries over a restart, in several segments', async () => {
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

  it('a log is refused at once, with the path, if something else takes the place of one of its files', async () => {
    await (await open()).close()
    const segment = (await readdir(directory)).find((name) => name.endsWith('.log'))!
    const others: [what: string, make: (at: string) => Promise<unknown>][] = [
      ['a folder', (at) => mkdir(at)],
      ['a named pipe', (at) => promisify(execFile)('mkfifo', [at])],
      ['a device', (at) => symlink('/dev/null', at)],
      ['a symbolic link that leads nowhere', (at) => symlink(join(directory, 'nowhere'), at)]
    ]
    for (const name of [segment, 'hard-state', 'spare.tmp']) {
      const file = join(directory, name)
      const kept = `${file}.kept`
      if (name !== 'spare.tmp') await rename(file, kept)
      for (const [what, make] of others) {
        await make(file)
        // The start removes the prepared next file, whatever it is, unless it is a folder.
        if (name === 'spare.tmp' && what !== 'a folder') await (await open()).close()
        else {
          const message = `${file}: damaged: ${what} stands in place of the file; put the peer's own file back`
          await expect(open(), what).rejects.toMatchObject({ name: 'CorruptionError', message })
        }
        await rm(file, { recursive: true, force: true })
      }
      if (name !== 'spare.tmp') await rename(kept, file)
    }
    await (await open()).close()
  })

  it('a log goes on where a process was killed in the middle of making a segment', async () => {
    const log = await open()
    await log.append({ entries: entries(2, 10, 1) })
    await log.close()
    await (await createNodeDisk(directory).create('spare.tmp', 512)).close()
    const again = await open()
    expect(again.lastIndex).toBe(10)
    await again.close()
    expect((await readdir(directory)).sort()).toEqual(['0000000001-00000000000001.log', 'hard-state'])
  })

  it.each([0, 100, SECTOR_BYTES])(
    'a log starts where a process was killed in its first start, with %i bytes of the reserve',
    async (bytes) => {
      await writeFile(join(directory, 'hard-state'), new Uint8Array(bytes))
      const log = await open()
      expect((await stat(join(directory, 'hard-state'))).size).toBe(SECTOR_BYTES)
      expect(log.lastIndex).toBe(1)
      await log.close()
    }
  )

  it('a log allocates each segment completely, so that an append takes one data flush', async () => {
    const log = await open()
    const { size, blocks } = await stat(join(directory, '0000000001-00000000000001.log'))
    expect(size).toBe(32 * 1024)
    expect(blocks * 512).toBeGreaterThanOrEqual(size)
    await log.close()
  })
})

describe('a log in a process with few file descriptors', () => {
  it('a log writes, reads and recovers 100 segments with 8 free descriptors, and keeps hard states with none', async () => {
    const child = fileURLToPath(new URL('children/descriptors.mjs', import.meta.url))
    // Node raises the soft limit to the hard limit, so the test sets both.
    const script = 'ulimit -n 64 && exec "$0" "$@"'
    const args = ['-c', script, process.execPath, child, directory, '100', '8']
    const { stdout } = await promisify(execFile)('sh', args)
    const result = JSON.parse(stdout) as Record<string, unknown>
    expect(result).toMatchObject({
      leaked: 0,
      unreadable: 0,
      readable: 1,
      voted: 1,
      appended: 10,
      full: 'LogFullError'
    })
    expect(result['recovered']).toBe(result['lastIndex'])
    // After a recovery only the segment that is written and the reserve for the hard state are open.
    expect(result['held']).toBe(2)
    expect(result['reports']).toEqual([
      expect.stringMatching(/spare\.tmp: no file descriptor is left \(EMFILE\)/),
      'over'
    ])
  }, 60_000)
})

describe('files on the real disk', () => {
  it('a file is written completely if the kernel takes less at once', async () => {
    maxWriteBytes = 700
    const file = await createNodeDisk(directory).create('file', 8192)
    const data = Uint8Array.from({ length: 4096 }, (_, i) => i * 7)
    await file.write(1024, data)
    expect(file.read(1024, 4096)).toEqual(data)
    expect(file.read(0, 1024)).toEqual(new Uint8Array(1024))
    await file.close()
  })

  it('a write to a file runs out of space if the kernel takes nothing', async () => {
    const file = await createNodeDisk(directory).create('file', 8192)
    maxWriteBytes = 0
    await expect(file.write(0, new Uint8Array(512))).rejects.toThrow(NoSpaceError)
    await file.close()
  })

  it('a file can be removed again after it was removed', async () => {
    const disk = createNodeDisk(directory)
    await disk.remove('file')
    await (await disk.create('file', 512)).close()
    await disk.remove('file')
    expect(await disk.list()).toEqual([])
  })
})
