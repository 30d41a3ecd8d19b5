/** The packages as a user gets them: packed, then installed with plain npm into an empty project. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from './cluster.js'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end, whatever its exit code. */
export function end(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly timeout?: number } = {}
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { ...options, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code
      if (typeof code === 'number') resolve({ code, stdout, stderr })
      else reject(error!) // not started, or killed at its timeout
    })
  })
}

/** The environment of a user's shell: without what npm and vitest add for their own children. */
function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) && name !== 'NODE_OPTIONS')
  )
}

/** A registry that offers another package under each name of Quire's, as anyone could who claimed the names. */
interface HostileRegistry {
  readonly url: string
  /** Paths of the tarballs that were fetched from it. */
  readonly fetched: readonly string[]
  close(): void
}

async function startHostileRegistry(version: string): Promise<HostileRegistry> {
  const fetched: string[] = []
  const server: Server = createServer((request, response) => {
    const path = decodeURIComponent(String(request.url))
    if (path.endsWith('.tgz')) {
      fetched.push(path)
      response.writeHead(404).end()
      return
    }
    const name = path.slice(1)
    const dist = { tarball: `${url}${name}-${version}.tgz`, shasum: '0'.repeat(40) }
    const versions = { [version]: { name, version, dist } }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ name, 'dist-tags': { latest: version }, versions }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return { url, fetched, close: () => server.close() }
}

export interface PackedProject extends AsyncDisposable {
  readonly folder: string
  readonly tarballs: readonly string[]
  /** Names of the packages, from the tarballs. */
  readonly packages: readonly string[]
  /** Tarballs of Quire's names that npm fetched from a registry. */
  readonly fetched: readonly string[]
  /** Runs a program in the project. */
  run(file: string, args: readonly string[], env?: Record<string, string>): Promise<Ended>
  /** Starts a cluster with the command that the project has installed; resolves with the addresses of its peers. */
  startCluster(): Promise<string[]>
}

const PACK_TIMEOUT_MS = 200_000
const INSTALL_TIMEOUT_MS = 400_000
export const SET_UP_TIMEOUT_MS = PACK_TIMEOUT_MS + INSTALL_TIMEOUT_MS

/** Packs every package and installs the tarballs. `devDependencies` come from the registry of the machine. */
export async function installTarballs(devDependencies: Record<string, string> = {}): Promise<PackedProject> {
  const top = await mkdtemp(join(tmpdir(), 'quire-packed-'))
  try {
    const tarballs = await pack(join(top, 'tarballs'))
    const folder = join(top, 'project')
    await mkdir(folder)
    const manifest = { name: 'empty', version: '1.0.0', private: true, type: 'module', devDependencies }
    await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
    const fetched = await npmInstall(folder, tarballs)
    const packages = (await readdir(join(folder, 'node_modules/@quire'))).map((name) => `@quire/${name}`)
    return new Project(top, folder, tarballs, packages, fetched)
  } catch (error) {
    await rm(top, { recursive: true, force: true })
    throw error
  }
}

async function pack(folder: string): Promise<string[]> {
  const args = [join(ROOT, 'scripts/tarballs.mjs'), folder]
  const { code, stdout, stderr } = await end(process.execPath, args, { timeout: PACK_TIMEOUT_MS })
  if (code !== 0) throw new Error(`packing failed: ${stdout}${stderr}`)
  return stdout.trim().split('\n')
}

async function npmInstall(folder: string, tarballs: readonly string[]): Promise<readonly string[]> {
  const { version } = JSON.parse(await readFile(join(ROOT, 'packages/protocol/package.json'), 'utf8')) as {
    version: string
  }
  const registry = await startHostileRegistry(version)
  try {
    const flags = ['--prefer-offline', '--no-audit', '--no-fund', `--@quire:registry=${registry.url}`]
    const { code, stderr } = await end('npm', ['install', ...flags, ...tarballs], {
      cwd: folder,
      env: plainEnvironment(),
      timeout: INSTALL_TIMEOUT_MS
    })
    if (code !== 0) throw new Error(`npm install failed: ${stderr}`)
    return registry.fetched
  } finally {
    registry.close()
  }
}

class Project implements PackedProject {
  private cluster: ChildProcess | undefined

  constructor(
    private readonly top: string,
    readonly folder: string,
    readonly tarballs: readonly string[],
    readonly packages: readonly string[],
    readonly fetched: readonly string[]
  ) {}

  run(file: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    return end(file, args, { cwd: this.folder, env: { ...plainEnvironment(), NO_COLOR: '1', ...env }, timeout: 50_000 })
  }

  async startCluster(): Promise<string[]> {
    const args = [join(this.folder, 'node_modules/.bin/quire'), 'dev', '--json', '--data-dir', join(this.top, 'data')]
    const child = spawn(process.execPath, args, { env: plainEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] })
    this.cluster = child
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => (stdout += String(chunk)))
    child.stderr.on('data', (chunk: Buffer) => (stderr += String(chunk)))
    await until(() => stdout.includes('"ready":true') || child.exitCode !== null, 'the installed command to start')
    if (child.exitCode !== null) throw new Error(`quire dev ended: ${stderr}`)
    return stdout
      .trim()
      .split('\n')
      .flatMap((line) => (JSON.parse(line) as { multiaddr?: string }).multiaddr ?? [])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { cluster } = this
    if (cluster !== undefined && cluster.exitCode === null) {
      cluster.kill('SIGTERM')
      await once(cluster, 'exit')
    }
    await rm(this.top, { recursive: true, force: true })
  }
}

/** The embedding example of a README: its first block of TypeScript. */
export async function embeddingExample(readme: string): Promise<string> {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(await readFile(readme, 'utf8'))!
  return code!
}
