/** What a command does when its output cannot be written, and what it reports about a cluster's health. */
import { once } from 'node:events'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { startDev, stopDev, type Dev } from './support/dev.js'
import { INIT, BIN, quire, quireEach, startQuire } from './support/quire.js'

const SLOW = 40_000
const waitMs = { timeout: 20_000, interval: 50 }
/** Every write to it fails with ENOSPC. Only Linux has one. */
const FULL = '/dev/full'
const UNWRITABLE = { status: 1, stderr: 'quire: standard output cannot be written (ENOSPC)\n' }
const UNWRITABLE_JSON = {
  status: 1,
  stderr: '{"error":{"code":null,"message":"standard output cannot be written (ENOSPC)"}}\n'
}

const unwritable = (args: readonly string[]): object => (args.includes('--json') ? UNWRITABLE_JSON : UNWRITABLE)

let root: string
let key: string

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'quire-cli-output-'))
  key = join(root, 'key')
  await quire(['keygen', key])
}, SLOW)

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

/** Runs `command` in a shell that has quire and its arguments as "$0" and "$@". */
function shell(command: string, args: readonly string[]): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, BIN, ...args], { encoding: 'utf8' })
  return { status, stderr }
}

describe('output to a file', () => {
  it('a command fails with one line and status 1 when only the first part of a write to its output finds room', () => {
    const target = join(root, 'cut')
    // The limit is in blocks of 512 bytes. The help is one write of more than that.
    const result = shell(`ulimit -f 1 && exec "$0" "$@" > '${target}'`, ['--help'])
    expect(result).toEqual({ status: 1, stderr: 'quire: standard output cannot be written (EFBIG)\n' })
    expect(statSync(target).size).toBe(512)
  })

  it('a command fails with one line and status 1 when standard output is a folder', () => {
    const result = shell(`exec "$0" "$@" 1< '${root}'`, ['--help'])
    expect(result).toEqual({ status: 1, stderr: 'quire: standard output cannot be written (EBADF)\n' })
  })
})

describe.runIf(existsSync(FULL))('output that cannot be written', () => {
  it(
    'a command that needs no cluster fails with one line and status 1 when its output cannot be written',
    async () => {
      const id = (await quire(['id', key])).stdout.trim()
      const cases = [
        ['--help'],
        ['--version'],
        ['help', 'put'],
        ['put', '--help'],
        ['keygen', join(root, 'another'), '--json'],
        ['id', key],
        [...INIT, '--voters', `/ip4/127.0.0.1/tcp/1/p2p/${id}`, '--clients', 'any']
      ]
      const env = { QUIRE_PEERS: `/ip4/127.0.0.1/tcp/1/p2p/${id}` }
      const results = await quireEach(cases, (args) => quire(args, { env, stdoutTo: FULL }))
      for (const [i, result] of results.entries())
        expect(result, cases[i]!.join(' ')).toMatchObject(unwritable(cases[i]!))
    },
    SLOW
  )

  it(
    'output that cannot be written does not change the exit status of bad usage or of a failure',
    async () => {
      for (const stdoutTo of [undefined, FULL]) {
        const cases = [[], ['lss'], ['put'], ['help', 'lss'], ['truncate', '/a', 'x'], ['id', root]]
        const results = await quireEach(cases, (args) => quire(args, { stdoutTo, stderrTo: FULL }))
        expect(results.map(({ status }) => status)).toEqual([2, 2, 2, 2, 2, 1])
      }
    },
    SLOW
  )

  it(
    'a peer that cannot write its log keeps running, and a peer that cannot print its address ends in order',
    async () => {
      const id = (await quire(['id', key])).stdout.trim()
      const cluster = join(root, 'cluster.json')
      await quire([...INIT, '--voters', `/ip4/127.0.0.1/tcp/1/p2p/${id}`, '--clients', 'any', '--out', cluster])
      const args = ['peer', '--key', key, '--listen', '/ip4/127.0.0.1/tcp/0', '--data-dir', join(root, 'data')]
      args.push('--cluster', cluster, '--log-level', 'trace')
      const silent = startQuire(args, { stderrTo: FULL })
      const exited = once(silent.child, 'exit')
      try {
        await vi.waitFor(() => expect(silent.stdout).toContain(`/p2p/${id}\n`), waitMs)
        const env = { QUIRE_PEERS: silent.stdout.trim() }
        await vi.waitFor(async () => expect((await quire(['health'], { env })).status).toBe(0), waitMs)
      } finally {
        silent.child.kill('SIGTERM')
        await exited
      }
      expect(silent.child.exitCode).toBe(0)
      const log = join(root, 'log')
      expect(await quire(args, { stdoutTo: FULL, stderrTo: log })).toMatchObject({ status: 1 })
      const lines = readFileSync(log, 'utf8').trim().split('\n')
      expect(lines.at(-1)).toBe(UNWRITABLE.stderr.trim())
      expect(lines.filter((line) => !line.startsWith('{'))).toHaveLength(1)
    },
    SLOW
  )
})

describe('a cluster of three', () => {
  let dev: Dev | undefined
  let env: Record<string, string>

  beforeAll(async () => {
    dev = await startDev(root)
    env = { QUIRE_PEERS: dev.peers[0]!.multiaddr }
    const local = join(root, 'local')
    writeFileSync(local, 'x'.repeat(300_000))
    expect(await quire(['put', local, '/file'], { env })).toMatchObject({ status: 0 })
  }, SLOW)

  afterAll(async () => {
    await stopDev(dev)
  })

  it.runIf(existsSync(FULL))(
    'a command whose output cannot be written fails with one line and status 1',
    async () => {
      const local = join(root, 'local')
      const cases = [['ls', '/'], ['ls', '-l'], ['cat', '/file'], ['stat', '/file'], ['status'], ['health']]
      cases.push(['status', '--json'], ['put', local, '/other', '--json'])
      const results = await quireEach(cases, (args) => quire(args, { env, stdoutTo: FULL }))
      for (const [i, result] of results.entries())
        expect(result, cases[i]!.join(' ')).toMatchObject(unwritable(cases[i]!))
      expect(await quire(['rm', '/other', '--json'], { env, stdoutTo: FULL })).toMatchObject(UNWRITABLE_JSON)
      // The command has taken effect all the same.
      expect(await quire(['ls', '/'], { env })).toMatchObject({ status: 0, stdout: '/file\n' })
    },
    SLOW
  )

  it(
    'a command ends quietly, with the status of SIGPIPE, when the reader of its output has exited',
    async () => {
      for (const args of [
        ['ls', '/'],
        ['cat', '/file'],
        ['status', '--json']
      ]) {
        const running = startQuire(args, { env })
        running.child.stdout!.destroy()
        await once(running.child, 'close')
        expect([running.child.exitCode, running.stderr], args.join(' ')).toEqual([141, ''])
      }
    },
    SLOW
  )

  it(
    'a cluster of three is healthy with a leader and a majority; without them, health and status name the problem',
    async () => {
      const { peers } = dev!
      const asked = peers[0]!.peerId
      await vi.waitFor(async () => {
        const healthy = await quire(['health'], { env })
        expect(healthy).toMatchObject({ status: 0, stderr: '' })
        expect(healthy.stdout).toMatch(/^healthy: leader …\w{8} in term \d+, 3 of 3 voters follow it\n$/)
      }, waitMs)
      process.kill(peers[1]!.pid, 'SIGKILL')
      // The command gets one address; the peer there names the others.
      await vi.waitFor(async () => {
        const status = await quire(['status'], { env })
        expect(status).toMatchObject({ status: 0, stderr: '' })
        const row = new RegExp(
          `^…${peers[1]!.peerId.slice(-8)} +no answer +127\\.0\\.0\\.1:\\d+\\n +connection refused$`,
          'm'
        )
        expect(status.stdout).toMatch(row)
        expect(Math.max(...status.stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
      }, waitMs)
      process.kill(peers[2]!.pid, 'SIGKILL')
      await vi.waitFor(async () => {
        const problem = 'no leader: 1 of 3 voters answer, 2 are needed'
        expect(await quire(['health'], { env })).toEqual({
          status: 1,
          stdout: '',
          stderr: `quire: unhealthy: ${problem}\n`
        })
        const status = await quire(['status', '--json'], { env })
        expect(status).toMatchObject({ status: 1 })
        expect(JSON.parse(status.stderr)).toEqual({ error: { code: null, message: problem } })
        const rows = status.stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { id: string; reason?: string; lag?: null; disk?: { freeBytes: number } })
        expect(rows.filter(({ reason }) => reason === 'connection refused')).toHaveLength(2)
        expect(rows.find(({ id }) => id === asked)).toMatchObject({
          lag: null,
          disk: { freeBytes: expect.any(Number) }
        })
      }, waitMs)
    },
    SLOW
  )
})
