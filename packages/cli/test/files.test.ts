/** The commands that work on stored files: put, get, cat, ls, stat, mv, rm, truncate. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDsmClient } from '@quire/dsm-client'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { startDev, stopDev, type Dev } from './support/dev.js'
import { quire, quireEach, startQuire, testFolder } from './support/quire.js'

const SLOW = 40_000
const waitMs = { timeout: 20_000, interval: 50 }

let root: string

beforeEach(() => {
  root = testFolder()
})

describe('commands on stored files', () => {
  let folder: string
  let dev: Dev | undefined
  let env: Record<string, string>
  const bytes = randomBytes(1_000_003)

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'quire-cli-files-'))
    dev = await startDev(folder, '--peers', '1')
    env = { QUIRE_PEERS: dev.peers[0]!.multiaddr }
    writeFileSync(join(folder, 'local'), bytes)
    expect(await quire(['put', join(folder, 'local'), '/dir/file'], { env })).toEqual({
      status: 0,
      stdout: '',
      stderr: ''
    })
  }, SLOW)

  afterAll(async () => {
    await stopDev(dev)
    rmSync(folder, { recursive: true, force: true })
  })

  it(
    'get returns the bytes that put stored, and replaces the target of a symbolic link',
    async () => {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const back = join(root, 'back')
      const result = await quire(['get', '/dir/file', back, '--json'], { env })
      expect(result).toMatchObject({ status: 0, stderr: '' })
      expect(JSON.parse(result.stdout)).toEqual({ path: '/dir/file', local: back, size: bytes.length, sha256 })
      expect(readFileSync(back).equals(bytes)).toBe(true)
      // The link stays a link.
      const link = join(root, 'link')
      writeFileSync(back, 'old')
      symlinkSync(back, link)
      expect(await quire(['get', '/dir/file', link], { env })).toMatchObject({ status: 0 })
      expect(lstatSync(link).isSymbolicLink()).toBe(true)
      rmSync(link)
      expect(readFileSync(back).equals(bytes)).toBe(true)
      expect(readdirSync(root)).toEqual(['back'])
    },
    SLOW
  )

  it.each([
    ['-', '-'],
    ['/dev/stdin', '/dev/stdout']
  ])(
    'put reads a stream of unknown length from %s, and get writes to %s',
    async (local, target) => {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      expect(await quire(['put', local, '/stream', '--json'], { env, input: bytes })).toEqual({
        status: 0,
        stdout: `${JSON.stringify({ path: '/stream', size: bytes.length, sha256 })}\n`,
        stderr: ''
      })
      const back = join(root, 'back')
      expect(await quire(['get', '/stream', target], { env, stdoutTo: back })).toMatchObject({ status: 0, stderr: '' })
      expect(readFileSync(back).equals(bytes)).toBe(true)
      expect(await quire(['rm', '/stream'], { env })).toMatchObject({ status: 0 })
      expect(await quire(['ls', '/.put/'], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
    },
    SLOW
  )

  it(
    'put reads an empty stream, and get writes nothing to standard output, and takes no --json there',
    async () => {
      expect(await quire(['put', '-', '/empty'], { env, input: new Uint8Array() })).toMatchObject({ status: 0 })
      expect(await quire(['get', '/empty', '-'], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
      expect(await quire(['get', '/empty', '-', '--json'], { env })).toMatchObject({ status: 2, stdout: '' })
      expect(await quire(['rm', '/empty'], { env })).toMatchObject({ status: 0 })
    },
    SLOW
  )

  it.runIf(process.platform === 'linux')(
    'put reads a file that the kernel generates while it is read, and whose size is reported as 0',
    async () => {
      expect(await quire(['put', '/proc/version', '/version'], { env })).toMatchObject({ status: 0, stderr: '' })
      expect(await quire(['get', '/version', '-'], { env })).toMatchObject({
        stdout: readFileSync('/proc/version', 'utf8')
      })
      expect(await quire(['rm', '/version'], { env })).toMatchObject({ status: 0 })
    },
    SLOW
  )

  it(
    'put replaces a file, and leaves nothing else behind',
    async () => {
      const [first, second] = [join(root, 'first'), join(root, 'second')]
      writeFileSync(first, 'first')
      writeFileSync(second, 'second, and longer')
      expect(await quire(['put', first, '/replaced', '--page-size', '8192'], { env })).toMatchObject({ status: 0 })
      const result = await quire(['put', second, '/replaced', '--json'], { env })
      expect(result).toMatchObject({ status: 0, stderr: '' })
      const sha256 = createHash('sha256').update('second, and longer').digest('hex')
      expect(JSON.parse(result.stdout)).toEqual({ path: '/replaced', size: 18, sha256 })
      expect(await quire(['cat', '/replaced'], { env })).toEqual({
        status: 0,
        stdout: 'second, and longer',
        stderr: ''
      })
      const { stdout } = await quire(['ls'], { env })
      expect(stdout).toBe('/dir/file\n/replaced\n')
    },
    SLOW
  )

  it(
    'put fails with one line and keeps the stored bytes if standard input cannot be read to its end',
    async () => {
      expect(await quire(['put', join(folder, 'local'), '/kept-bytes'], { env })).toMatchObject({ status: 0 })
      const before = (await quire(['stat', '/kept-bytes', '--json'], { env })).stdout
      const writable = join(root, 'only for writing')
      const cases: [redirect: string, code: string][] = [
        [`< '${root}'`, 'EISDIR'],
        [`0> '${writable}'`, 'EBADF']
      ]
      // Only on Linux can a program tell that it was started without standard input.
      if (process.platform === 'linux') cases.push(['<&-', 'EBADF'])
      const runs = cases.flatMap(([redirect, code]) => ['-', '/dev/stdin'].map((local) => ({ redirect, code, local })))
      const results = await quireEach(runs, ({ redirect, local }) =>
        quire(['put', local, '/kept-bytes'], { env, redirect })
      )
      for (const [i, { redirect, code }] of runs.entries()) {
        const stderr = `quire: standard input: cannot be read (${code})\n`
        expect(results[i], redirect).toEqual({ status: 1, stdout: '', stderr })
      }
      expect((await quire(['stat', '/kept-bytes', '--json'], { env })).stdout).toBe(before)
      // An empty input is stored if the user asks for it.
      expect(await quire(['put', '-', '/kept-bytes'], { env, redirect: '< /dev/null' })).toMatchObject({ status: 0 })
      expect(await quire(['cat', '/kept-bytes'], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
      expect(await quire(['rm', '/kept-bytes'], { env })).toMatchObject({ status: 0 })
    },
    SLOW
  )

  it.runIf(existsSync('/dev/full'))(
    'commands that print nothing succeed while standard output is full',
    async () => {
      const options = { env, stdoutTo: '/dev/full' }
      const done = { status: 0, stderr: '' }
      expect(await quire(['put', join(folder, 'local'), '/silent'], options)).toMatchObject(done)
      expect(await quire(['mv', '/silent', '/silent-2'], options)).toMatchObject(done)
      expect(await quire(['truncate', '/silent-2', '1'], options)).toMatchObject(done)
      expect(await quire(['rm', '/silent-2'], options)).toMatchObject(done)
    },
    SLOW
  )

  it(
    'an interrupted put stores nothing, and keeps the file that was there before',
    async () => {
      const large = join(root, 'large')
      writeFileSync(large, randomBytes(64 * 1024 * 1024))
      expect(await quire(['put', join(folder, 'local'), '/kept'], { env })).toMatchObject({ status: 0 })
      const put = startQuire(['put', large, '/kept'], { env })
      const status = async (): Promise<{ sessions: number; ownedPages: number }> =>
        JSON.parse((await quire(['status', '--json'], { env })).stdout)
      await vi.waitFor(async () => expect((await status()).ownedPages).toBeGreaterThan(0), waitMs)
      const exited = once(put.child, 'exit')
      put.child.kill('SIGINT')
      await exited
      expect([put.child.exitCode, put.stderr]).toEqual([130, 'quire: interrupted\n'])
      // The session ends at once if the client could tell the cluster, else when its time to live is over.
      await vi.waitFor(async () => expect(await status()).toMatchObject({ sessions: 0, ownedPages: 0 }), waitMs)
      expect((await quire(['ls', '/'], { env })).stdout).toBe('/dir/file\n/kept\n/replaced\n')
      const stat = await quire(['stat', '/kept', '--json'], { env })
      expect(JSON.parse(stat.stdout)).toMatchObject({ size: bytes.length })
    },
    SLOW
  )

  it(
    'mv, truncate and rm change a file, and name a file that does not exist',
    async () => {
      const local = join(root, 'local')
      writeFileSync(local, '0123456789')
      const steps: [args: string[], stdout: string][] = [
        [['put', local, '/one'], ''],
        [['mv', '/one', '/two'], ''],
        [['truncate', '/two', '4'], ''],
        [['cat', '/two'], '0123'],
        [['truncate', '/two', '6', '--json'], '{"path":"/two","size":6}\n'],
        [['cat', '/two'], '0123\0\0'],
        [['mv', '/two', '/three', '--json'], '{"from":"/two","to":"/three"}\n'],
        [['rm', '/three', '--json'], '{"path":"/three"}\n'],
        [['ls', '/t'], '']
      ]
      for (const [args, stdout] of steps) expect(await quire(args, { env })).toEqual({ status: 0, stdout, stderr: '' })
      const refused = [
        ['rm', '/three'],
        ['mv', '/three', '/x'],
        ['truncate', '/three', '1']
      ]
      for (const result of await quireEach(refused, (args) => quire(args, { env }))) {
        expect(result).toEqual({
          status: 1,
          stdout: '',
          stderr: 'quire: /three: no such file\n'
        })
      }
    },
    SLOW
  )

  it(
    'ls lists the paths under a prefix, and stat describes one file',
    async () => {
      expect(await quire(['ls', '/dir/'], { env })).toEqual({ status: 0, stdout: '/dir/file\n', stderr: '' })
      expect(await quire(['ls', '/other'], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
      const stat = await quire(['stat', '/dir/file', '--json'], { env })
      expect(JSON.parse(stat.stdout)).toMatchObject({
        path: '/dir/file',
        size: bytes.length,
        pageSize: 4096,
        unit: 'page'
      })
      expect(await quire(['stat', '/none'], { env })).toEqual({
        status: 1,
        stdout: '',
        stderr: 'quire: /none: no such file\n'
      })
    },
    SLOW
  )

  it(
    'listings and errors show control characters of a path as escapes; --json keeps the path',
    async () => {
      const client = await createDsmClient({ peers: [env.QUIRE_PEERS!] })
      const path = '/odd/a\nb\x1b[31m\u202e\\c'
      const shown = '/odd/a\\nb\\u001b[31m\\u202e\\\\c'
      try {
        await client.open(path, { create: true })
      } finally {
        await client.close()
      }
      const list = await quire(['ls', '/odd/'], { env })
      expect(list).toEqual({ status: 0, stdout: `${shown}\n`, stderr: '' })
      const long = await quire(['ls', '-l', '/odd/'], { env })
      expect(long.stdout).toMatch(/^ *0 .*Z \/odd\/.*\n$/)
      expect(long.stdout).toContain(` ${shown}\n`)
      const stat = await quire(['stat', path], { env })
      expect(stat.stdout).toMatch(/^path +\/odd\/.*\nid /)
      expect(stat.stdout).toContain(` ${shown}\n`)
      for (const args of [
        ['ls', '/odd/'],
        ['stat', path]
      ]) {
        expect(JSON.parse((await quire([...args, '--json'], { env })).stdout)).toMatchObject({ path })
      }
      const missing = await quire(['stat', `${path}\x07`], { env })
      expect(missing.stderr).toBe('quire: /odd/a b\\u001b[31m\\u202e\\c\\u0007: no such file\n')
    },
    SLOW
  )

  it(
    'a path or prefix that is not in normal form NFC is refused',
    async () => {
      const cases = [
        ['ls', '/cafe\u0301'],
        ['stat', '/cafe\u0301'],
        ['mv', '/a', '/cafe\u0301']
      ]
      for (const result of await quireEach(cases, (args) => quire(args, { env }))) {
        expect(result).toMatchObject({ status: 2, stdout: '' })
        expect(result.stderr).toContain('must be in Unicode normalization form C (NFC)')
      }
    },
    SLOW
  )

  it(
    'get leaves nothing behind when it fails',
    async () => {
      expect(await quire(['get', '/none', join(root, 'back')], { env })).toMatchObject({ status: 1 })
      expect(readdirSync(root)).toEqual([])
    },
    SLOW
  )

  it(
    'cat ends with the status of SIGPIPE when its reader stops reading',
    async () => {
      const cat = startQuire(['cat', '/dir/file'], { env })
      cat.child.stdout!.once('data', () => cat.child.stdout!.destroy())
      await once(cat.child, 'exit')
      // As a shell reports a program that SIGPIPE ends.
      expect([cat.child.exitCode, cat.stderr]).toEqual([141, ''])
    },
    SLOW
  )

  it(
    'status is a table with the address at which each peer answers',
    async () => {
      const { peerId, multiaddr } = dev!.peers[0]!
      // No peer listens at the first address.
      const given = { QUIRE_PEERS: `/ip4/127.0.0.1/tcp/1/p2p/${peerId} ${multiaddr}` }
      const result = await quire(['status'], { env: given })
      expect(result).toMatchObject({ status: 0, stderr: '' })
      const [, port] = /tcp\/(\d+)/.exec(multiaddr)!
      expect(result.stdout).toMatch(
        new RegExp(`^…${peerId.slice(-8)}  leader +\\d+ +\\d+ +0 +[\\d.]+ [KMGTP]iB +127\\.0\\.0\\.1:${port}$`, 'm')
      )
    },
    SLOW
  )
})
