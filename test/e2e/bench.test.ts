import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const BENCH = join(import.meta.dirname, '../bench/dist/main.js')
let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-bench-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function bench(...args: string[]): Promise<string> {
  const env = { ...process.env, TMPDIR: folder }
  return (await promisify(execFile)(process.execPath, [BENCH, ...args], { env })).stdout
}

function parse(lines: string): Record<string, unknown>[] {
  return lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

// Without redis-server and etcd, the rivals that are missing are named.
describe('the benchmark', () => {
  it.each([
    ['pin-hit,warm-read,first-reads', ['pin-hit', 'warm-read', 'first-reads']],
    ['read-fault,scan,write-fault', ['read-fault', 'scan', 'write-fault']],
    ['fill,commit,log', ['fill', 'put', 'commit', 'log']],
    ['writers,ping-pong,readers,directory', ['writers', 'ping-pong', 'readers', 'directory']]
  ])('the benchmark prints each comparison of %s as one line of JSON', async (names, expected) => {
    const rows = parse(await bench('--smoke', '--rows', names))
    expect(new Set(rows.map(({ row }) => row))).toEqual(new Set(expected))
    for (const row of rows) {
      const fields = ['row', 'metric', 'unit', 'value', 'rival', 'ratio', 'spread', 'target', 'ok', 'missing']
      expect(Object.keys(row)).toEqual(fields)
      if (row.missing !== null) {
        expect(row.missing).toMatch(/^(redis|etcd|etcd get|etcd put|etcd puts): not installed$/)
        continue
      }
      // Only of a reader that has gone may nothing be left.
      const mayBeZero = String(row.metric).includes('has gone')
      const isMeasured = (value: number) => Number.isFinite(value) && (value > 0 || (mayBeZero && value === 0))
      expect(row.value).toSatisfy(isMeasured)
      expect(typeof row.ok).toBe('boolean')
      if (String(row.metric).includes('against')) expect(row.ratio).toBeGreaterThan(0)
    }
  })

  it('the benchmark writes the requested rows to a file, and leaves nothing else behind', async () => {
    const file = join(folder, 'rows.ndjson')
    const [table, chart] = [join(folder, 'rows.md'), join(folder, 'rows.svg')]
    const files = ['--json', file, '--markdown', table, '--chart', chart]
    expect(await bench('--smoke', '--rows', 'read-fault', ...files)).toBe('')
    const rows = parse(await readFile(file, 'utf8'))
    expect(new Set(rows.map(({ row }) => row))).toEqual(new Set(['read-fault']))
    expect(await readFile(table, 'utf8')).toContain('| read-fault | against libp2p |')
    expect(await readFile(chart, 'utf8')).toContain('read-fault: against libp2p')
    expect((await readdir(folder)).sort()).toEqual(['rows.md', 'rows.ndjson', 'rows.svg'])
  })

  it('the benchmark refuses an unknown row', async () => {
    const names =
      'pin-hit, warm-read, first-reads, read-fault, scan, write-fault, fill, writers, commit, log, ping-pong, readers, directory'
    await expect(bench('--rows', 'slow-read')).rejects.toMatchObject({
      code: 2,
      stderr: `there is no row slow-read; the rows are ${names}\n`
    })
  })
})
