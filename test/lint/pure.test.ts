import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const cores = [
  'packages/protocol/tsconfig.json',
  'packages/raft/tsconfig.core.json',
  'packages/store/tsconfig.core.json',
  'packages/dsm-client/tsconfig.core.json'
]
const impure = [
  'Buffer',
  'process',
  'setTimeout',
  'queueMicrotask',
  'performance',
  'console',
  'fetch',
  'window',
  'crypto'
]

let folder = ''

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-pure-'))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

function tsc(...args: string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(join(root, 'node_modules/.bin/tsc'), args, { cwd: folder, maxBuffer: 1 << 24 }, (_, stdout) =>
      resolve(stdout)
    )
  })
}

/** Compiles a program that names Node's and the DOM's globals, under the options of another project. */
async function compileUnder(config: string): Promise<string> {
  const packageFolder = join(root, config, '..')
  const source = join(folder, 'impure.ts')
  const project = join(folder, 'tsconfig.json')
  await symlink(join(packageFolder, 'node_modules'), join(folder, 'node_modules'))
  try {
    // The modules that a core may import must not bring those types in either.
    const { dependencies } = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const imports = ['uint8arrays', '@quire/protocol'].filter((name) => name in dependencies)
    await writeFile(
      source,
      `${imports.map((name) => `import '${name}'\n`).join('')}import 'node:fs'\nexport const used = [${impure.join(', ')}]\n`
    )
    const compilerOptions = {
      noEmit: true,
      composite: false,
      rootDir: folder,
      typeRoots: [join(root, 'node_modules/@types')]
    }
    const options = {
      extends: join(root, config),
      compilerOptions,
      include: ['impure.ts'],
      exclude: [],
      references: []
    }
    await writeFile(project, JSON.stringify(options))
    return await tsc('-p', project)
  } finally {
    await rm(join(folder, 'node_modules'))
  }
}

describe.each(cores)('%s', (config) => {
  it('a pure core compiles without the types of Node and of the DOM', async () => {
    const loaded = (await tsc('-p', join(root, config), '--listFilesOnly')).split('\n')
    expect(loaded.some((file) => file.endsWith('/lib.es2023.d.ts'))).toBe(true)
    expect(loaded.filter((file) => /@types[/+]|lib\.dom|undici-types/.test(file))).toEqual([])
  })

  it('a pure core refuses the globals and modules of Node and of the DOM', async () => {
    const errors = await compileUnder(config)
    for (const name of [...impure, 'node:fs']) expect(errors).toMatch(new RegExp(`impure.ts.*'${name}'`))
    expect(errors).not.toMatch(/uint8arrays|@quire/)
  })
})

describe('packages/net/tsconfig.portable.json', () => {
  const config = 'packages/net/tsconfig.portable.json'

  it('the portable part of net compiles without the types of Node and of a page', async () => {
    const loaded = (await tsc('-p', join(root, config), '--listFilesOnly')).split('\n')
    expect(loaded.some((file) => file.endsWith('/lib.webworker.d.ts'))).toBe(true)
    expect(loaded.filter((file) => /@types[/+]|lib\.dom\.d|undici-types/.test(file))).toEqual([])
  })

  it('the portable part of net refuses the globals that only Node or only a page has, and accepts those of both', async () => {
    const errors = await compileUnder(config)
    for (const name of ['Buffer', 'process', 'window', 'node:fs']) {
      expect(errors).toMatch(new RegExp(`impure.ts.*'${name}'`))
    }
    expect(errors).not.toMatch(/'(setTimeout|queueMicrotask|performance)'/)
  })
})

it('the other projects have the types of Node, so the check above can fail', async () => {
  const errors = await compileUnder('packages/raft/tsconfig.json')
  expect(errors).toMatch("'window'")
  expect(errors).not.toMatch(/'(Buffer|process|setTimeout|node:fs)'/)
})
