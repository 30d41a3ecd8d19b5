#!/usr/bin/env node
// Checks that prose is at most 120 columns wide: comments in sources and paragraphs in Markdown. The formatter wraps
// neither. Usage: `prose-width.mjs [FILE…]`, default: all files that git tracks. Exit status 1 if a line is too wide.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const COLUMNS = 120
const SOURCE = /\.[cm]?[jt]s$/
const MARKDOWN = /\.md$/
/** What a fixture expects of the linter stands in a comment on the line that it is about. */
const EXEMPT = /^test\/lint\/fixtures\//

const columnsOf = (line) => Array.from(line).length

/** The width of a line without its URLs, which cannot be wrapped. */
const widthOf = (line) => columnsOf(line.replaceAll(/\b[a-z][a-z+]*:\/\/\S+/g, ''))

/** Numbers of the lines of Markdown that are too wide. Tables and fenced code keep their lines. */
function wideProse(lines) {
  let fence
  return lines.flatMap((line, i) => {
    const mark = /^\s*(```+|~~~+)/.exec(line)?.[1]
    if (mark !== undefined && (fence === undefined || mark.startsWith(fence))) {
      fence = fence === undefined ? mark : undefined
      return []
    }
    if (fence !== undefined || /^\s*\|/.test(line) || widthOf(line) <= COLUMNS) return []
    return [i + 1]
  })
}

/** Numbers of the lines with a comment that are too wide. Lines of code alone are the formatter's. */
function wideComments(lines) {
  let inBlock = false
  return lines.flatMap((line, i) => {
    const isComment = inBlock || /^\s*\/[/*]/.test(line)
    if (inBlock || /^\s*\/\*/.test(line)) inBlock = !line.includes('*/')
    if (!isComment && !hasTrailingComment(line)) return []
    if (/^\s*(\*|\/\/)\s*\|/.test(line) || widthOf(line) <= COLUMNS) return []
    return [i + 1]
  })
}

/** A comment behind code, and not two slashes in a string, a template or a regular expression. */
function hasTrailingComment(line) {
  const code = line.replaceAll(/'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`/g, '')
  return /\s\/\/\s|\s\/\*.*\*\/$/.test(code)
}

function trackedFiles() {
  const root = dirname(dirname(fileURLToPath(import.meta.url)))
  process.chdir(root)
  const { status, stdout } = spawnSync('git', ['ls-files', '-z'], { encoding: 'utf8', maxBuffer: 1 << 26 })
  if (status !== 0) {
    console.log('git lists no files here (not a checkout?): nothing is checked')
    return []
  }
  // A file that was removed and not committed yet is still listed.
  return stdout.split('\0').filter((name) => name !== '' && existsSync(join(root, name)))
}

const names = process.argv.length > 2 ? process.argv.slice(2) : trackedFiles()
let found = 0
for (const name of names.filter((each) => !EXEMPT.test(each))) {
  const wide = MARKDOWN.test(name) ? wideProse : SOURCE.test(name) ? wideComments : undefined
  if (wide === undefined) continue
  const lines = readFileSync(name, 'utf8').split('\n')
  for (const number of wide(lines)) {
    found++
    console.log(`${name}:${number}: ${columnsOf(lines[number - 1])} columns`)
  }
}
if (found > 0) console.log(`${found} lines of prose are wider than ${COLUMNS} columns: wrap them`)
process.exitCode = found > 0 ? 1 : 0
