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

describe('the benchmark', () => {
  it('the benchmark prints each metric of each row as one line of JSON, against the bare round trip', async () => {
    const rows = parse(await bench('--smoke'))
    const metrics = ['p50', 'p99'].flatMap((p) => [
      p,
      ...['queue', 'wire', 'flush', 'apply', 'commit'].map((s) => `${s}.${p}`)
    ])
    expect(rows.map(({ row, metric }) => `${String(row)} ${String(metric)}`).sort()).toEqual(
      [
        ...['cold-read-fault', 'first-write-fault', 'ping-pong-handoff'].flatMap((row) =>
          metrics.map((m) => `${row} ${m}`)
        ),
        'ping-pong-handoff rate',
        'sequential-read rate.p50',
        'sequential-flush rate.p50'
      ].sort()
    )
    for (const row of rows) {
      expect(Object.keys(row)).toEqual(['row', 'metric', 'unit', 'value', 'rival', 'ratio', 'target', 'ok', 'missing'])
      expect(row).toMatchObject({ value: expect.any(Number), missing: null })
      expect(row.value).toSatisfy((value: number) => Number.isFinite(value) && value >= 0)
      if (row.metric === 'p50' || row.metric === 'p99') {
        expect(row.rival).toBeGreaterThan(0)
        expect(row.ratio).toBeGreaterThan(0)
      }
    }
  })

  it('the benchmark writes the requested rows to a file, and leaves nothing else behind', async () => {
    const file = join(folder, 'rows.ndjson')
    expect(await bench('--smoke', '--rows', 'cold-read-fault', '--json', file)).toBe('')
    const rows = parse(await readFile(file, 'utf8'))
    expect(new Set(rows.map(({ row }) => row))).toEqual(new Set(['cold-read-fault']))
    expect(await readdir(folder)).toEqual(['rows.ndjson'])
  })

  it('the benchmark refuses an unknown row', async () => {
    await expect(bench('--rows', 'warm-read')).rejects.toMatchObject({
      code: 2,
      stderr:
        'there is no row warm-read; the rows are cold-read-fault, first-write-fault, ping-pong-handoff, sequential-read, sequential-flush\n'
    })
  })
})
