import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')

function draw(seed: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/draw.mjs', seed], {
    cwd: root,
    encoding: 'utf8'
  })
  expect([status, stderr]).toEqual([0, ''])
  return stdout
}

describe('the draw of rules and sentences', () => {
  it('the draw names the files and lines of ten rules and thirty sentences, which depend on the seed alone', () => {
    const drawn = draw('a')
    const places = [...drawn.matchAll(/^ ?(\d+)\. (.*):(\d+)$/gm)]
    expect(places.map(([, number]) => Number(number))).toEqual([
      ...Array.from({ length: 10 }, (_, i) => i + 1),
      ...Array.from({ length: 30 }, (_, i) => i + 1)
    ])
    for (const [, , path] of places) expect(existsSync(join(root, path!))).toBe(true)
    expect(draw('a')).toBe(drawn)
    expect(draw('b')).not.toBe(drawn)
  }, 60_000)
})
