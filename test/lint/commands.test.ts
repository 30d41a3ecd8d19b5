import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const SKIPPED = new Set(['node_modules', 'dist', '.git', 'fixtures'])
const READ = /\.(md|json|[cm]?[jt]s|ya?ml|sh)$/

/** Commands that look up a package in the registry by its bare name, and run or install it. */
const RUNNER = String.raw`(?:npx|pnpx|bunx|npm (?:exec|x|i|install|add)|pnpm (?:dlx|exec|add)|yarn (?:dlx|add|exec))`
const UNSAFE = new RegExp(String.raw`\b${RUNNER}(?:\s+-{1,2}\S*)*\s+(?:@quire/[\w-]+|quire)(?![\w/-])`)

async function* textsIn(folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (SKIPPED.has(entry.name)) continue
    const path = join(folder, entry.name)
    if (entry.isDirectory()) yield* textsIn(path)
    else if (entry.isFile() && READ.test(entry.name)) yield path
  }
}

/** Runs a shell script that can ask no package registry but `registry`. */
async function sh(script: string, cwd: string, registry: string, cache: string): Promise<number | null> {
  const env = {
    ...process.env,
    npm_config_registry: registry,
    npm_config_cache: cache,
    npm_config_fetch_retries: '0',
    npm_config_update_notifier: 'false'
  }
  const child = spawn('sh', ['-c', script], { cwd, env, stdio: 'ignore' })
  await once(child, 'close')
  return child.exitCode
}

const BENCH = ['main', 'failover-main', 'endurance-main'].map((name) => `bench/dist/${name}.js`)

describe.each([...BENCH, 'sim/dist/main.js'])('the command of test/%s', (file) => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, 'test', file), ...args], { encoding: 'utf8' })

  it('a command of the tests prints its usage on stdout if asked, and on stderr for an unknown option', () => {
    const usage = expect.stringMatching(/^usage: pnpm \w+ [^]*--/) as string
    expect(run('--help')).toMatchObject({ status: 0, stdout: usage, stderr: '' })
    expect(run('--no-such-option')).toMatchObject({ status: 2, stdout: '', stderr: usage })
  }, 60_000)
})

describe('the command quire', () => {
  it('the command quire is never run by a package runner in documents, help texts, examples or comments', async () => {
    for (const unsafe of [
      'npx quire dev',
      'npx --no-install quire',
      'npm exec --no -- quire',
      'pnpm dlx @quire/store'
    ]) {
      expect(unsafe).toMatch(UNSAFE)
    }
    const found: string[] = []
    for await (const path of textsIn(root)) {
      if (path === import.meta.filename) continue
      for (const [i, line] of (await readFile(path, 'utf8')).split('\n').entries()) {
        if (UNSAFE.test(line)) found.push(`${relative(root, path)}:${i + 1}: ${line.trim()}`)
      }
    }
    expect(found).toEqual([])
  })

  it('the command quire is run by its path in the README, which works in the checkout and never asks a registry elsewhere', async () => {
    const readme = await readFile(join(root, 'README.md'), 'utf8')
    const alias = /^alias quire=.*$/m.exec(readme)?.[0]
    expect(alias).toBeDefined()
    const asked: string[] = []
    const registry = createServer((request, response) => {
      asked.push(String(request.url))
      response.writeHead(404).end('{}')
    }).listen(0, '127.0.0.1')
    await once(registry, 'listening')
    const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`
    const elsewhere = await mkdtemp(join(tmpdir(), 'quire-elsewhere-'))
    try {
      // A shell reads aliases when it reads a line, so the alias needs a line of its own.
      expect(await sh(`${alias}\nquire --version`, root, url, elsewhere)).toBe(0)
      expect(await sh(`${alias}\ncd "${elsewhere}"\nquire --version`, root, url, elsewhere)).toBe(0)
      expect(await sh(`${alias}\nquire --version`, elsewhere, url, elsewhere)).toBe(127)
      expect(asked).toEqual([])
    } finally {
      registry.close()
      await rm(elsewhere, { recursive: true, force: true })
    }
  })
})
