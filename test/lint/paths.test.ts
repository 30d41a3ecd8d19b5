import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
/** A path of a source, script or document. Built files and patterns with `*` are none. */
const PATH = /(?<![\w./-])(?:\.\.?\/)*(?:packages|test|scripts|examples|docs)\/[\w./-]+\.(?:[cm]?[jt]s|md|json)\b/g

it('every file that a document names exists', async () => {
  const documents = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n')
  const missing: string[] = []
  let found = 0
  for (const document of documents) {
    for (const [path] of (await readFile(join(root, document), 'utf8')).matchAll(PATH)) {
      if (path.includes('/dist/')) continue
      found++
      const isThere = [root, dirname(join(root, document))].some((from) => existsSync(join(from, path)))
      if (!isThere) missing.push(`${document}: ${path}`)
    }
  }
  expect(found).toBeGreaterThan(20)
  expect(missing).toEqual([])
})
