import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const SCRIPT = join(import.meta.dirname, '../../scripts/prose-width.mjs')
const WIDE = `${'word '.repeat(24)}end`
const FITTING = WIDE.slice(0, 100)

let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-prose-'))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The numbers of the lines that the check finds in a file of this name and text. */
function wideLines(name: string, lines: readonly string[]): number[] {
  const file = join(folder, name)
  writeFileSync(file, lines.join('\n'))
  const { status, stdout } = spawnSync(process.execPath, [SCRIPT, file], { encoding: 'utf8' })
  const found = [...stdout.matchAll(/:(\d+): \d+ columns$/gm)].map(([, number]) => Number(number))
  expect(status).toBe(found.length === 0 ? 0 : 1)
  return found
}

describe('the check of the width of prose', () => {
  it('the check of the width of prose finds paragraphs and list items of Markdown that are wider than 120 columns', () => {
    expect(wideLines('a.md', [`# Title`, WIDE, FITTING, `- ${WIDE}`])).toEqual([2, 4])
  })

  it('the check of the width of prose counts columns, not bytes', () => {
    expect(wideLines('a.md', ['é'.repeat(120), 'é'.repeat(121)])).toEqual([2])
  })

  it('the check of the width of prose lets tables, URLs and fenced code of Markdown be wider', () => {
    const link = `[a page](https://example.org/${'x'.repeat(120)})`
    expect(wideLines('a.md', [`| ${WIDE} |`, link, '```sh', WIDE, '```', WIDE])).toEqual([6])
  })

  it('the check of the width of prose does not take a shorter or another fence inside fenced code for its end', () => {
    expect(wideLines('a.md', ['````md', '```', WIDE, '~~~', WIDE, '````', WIDE])).toEqual([7])
  })

  it('the check of the width of prose finds comments of sources on lines that are wider than 120 columns', () => {
    const block = ['/**', ` * ${WIDE}`, ' */', `/** ${WIDE} */`]
    const lines = [`// ${WIDE}`, `const one = 1 // ${WIDE}`, `const two = 2 /* ${WIDE} */`]
    for (const name of ['a.ts', 'a.mjs', 'a.js']) expect(wideLines(name, [...block, ...lines])).toEqual([2, 4, 5, 6, 7])
  })

  it('the check of the width of prose leaves code without a comment to the formatter, also if a string contains two slashes', () => {
    expect(wideLines('a.ts', [`const one = '${WIDE}'`, `const two = 'a // b ${WIDE}'`])).toEqual([])
  })

  it('the check of the width of prose knows where a comment ends', () => {
    expect(wideLines('a.ts', ['/* one', ' * two */', `const three = '${WIDE}'`])).toEqual([])
  })
})
