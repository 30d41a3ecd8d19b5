#!/usr/bin/env node
// Draws ten rules or features and thirty sentences from the tracked files, and prints each with its file and line, so
// that a reader can judge whether a stranger finds the code of each rule, and understands each sentence.
// Usage: `node scripts/draw.mjs [SEED]`; the seed is the hash of HEAD by default. One seed draws the same lines again.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const RULES = 10
const SENTENCES = 30
const COLUMNS = 118
/** Shorter texts say too little to be judged. */
const LEAST_WORDS = 5

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 }).trim()
const seed = process.argv[2] ?? git('rev-parse', 'HEAD')
const files = git('ls-files')
  .split('\n')
  .filter((path) => !path.startsWith('test/lint/fixtures/'))
const read = (path) => readFileSync(join(root, path), 'utf8')

/** A function that draws an index below `count`; each call uses the next number of the seed. */
function createDrawer() {
  let drawn = 0
  return (count) => {
    const digest = createHash('sha256').update(`${seed}:${drawn++}`).digest()
    return Number(digest.readBigUInt64BE() % BigInt(count))
  }
}

const draw = createDrawer()

/** Draws `count` of the items, each at most once, in the order in which they come out. */
function drawSome(items, count) {
  const rest = [...items]
  const some = []
  while (some.length < count && rest.length > 0) some.push(...rest.splice(draw(rest.length), 1))
  return some
}

/** The lines of Markdown outside fenced code, with their numbers and the section that they stand in. */
function* linesOfMarkdown(path) {
  let fenced = false
  let section = ''
  for (const [i, text] of read(path).split('\n').entries()) {
    if (/^\s*```/.test(text)) fenced = !fenced
    else if (!fenced) {
      section = /^#+ (.*)/.exec(text)?.[1] ?? section
      yield { path, line: i + 1, text, section }
    }
  }
}

/** Paragraphs and list items of Markdown, joined to one line each. */
function paragraphsOf(path) {
  const paragraphs = []
  let open
  for (const { line, text, section } of linesOfMarkdown(path)) {
    const isProse = text.trim() !== '' && !/^\s*(\||#)/.test(text)
    const item = /^\s*([-*]|\d+\.)\s+/.exec(text)?.[0]
    if (!isProse || item !== undefined) open = undefined
    if (!isProse) continue
    if (open === undefined) paragraphs.push((open = { path, line, section, item: item?.trim(), text: '' }))
    open.text = `${open.text} ${text.slice(item?.length ?? 0).trim()}`.trim()
  }
  return paragraphs
}

/** Comments of a source, each joined to one line. A comment behind code counts by itself. */
function commentsOf(path) {
  const comments = []
  let open
  let inBlock = false
  for (const [i, text] of read(path).split('\n').entries()) {
    const begins = /^\s*\/\*/.test(text)
    const whole = inBlock || begins || /^\s*\/\//.test(text)
    const behind = whole ? undefined : /[;,{}()\]]\s+\/\/ (.*)$/.exec(text)?.[1]
    if (behind !== undefined) comments.push({ path, line: i + 1, text: behind })
    if (!whole || begins) open = undefined
    if (!whole) continue
    if (open === undefined) comments.push((open = { path, line: i + 1, text: '' }))
    const body = text.replace(/^\s*(\/\*\*?|\*\/|\*|\/\/)\s?/, '').replace(/\*\/\s*$/, '')
    if (/^\s*(@|```)/.test(body)) open = undefined
    else open.text = `${open.text} ${body.trim()}`.trim()
    inBlock = (inBlock || begins) && !text.includes('*/')
    if (!inBlock && (begins || text.includes('*/'))) open = undefined
  }
  return comments
}

/** The texts that `pattern` finds in its first group, with their lines. */
function stringsOf(path, pattern) {
  const text = read(path)
  return [...text.matchAll(pattern)].map((match) => ({
    path,
    line: text.slice(0, match.index).split('\n').length,
    text: match[1] ?? match[2] ?? match[3]
  }))
}

const sentencesOf = ({ text, ...place }) =>
  text
    .split(/(?<=[.!?])\s+(?=[A-Z`*[])/)
    .filter((sentence) => sentence.split(/\s+/).length >= LEAST_WORDS)
    .map((sentence) => ({ ...place, text: sentence }))

const markdown = files.filter((path) => path.endsWith('.md'))
const docs = markdown.filter((path) => path.startsWith('docs/'))
const sources = files.filter((path) => /\.[cm]?[jt]s$/.test(path))
const tests = sources.filter((path) => path.endsWith('.test.ts'))

function rules() {
  const numbered = [...docs, 'README.md']
    .flatMap(paragraphsOf)
    .filter(({ item }) => item !== undefined && /\d/.test(item))
    .map(({ section, item, ...rest }) => ({ ...rest, text: `${section}, ${item} ${rest.text}` }))
  const rows = [...linesOfMarkdown('docs/ARCHITECTURE.md'), ...linesOfMarkdown('packages/cli/README.md')]
    .filter(({ text, section }) => text.startsWith('| ') && /^(Guarantees|Use$)/.test(section))
    .filter(({ text }) => !/^\| (guarantee|command) /.test(text))
  const sections = docs
    .filter((path) => path !== 'docs/ARCHITECTURE.md')
    .flatMap((path) => [...linesOfMarkdown(path)].filter(({ text }) => text.startsWith('##')))
  const calls = [...linesOfMarkdown('packages/dsm-client/README.md')].filter(({ text }) => /^###+ .*\(/.test(text))
  return [numbered, rows, sections, calls]
}

const LITERAL = String.raw`(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|\`([^\`]*)\`)`
const TEST_NAME = new RegExp(String.raw`\b(?:it|describe)(?:\.\w+(?:\([^)\n]*\))?)?\(\s*${LITERAL}`, 'g')
const MESSAGE = new RegExp(String.raw`(?:\bsuper|\bnew \w*Error|\bassert)\((?:[^'"\`;]*?[,(]\s*)?${LITERAL}`, 'g')

function sentences() {
  return [
    markdown.flatMap(paragraphsOf).flatMap(sentencesOf),
    sources.flatMap(commentsOf).flatMap(sentencesOf),
    tests.flatMap((path) => stringsOf(path, TEST_NAME)).flatMap(sentencesOf),
    sources
      .filter((path) => !tests.includes(path))
      .flatMap((path) => stringsOf(path, MESSAGE))
      .flatMap(sentencesOf)
  ]
}

/** Draws from each kind in turn, so that the large kinds do not crowd out the small ones. */
function drawOfKinds(kinds, count) {
  const drawn = kinds.map((items) => drawSome(items, count))
  return Array.from({ length: count }, (_, i) => drawn.flatMap((items) => items[i] ?? []))
    .flat()
    .slice(0, count)
}

function print(title, items) {
  console.log(title)
  for (const [i, { path, line, text }] of items.entries()) {
    console.log(`\n${String(i + 1).padStart(2)}. ${path}:${line}`)
    let row = '   '
    for (const word of text.split(/\s+/)) {
      if (row.length + word.length >= COLUMNS) {
        console.log(row)
        row = '   '
      }
      row += ` ${word}`
    }
    console.log(row)
  }
  console.log()
}

print(`Rules and features, drawn by ${seed}`, drawOfKinds(rules(), RULES))
print('Sentences', drawOfKinds(sentences(), SENTENCES))
