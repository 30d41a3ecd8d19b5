import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const tracked = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' }).trim().split('\n')
/** Every tracked path, whole and from each of its later folders on. */
const tails = new Set(tracked.flatMap((path) => path.split('/').map((_, from, parts) => parts.slice(from).join('/'))))

/** The name of a source, script or document, with any of the folders that it is in, and with patterns of a shell. */
const NAME = /(?<![\w./*{},@-])[\w.*{},-][\w./*{},@-]*\.(?:[cm]?[jt]s|md|json)\b(?![\w-]*[/(])/g
/** The target of a link in Markdown to a file of the repository. */
const LINK = /\]\((?!https?:|#)([^)#\s]+)/g
/** Names of files that a reader or a peer writes, and of a product. */
const UNTRACKED = new Set([
  'visits.mjs',
  'visits.mts',
  'cluster.json',
  'files.json',
  'identity.json',
  'join.json',
  'listen.json',
  'Node.js'
])

/** Every name that the braces of `name` stand for. */
function namesOf(name: string): string[] {
  const braces = /^([^{]*)\{([^{}]*)\}(.*)$/.exec(name)
  if (braces === null) return [name]
  const [, before = '', choices = '', after = ''] = braces
  return choices.split(',').flatMap((choice) => namesOf(before + choice + after))
}

/** Whether a tracked path ends with `name`. A built file counts as its source. */
function isTracked(name: string): boolean {
  const tail = name.replace(/^(?:\.\.?\/)+/, '').replace(/\bdist\/(.*)\.js$/, 'src/$1.ts')
  if (!tail.includes('*')) return tails.has(tail)
  const pattern = tail
    .replaceAll('.', String.raw`\.`)
    .replaceAll(/\*\*\/|\*/g, (stars) => (stars === '*' ? '[^/]*' : '(?:.*/)?'))
  const matches = new RegExp(`^${pattern}$`)
  return [...tails].some((path) => matches.test(path))
}

/** The comments of a source, or all of a document. */
function proseOf(path: string, text: string): string {
  if (path.endsWith('.md')) return text
  return Array.from(text.matchAll(/\/\*[^]*?\*\/|(?<!\S)\/\/.*/g), ([comment]) => comment).join('\n')
}

/** The files that a document or the comments of a source name, and the repository does not have. */
function missingIn(path: string, text: string): string[] {
  const prose = proseOf(path, text)
  const names = Array.from(prose.matchAll(NAME), ([name]) => name).flatMap(namesOf)
  const links = path.endsWith('.md') ? Array.from(prose.matchAll(LINK), ([, target]) => target!) : []
  return [
    ...names.filter((name) => !UNTRACKED.has(name) && !isTracked(name)),
    ...links.filter((target) => !tracked.includes(normalize(join(dirname(path), target))))
  ]
}

it('every file that a document or a comment names is in the repository', () => {
  // This file names missing files on purpose.
  const readers = tracked.filter((path) => /\.(?:[cm]?[jt]s|md)$/.test(path) && path !== 'test/lint/paths.test.ts')
  const missing = readers.flatMap((path) =>
    missingIn(path, readFileSync(join(root, path), 'utf8')).map((name) => `${path}: ${name}`)
  )
  expect(missing).toEqual([])
})

it.each([
  ['a bare name', 'docs/a.md', 'See `lint.test.ts` and `lost.ts`.', 'lost.ts'],
  ['a name with its folder', 'docs/a.md', 'See `lint/lint.test.ts` and `lint/lost.ts`.', 'lint/lost.ts'],
  ['a whole path', 'docs/a.md', 'See test/lint/lint.test.ts and test/lint/lost.md.', 'test/lint/lost.md'],
  ['braces', 'docs/a.md', '`test/lint/{lint,lost}.test.ts`', 'test/lint/lost.test.ts'],
  ['a star', 'docs/a.md', '`lint/li*.test.ts`, `test/**/lint.test.ts`, `lint/lost-*.mjs`', 'lint/lost-*.mjs'],
  ['a built file', 'docs/a.md', '`node test/sim/dist/main.js`, `node test/sim/dist/lost.js`', 'test/sim/dist/lost.js'],
  ['a link', 'docs/a.md', '[a](../README.md), [lost](README.md)', 'README.md'],
  ['a block comment', 'a.ts', "import './lost-code.ts'\n/**\n * | rule | `lint.test.ts`, `lost.ts` |\n */", 'lost.ts'],
  ['a line comment', 'a.mjs', "import './lost-code.mjs' // see lint.test.ts, lost.ts", 'lost.ts']
])('the check of file names finds a missing file: %s', (_kind, path, text, missing) => {
  expect(missingIn(path, text)).toEqual([missing])
})
