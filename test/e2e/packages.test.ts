import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  ROOT,
  SET_UP_TIMEOUT_MS,
  embeddingExample,
  end,
  installTarballs,
  type PackedProject
} from './support/packed.js'

interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly license: string
  readonly keywords: readonly string[]
  readonly repository: { readonly directory: string }
  readonly engines: { readonly node: string }
  readonly devDependencies: Record<string, string>
}

async function readManifest(...path: string[]): Promise<Manifest> {
  return JSON.parse(await readFile(join(...path, 'package.json'), 'utf8')) as Manifest
}

/** The file of a package's command, beside its manifest. */
function commandOf(name: string, file: string): string {
  return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), file)
}

const TSC = commandOf('typescript', 'bin/tsc')
const ATTW = commandOf('@arethetypeswrong/cli', 'dist/index.js')

/** Packages whose README begins with a whole program. That of `@quire/raft` leaves the transport to the reader. */
const WITH_PROGRAM = ['protocol', 'net', 'store', 'dsm-client']

/** The settings that the README names, for each of the two kinds of module resolution. */
const RESOLUTIONS = {
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' }
}

describe('the packages, packed and installed with npm into an empty project', () => {
  let project: PackedProject
  let example: string

  beforeAll(async () => {
    const { devDependencies } = await readManifest(ROOT)
    project = await installTarballs({ '@types/node': devDependencies['@types/node']! })
    example = await embeddingExample(join(ROOT, 'README.md'))
  }, SET_UP_TIMEOUT_MS)

  afterAll(() => project?.[Symbol.asyncDispose]())

  it('the packed packages are all but the private ones, and npm takes them from the tarballs even if a registry offers their names', async () => {
    const manifests = await Promise.all(
      (await readdir(join(ROOT, 'packages'))).map((name) => readManifest(ROOT, 'packages', name))
    )
    const published = manifests.filter((manifest) => manifest.private !== true).map(({ name }) => name)
    expect(project.packages.toSorted()).toEqual(published.toSorted())
    expect(project.fetched).toEqual([])
    const lock = await readFile(join(project.folder, 'package-lock.json'), 'utf8')
    const { packages } = JSON.parse(lock) as { packages: Record<string, { resolved: string }> }
    for (const name of published) expect(packages[`node_modules/${name}`]!.resolved).toMatch(/^file:/)
  })

  it('the packed packages have a README, both licenses, and a manifest without `workspace:`', async () => {
    for (const name of project.packages) {
      const folder = join(project.folder, 'node_modules', name)
      for (const license of ['LICENSE-APACHE', 'LICENSE-MIT']) {
        expect(await readFile(join(folder, license), 'utf8')).toBe(await readFile(join(ROOT, license), 'utf8'))
      }
      expect(await readFile(join(folder, 'README.md'), 'utf8')).toMatch(new RegExp(`^# ${name}\n`))
      expect(await readFile(join(folder, 'package.json'), 'utf8')).not.toContain('workspace:')
      expect(await readManifest(folder)).toMatchObject({
        license: 'Apache-2.0 OR MIT',
        keywords: expect.arrayContaining(['quire']) as unknown,
        repository: { directory: `packages/${name.replace('@quire/', '')}` },
        engines: { node: '>=20.19' }
      })
    }
  })

  it('publint finds nothing in the packed packages', async () => {
    const said: string[] = []
    for (const path of project.tarballs) {
      const tarball = new Uint8Array(await readFile(path)).buffer
      const { messages, pkg } = await publint({ pack: { tarball }, strict: true })
      said.push(...messages.map((message) => `${String(pkg.name)}: ${formatMessage(message, pkg, { color: false })}`))
    }
    expect(said).toEqual([])
  })

  it('the types of the packed packages resolve in every ESM resolution (attw)', async () => {
    const results = await Promise.all(
      project.tarballs.map((path) => end(process.execPath, [ATTW, '--profile', 'esm-only', '--format', 'ascii', path]))
    )
    for (const { code, stdout, stderr } of results) expect([code, code === 0 ? '' : stdout + stderr]).toEqual([0, ''])
  })

  it.each(Object.entries(RESOLUTIONS))(
    'the examples of the READMEs type-check against the installed packages under %s',
    async (name, resolution) => {
      const compilerOptions = {
        ...resolution,
        target: 'esnext',
        lib: ['esnext', 'dom'],
        types: ['node'],
        strict: true,
        skipLibCheck: false,
        noEmit: true
      }
      const folder = join(project.folder, name)
      await mkdir(folder)
      await writeFile(join(folder, 'root.mts'), example)
      for (const each of WITH_PROGRAM) {
        await writeFile(join(folder, `${each}.mts`), await embeddingExample(join(ROOT, 'packages', each, 'README.md')))
      }
      await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts'] }))
      const checked = await project.run(process.execPath, [TSC, '-p', folder])
      expect(checked).toEqual({ code: 0, stdout: '', stderr: '' })
    }
  )

  it('the example of the README runs as JavaScript against a cluster of the installed command', async () => {
    const addresses = await project.startCluster()
    expect(addresses).toHaveLength(3)
    await writeFile(join(project.folder, 'visits.mjs'), example)
    const ran = await project.run(process.execPath, ['visits.mjs'], { QUIRE_PEERS: addresses.join(' ') })
    expect(ran).toEqual({ code: 0, stdout: 'hello 1\n', stderr: '' })
  })
})
