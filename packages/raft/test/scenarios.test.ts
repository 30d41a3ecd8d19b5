import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SCENARIOS } from './support/scenarios.js'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const SKIPPED = ['node_modules', 'dist', '.git']

/** All sources of tests: tests, the suites that packages export, the simulation, and the golden scripts. */
function sourcesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return SKIPPED.includes(entry.name) ? [] : sourcesBelow(path)
    return /\.(ts|txt)$/.test(entry.name) && entry.name !== 'scenarios.ts' ? [path] : []
  })
}

describe('the scenarios of Raft', () => {
  const texts = [...sourcesBelow(join(ROOT, 'packages')), ...sourcesBelow(join(ROOT, 'test'))].map((path) =>
    readFileSync(path, 'utf8')
  )

  it.each(SCENARIOS.map((name, i) => `${i + 1} ${name}`))('a test is named: %s', (name) => {
    // The name is the title of a golden script, or a string in quotes.
    const isThere = texts.some(
      (text) => text.startsWith(`# ${name}\n`) || new RegExp(`['"\`]${escaped(name)}['"\`]`).test(text)
    )
    expect(isThere).toBe(true)
  })

  it('have unique numbers, and every golden script has the number and name of a scenario', () => {
    const titles = texts.flatMap((text) => /^# (\d+ .*)\n/.exec(text)?.[1] ?? [])
    const names = SCENARIOS.map((name, i) => `${i + 1} ${name}`)
    expect(titles.filter((title) => !names.includes(title))).toEqual([])
    expect(new Set(titles).size).toBe(titles.length)
  })
})

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
