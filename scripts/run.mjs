#!/usr/bin/env node
// The commands of a fresh clone: `npm start`, `npm test` and `npm run test:long`. They need only Node and npm. Each
// command is a list of phases, and each phase runs one child process in its own process group.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Quire needs Node 20.19 or newer, this is ${process.version}.`)
  process.exit(1)
}

const root = dirname(dirname(fileURLToPath(import.meta.url)))
process.chdir(root)

const [command = '', ...rest] = process.argv.slice(2)
const args = rest[0] === '--' ? rest.slice(1) : rest
const { packageManager: pnpm } = JSON.parse(readFileSync('package.json', 'utf8'))
const bin = (name) => join('node_modules', '.bin', name)
// No shim, so that the reporter's message with the counts reaches this process.
const vitest = [process.execPath, 'node_modules/vitest/vitest.mjs', 'run']
const reporters = ['--reporter=default', '--reporter=./scripts/count-reporter.mjs']

const install = {
  name: 'install',
  run: ['npx', '--yes', pnpm, 'install', '--frozen-lockfile'],
  fatal: true,
  upToDate: () => existsSync(installStamp) && readFileSync(installStamp, 'utf8') === manifestsDigest(),
  after: () => writeFileSync(installStamp, manifestsDigest())
}
const build = { name: 'build', run: [bin('tsc'), '-b', 'tsconfig.build.json'], fatal: true }
const lint = { name: 'lint', run: [bin('oxlint'), '--type-aware'] }
const format = { name: 'format check', run: [bin('oxfmt'), '--check'] }
const prose = { name: 'prose width', run: [process.execPath, 'scripts/prose-width.mjs'] }
const typecheck = { name: 'type check', run: [bin('tsc'), '-b'] }
const tests = { name: 'tests', run: [...vitest, ...reporters, ...args], counts: true }
const longTests = { ...tests, name: 'long tests', env: { QUIRE_LONG: '1' } }
const demo = { name: 'demo', run: [process.execPath, 'examples/demo/dist/main.js', ...args] }

const commands = {
  start: [install, build, demo],
  test: [install, build, lint, format, prose, typecheck, tests],
  long: [install, build, longTests]
}

const installStamp = join('node_modules', '.quire-install')
const plain = process.stdout.isTTY || process.env.FORCE_COLOR ? {} : { NO_COLOR: '1' }
const started = performance.now()
let group = 0 // the process group of the running phase
let interrupted = '' // the signal that ends this run
let temporary = ''

function manifestsDigest() {
  const folders = ['packages', 'examples'].flatMap((top) => readdirSync(top).map((name) => join(top, name)))
  const manifests = ['.', 'test', ...folders]
    .map((folder) => join(folder, 'package.json'))
    .filter((path) => existsSync(path))
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`)
  for (const path of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests])
    hash.update(path).update(readFileSync(path))
  return hash.digest('hex')
}

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

function signalGroup(signal) {
  try {
    return group !== 0 && process.kill(-group, signal)
  } catch {
    return false // the group is empty
  }
}

/** Ends the processes that a phase has left running. */
async function endGroup() {
  for (const [signal, polls] of [
    ['SIGTERM', 60],
    ['SIGKILL', 20]
  ]) {
    if (!signalGroup(signal)) break
    for (let poll = 0; poll < polls && signalGroup(0); poll++) await new Promise((resolve) => setTimeout(resolve, 50))
  }
  group = 0
}

/** Runs one phase. Resolves with its exit code and, for tests, with the counts that the reporter sent. */
async function runPhase(phase) {
  const child = spawn(phase.run[0], phase.run.slice(1), {
    stdio: phase.counts ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit',
    env: { ...process.env, ...plain, TMPDIR: temporary, ...phase.env },
    detached: true // in its own process group, so that a signal reaches all of it
  })
  group = child.pid ?? 0
  let counts
  child.on('message', (message) => {
    counts = message.quireCounts ?? counts
  })
  const code = await new Promise((resolve) => {
    child.on('error', (error) => {
      console.error(`${phase.run[0]}: ${error.message}`)
      resolve(1)
    })
    child.on('exit', (exitCode, signal) => resolve(exitCode ?? 128 + constants.signals[signal]))
  })
  await endGroup()
  return { code, counts }
}

async function main() {
  const phases = commands[command]
  if (phases === undefined) {
    console.error(`usage: node scripts/run.mjs ${Object.keys(commands).join('|')} [arguments]`)
    return 2
  }
  let counts = { passed: 0, failed: 0, skipped: 0 }
  let exitCode = 0
  const failures = []
  for (const [index, phase] of phases.entries()) {
    const label = `[${index + 1}/${phases.length}] ${phase.name}`
    if (phase.upToDate?.()) {
      console.log(`${label}: up to date`)
      continue
    }
    console.log(`${label} ...`)
    const begin = performance.now()
    const result = await runPhase(phase)
    if (interrupted !== '') return 128 + constants.signals[interrupted]
    counts = result.counts ?? counts
    const code = result.code === 0 && phase.counts && counts.passed + counts.failed === 0 ? 1 : result.code
    console.log(
      `${label}: ${code === 0 ? 'done' : `FAILED (exit ${code})`} in ${seconds(begin)}, ${seconds(started)} in all`
    )
    if (code === 0) {
      phase.after?.()
      continue
    }
    exitCode ||= code
    failures.push(phase.name)
    if (phase.fatal) break
  }
  if (failures.length > 0) console.log(`failed: ${failures.join(', ')}`)
  if (phases.some((phase) => phase.counts)) {
    const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''
    console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`)
  }
  return exitCode
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // The second signal kills.
    signalGroup(interrupted === '' ? signal : 'SIGKILL')
    interrupted ||= signal
  })
}

// The phases use a temporary directory of this run, which is removed at its end.
temporary = mkdtempSync(join(tmpdir(), 'quire-run-'))
// A test that changes its user must still reach its folder in it.
chmodSync(temporary, 0o711)
try {
  process.exitCode = await main()
} finally {
  rmSync(temporary, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}
