import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from './support/cluster.js'

const run = promisify(execFile)
const README = fileURLToPath(new URL('../../README.md', import.meta.url))
const CLIENT_README = fileURLToPath(new URL('../../packages/dsm-client/README.md', import.meta.url))
// Beside this file, so that the packages are found as a program of this workspace finds them.
const HERE = fileURLToPath(new URL('.', import.meta.url))

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Of a program that may fail. */
async function end(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Ended> {
  try {
    return { code: 0, ...(await run(file, args, { env })) }
  } catch (error) {
    const { code, stdout, stderr } = error as Ended
    return { code, stdout, stderr }
  }
}

/** The settings that the README names, and the strictest ones; the libraries' own types are checked as well. */
const TSCONFIG = {
  compilerOptions: {
    target: 'esnext',
    module: 'nodenext',
    lib: ['esnext', 'dom'],
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true
  },
  include: ['*.mts']
}

function compilerOf(name: string): string {
  const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`)
  return join(dirname(manifest), 'bin/tsc')
}

describe('the README', () => {
  let folder: string
  let readme: string
  let example: string
  let usage: string
  let digest: string

  beforeAll(async () => {
    folder = await mkdtemp(join(HERE, 'readme-'))
    readme = await readFile(README, 'utf8')
    const blocks = [readme, await readFile(CLIENT_README, 'utf8')].map((text) =>
      [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code!)
    )
    expect(blocks.map(({ length }) => length)).toEqual([1, 2])
    ;[[example], [usage, digest]] = blocks as [[string], [string, string]]
    expect(example).toContain('createDsmClient')
    expect(digest).toContain('digest')
  })

  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** The example with the second piece where `pinned` is there. */
  function whole(): string {
    const parts = example.split('pinned.release()\n')
    expect(parts).toHaveLength(2)
    return `${parts[0]}${digest}console.log(new Uint8Array(digest).length)\npinned.release()\n${parts[1]}`
  }

  describe.each(['typescript', 'typescript-5.7'])('for a program in TypeScript (%s)', (compiler) => {
    /** Of a strict program. */
    async function check(code: string): Promise<Ended> {
      await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG))
      await writeFile(join(folder, 'usage.mts'), usage)
      await writeFile(join(folder, 'example.mts'), code)
      return end(process.execPath, [compilerOf(compiler), '-p', folder])
    }

    it('the examples of the README have no type error under strict settings', async () => {
      expect(await check(whole())).toEqual({ code: 0, stdout: '', stderr: '' })
    })

    it('the compiler that checks the README finds a type error if there is one', async () => {
      const careless = example.replace("process.env.QUIRE_PEERS ?? ''", "process.env.QUIRE_PEERS.split(',')")
      expect(careless).not.toBe(example)
      const result = await check(careless)
      expect(result.code).not.toBe(0)
      expect(result.stdout).toContain("'process.env.QUIRE_PEERS' is possibly 'undefined'")
    })
  })

  describe('on a real cluster', () => {
    let cluster: TestCluster

    beforeAll(async () => {
      cluster = await startCluster()
    })

    afterAll(() => cluster[Symbol.asyncDispose]())

    async function start(code: string, peers: string | undefined): Promise<Ended> {
      const file = join(folder, 'example.mjs')
      await writeFile(file, code)
      const { QUIRE_PEERS: _, ...env } = process.env
      return end(process.execPath, [file], peers === undefined ? env : { ...env, QUIRE_PEERS: peers })
    }

    it('the embedding example of the README runs as printed, with the lines that `quire dev` prints', async () => {
      for (const [index, between] of [',', '\n'].entries()) {
        expect(await start(example, cluster.addresses.join(between))).toEqual({
          code: 0,
          stdout: `hello ${index + 1}\n`,
          stderr: ''
        })
      }
    })

    it('the command of the README compiles the example as TypeScript, which then runs', async () => {
      const [, tsc, options] = /`(node_modules\/\.bin\/tsc) (.*) visits\.mts && node visits\.mjs`/.exec(readme)!
      const root = dirname(README)
      await writeFile(join(folder, 'visits.mts'), example)
      const compiled = await end(join(root, tsc!), [...options!.split(' '), join(folder, 'visits.mts')])
      expect(compiled).toEqual({ code: 0, stdout: '', stderr: '' })
      const env = { ...process.env, QUIRE_PEERS: cluster.addresses[0] }
      expect(await end(process.execPath, [join(folder, 'visits.mjs')], env)).toMatchObject({ code: 0, stderr: '' })
    })

    it('the comparison of units in the README prints a plain table into a pipe', async () => {
      const units = fileURLToPath(new URL('../../examples/units/dist/main.js', import.meta.url))
      const env = { ...process.env, QUIRE_PEERS: cluster.addresses.join(' ') }
      const { code, stdout, stderr } = await end(process.execPath, [units], env)
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(/ gain .*\n(.*\n)+.* \d+ ms, \d+ faults /)
      expect(stdout).not.toContain('\u001b')
    })

    it('the digest example of the README takes a copy, because shared memory is refused', async () => {
      const peers = cluster.addresses.join(' ')
      expect(await start(whole(), peers)).toMatchObject({ code: 0, stdout: '32\nhello 4\n' })
      const shared = await start(whole().replace('pinned.bytes.slice()', 'pinned.bytes'), peers)
      expect(shared.code).not.toBe(0)
      expect(shared.stderr).toContain('SharedArrayBuffer')
    })

    it('the example of the README names what is missing without QUIRE_PEERS, and what is wrong in it', async () => {
      const [address] = cluster.addresses as [string]
      const undialable = address.replace('127.0.0.1', '0.0.0.0')
      const cases: readonly [peers: string | undefined, named: string][] = [
        [undefined, ''],
        ['', ''],
        [`${address}\nready`, 'ready'],
        [`${address} ${undialable}`, undialable]
      ]
      for (const [peers, named] of cases) {
        const result = await start(example, peers)
        expect(result).toMatchObject({ code: 1, stdout: '' })
        expect(result.stderr).toContain(`InvalidArgumentError: peers is "${named}", must be `)
      }
    })
  })
})
