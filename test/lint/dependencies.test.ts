import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const packages = ['protocol', 'raft', 'net', 'dsm-client', 'store', 'cli'].map((name) => join('packages', name))
const examples = (await readdir(join(root, 'examples'))).map((name) => join('examples', name))
const projects = [...packages, ...examples].filter((path) => existsSync(join(root, path, 'package.json')))

interface Manifest {
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
}

async function sources(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true })
  return names.filter((name) => /\.[cm]?[jt]s$/.test(name)).map((name) => join(folder, name))
}

/** Returns the names of the modules that a file imports or re-exports. `typeOnly` statements vanish in the build. */
function importsOf(text: string): { name: string; typeOnly: boolean }[] {
  const found = []
  const statement = /^\s*(?:import|export)\s+(type\s)?(?:[\w*{][^'"`;]*?\sfrom\s+)?(['"])([^'"]+)\2/gm
  for (const [, type, , name = ''] of text.matchAll(statement)) found.push({ name, typeOnly: type !== undefined })
  for (const [, , name = ''] of text.matchAll(/\bimport\(\s*(['"])([^'"]+)\1/g)) found.push({ name, typeOnly: false })
  return found
}

const packageOf = (name: string): string =>
  name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/')

describe.each(projects)('%s', (project) => {
  it('each package imports only its own files and what its package.json declares', async () => {
    const folder = join(root, project)
    const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest
    const runtime = new Set(Object.keys(manifest.dependencies ?? {}))
    const types = new Set([...runtime, ...Object.keys(manifest.devDependencies ?? {})])
    const offences: string[] = []
    for (const file of await sources(join(folder, 'src'))) {
      for (const { name, typeOnly } of importsOf(await readFile(file, 'utf8'))) {
        const declared = name.startsWith('.')
          ? !relative(join(folder, 'src'), resolve(file, '..', name)).startsWith('..')
          : isBuiltin(name) || (typeOnly ? types : runtime).has(packageOf(name))
        if (!declared) offences.push(`${relative(root, file)} imports ${name}`)
      }
    }
    expect(offences).toEqual([])
  })
})

it('the scan for imports finds every form of import', () => {
  const text = [
    "import 'a'",
    "import b from 'b'",
    "import {\n  c,\n  d\n} from '@scope/c/deep'",
    "import * as e from 'e'",
    "export * from 'f'",
    "export type { g } from 'g'",
    "const h = await import('h')",
    "import type { I } from 'i'",
    "export const notAnImport = 'j'"
  ].join('\n')
  expect(
    importsOf(text)
      .map(({ name }) => name)
      .sort()
  ).toEqual(['@scope/c/deep', 'a', 'b', 'e', 'f', 'g', 'h', 'i'])
  expect(
    importsOf(text)
      .filter(({ typeOnly }) => typeOnly)
      .map(({ name }) => name)
  ).toEqual(['g', 'i'])
  expect(packageOf('@scope/c/deep')).toBe('@scope/c')
})
