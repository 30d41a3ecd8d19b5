import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

interface Report {
  diagnostics: { message: string; help?: string; filename: string; labels: { span: { line: number } }[] }[]
}

const root = join(import.meta.dirname, '../..')
const fixtures = join(import.meta.dirname, 'fixtures')
const files = (await readdir(fixtures, { recursive: true })).filter((name) => name.endsWith('.ts')).sort()
let tree = ''
let found: Map<string, string[]>

/** Lints a copy of the fixtures with the project's own configuration, in a tree of the same shape. */
async function lint(): Promise<Report> {
  await cp(fixtures, tree, { recursive: true })
  await cp(join(root, '.oxlintrc.json'), join(tree, '.oxlintrc.json'))
  // oxlint looks for its type-aware half in the tree that it lints and in PATH.
  const bin = join(root, 'node_modules/.bin')
  const env = { ...process.env, PATH: [bin, process.env.PATH].join(delimiter) }
  try {
    await promisify(execFile)(join(bin, 'oxlint'), ['--type-aware', '--format=json'], {
      cwd: tree,
      env,
      maxBuffer: 1 << 24
    })
  } catch (error) {
    return JSON.parse((error as { stdout: string }).stdout) as Report
  }
  throw new Error('the linter found nothing')
}

beforeAll(async () => {
  tree = await mkdtemp(join(tmpdir(), 'quire-lint-'))
  found = new Map()
  for (const { message, help, filename, labels } of (await lint()).diagnostics) {
    const at = `${filename}:${labels[0]?.span.line}`
    found.set(at, [...(found.get(at) ?? []), [message, help].join(' ')])
  }
})

afterAll(() => rm(tree, { recursive: true, force: true }))

describe('the lint rules', () => {
  it.each(files)('the lint rules report what the comments in %s expect, and nothing else', async (file) => {
    const lines = (await readFile(join(fixtures, file), 'utf8')).split('\n')
    for (const [index, line] of lines.entries()) {
      const expected = line
        .split('// expect: ')
        .slice(1)
        .map((text) => text.trim())
      const actual = [...(found.get(`${file}:${index + 1}`) ?? [])]
      const where = `${file}:${index + 1} ${JSON.stringify(actual)}`
      expect(actual, where).toHaveLength(expected.length)
      for (const text of expected)
        expect(
          actual.some((message) => message.includes(text)),
          `${where} ${text}`
        ).toBe(true)
    }
  })

  it('the lint rules cover the clock, random numbers, IO and every forbidden direction', async () => {
    const text = (await Promise.all(files.map((file) => readFile(join(fixtures, file), 'utf8')))).join('\n')
    expect(text.split('// expect: ').length).toBeGreaterThan(50)
  })
})
