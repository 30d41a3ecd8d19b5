import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDsmClient } from '@quire/dsm-client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { startDev, stopDev, type Dev } from './support/dev.js'
import { isAlive, quire, startQuire } from './support/quire.js'

const SLOW = 40_000
const waitMs = { timeout: 20_000, interval: 50 }

let root: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'quire-cli-'))
})

afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

describe('quire', () => {
  it(
    'ends with status 2 and one line on stderr for bad usage',
    async () => {
      const id = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
      const init = ['init', '--voters', `/ip4/192.0.2.1/tcp/1/p2p/${id}`, '--clients']
      const cases = [
        ['put'],
        ['frobnicate'],
        ['lss'],
        ['status', '--peer', 'x'],
        ['put', 'a', 'b', 'c'],
        ['ls'],
        ['ls', '--peers', 'nowhere'],
        ['dev', '--peers', '0'],
        ['put', 'a', '/b', '--page-size', '5000'],
        ['rm'],
        ['mv', '/a'],
        ['truncate', '/a', '-1'],
        ['truncate', '/a', '1e3'],
        ['ls', '--timeout', '5x'],
        ['help', 'frobnicate'],
        ['keygen', ''],
        ['id'],
        ['put', '', '/a'],
        ['health', '--peers', ','],
        [...init, 'nobody'],
        [...init, 'any', '--cluster-id', 'a b'],
        [...init, 'any', '--admins', 'x'],
        ['init', '--clients', 'any', '--voters', '/ip4/192.0.2.1/tcp/1'],
        ['dev', '--clients', 'nobody']
      ]
      for (const result of await Promise.all(cases.map((args) => quire(args)))) {
        expect(result).toMatchObject({ status: 2, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
      }
    },
    SLOW
  )

  it(
    'prints help on stderr and ends with status 2 when no command is given',
    async () => {
      const result = await quire([])
      expect(result).toMatchObject({ status: 2, stdout: '' })
      expect(result.stderr).toMatch(/^Usage: quire .*\n/)
      expect(result.stderr).toContain('\n  keygen ')
    },
    SLOW
  )

  it(
    'prints help on stdout when it is asked to',
    async () => {
      for (const args of [['--help'], ['help'], ['help', 'init'], ['init', '--help']]) {
        const result = await quire(args)
        expect(result).toMatchObject({ status: 0, stderr: '' })
        expect(result.stdout).toMatch(/^Usage: quire/)
      }
    },
    SLOW
  )

  it(
    'writes a key once, for its owner only, and prints its PeerId',
    async () => {
      const file = join(root, 'key')
      const first = await quire(['keygen', file])
      expect(first).toMatchObject({ status: 0, stderr: '' })
      expect(first.stdout).toMatch(/^12D3Koo\w+\n$/)
      expect(statSync(file).mode & 0o777).toBe(0o600)
      const before = readFileSync(file)
      const second = await quire(['keygen', file])
      expect(second).toEqual({
        status: 1,
        stdout: '',
        stderr: `quire: ${file}: the file exists and is not overwritten; it is the key of ${first.stdout.trim()}\n`
      })
      expect(readFileSync(file)).toEqual(before)
      expect(await quire(['id', file])).toEqual({ status: 0, stdout: first.stdout, stderr: '' })
      const other = join(root, 'other')
      writeFileSync(other, 'no key')
      expect(await quire(['keygen', other])).toMatchObject({
        status: 1,
        stderr: `quire: ${other}: the file exists and is not overwritten\n`
      })
      expect(await quire(['id', other])).toMatchObject({ status: 1, stdout: '' })
    },
    SLOW
  )

  it(
    'makes the cluster file from addresses and files of addresses',
    async () => {
      const ids = await Promise.all(
        [1, 2].map(async (i) => (await quire(['keygen', join(root, `k${i}`)])).stdout.trim())
      )
      const [a, b] = ids.map((id, i) => `/ip4/127.0.0.1/tcp/${4001 + i}/p2p/${id}`)
      writeFileSync(join(root, 'voters'), `# the second\n${b}\n`)
      const out = join(root, 'cluster.json')
      const args = [
        'init',
        '--voters',
        a!,
        join(root, 'voters'),
        '--clients',
        'any',
        '--cluster-id',
        'blue',
        '--out',
        out
      ]
      expect(await quire(args)).toEqual({
        status: 0,
        stdout: expect.stringMatching(/^blue\n[0-9a-f]{64}\n$/) as string,
        stderr: 'quire: 2 voters outlive no more failures than 1: take an odd number\n'
      })
      const made = JSON.parse(readFileSync(out, 'utf8'))
      expect(made).toMatchObject({ clusterId: 'blue', clients: 'any', admins: [] })
      expect(made.voters.map((voter: { peerId: string }) => voter.peerId).sort()).toEqual([...ids].sort())
      expect(await quire(args)).toMatchObject({ status: 1, stderr: `quire: ${out}: the file exists\n` })
      expect(await quire(['init', '--voters', '/ip4/127.0.0.1/tcp/1/p2p/x', '--clients', 'any'])).toMatchObject({
        status: 2
      })
    },
    SLOW
  )

  it(
    'takes several addresses of one voter, joined by commas, and warns of an even number of voters only',
    async () => {
      const ids = await Promise.all(
        [1, 2, 3].map(async (i) => (await quire(['keygen', join(root, `k${i}`)])).stdout.trim())
      )
      const [a, b, c] = ids.map((id, i) => `/ip4/127.0.0.1/tcp/${4001 + i}/p2p/${id}`)
      const second = `/dns4/peer.example/tcp/4001/p2p/${ids[0]}`
      writeFileSync(join(root, 'voters'), `${b}\n${c}\n`)
      const made = await quire(['init', '--voters', `${a},${second}`, join(root, 'voters'), '--clients', 'any'])
      const digest = /^quire: founding digest [0-9a-f]{64}\n/.source
      expect(made.status).toBe(0)
      expect(made.stderr).toMatch(new RegExp(`${digest}$`))
      const cluster = JSON.parse(made.stdout) as { voters: { peerId: string; addresses: string[] }[] }
      expect(cluster.voters).toHaveLength(3)
      expect(cluster.voters.find((voter) => voter.peerId === ids[0])?.addresses).toEqual([a, second])
      const one = await quire(['init', '--voters', a!, '--clients', 'any'])
      expect(one.status).toBe(0)
      expect(one.stderr).toMatch(new RegExp(`${digest}$`))
      const two = await quire(['init', '--voters', a!, b!, '--clients', 'any'])
      expect(two.status).toBe(0)
      expect(two.stderr).toMatch(new RegExp(`${digest}quire: 2 voters [^\\n]*odd number\\n$`))
      expect(JSON.parse(two.stdout)).toMatchObject({ clients: 'any' })
    },
    SLOW
  )

  it(
    'runs one peer, which leaves cleanly at SIGTERM and refuses a second process on its directory',
    async () => {
      const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
      const cluster = join(root, 'cluster.json')
      await quire(['init', '--voters', `/ip4/127.0.0.1/tcp/1/p2p/${id}`, '--clients', 'any', '--out', cluster])
      const args = [
        'peer',
        '--data-dir',
        join(root, 'data'),
        '--key',
        join(root, 'key'),
        '--listen',
        '/ip4/127.0.0.1/tcp/0'
      ]
      const missing = await quire(args)
      expect(missing.status).toBe(1)
      expect(missing.stderr).toMatch(
        /^quire: .*no such directory, and a first start needs the cluster's configuration \(--cluster\)\n$/
      )
      const peer = startQuire([...args, '--cluster', cluster, '--log-level', 'error'])
      try {
        await vi.waitFor(() => expect(peer.stdout).toContain(`/p2p/${id}\n`), waitMs)
        const second = await quire([...args, '--log-level', 'error'])
        expect(second).toMatchObject({ status: 1, stderr: `quire: ${join(root, 'data')}: in use by another process\n` })
      } finally {
        const status = await stopDev(peer)
        expect([status, peer.stderr]).toEqual([0, ''])
      }
    },
    SLOW
  )

  it.each(['a client', 'a peer'])(
    'ends %s with one line that names the file or the value when it cannot be used, and leaves nothing behind',
    async (who) => {
      const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
      const address = `/ip4/127.0.0.1/tcp/1/p2p/${id}`
      const [file, folder, missing] = ['file', 'folder', 'missing'].map((name) => join(root, name)) as [
        string,
        string,
        string
      ]
      writeFileSync(file, '{')
      mkdirSync(folder)
      const before = readdirSync(root)
      const peer = ['peer', '--key', join(root, 'key'), '--listen', '/ip4/127.0.0.1/tcp/0', '--data-dir']
      const ofClient: [args: string[], status: number, problem: string][] = [
        [['put', missing, '/a'], 1, `${missing}: cannot be read (ENOENT)`],
        [['put', folder, '/a'], 2, `local is "${folder}", must be a file`],
        [['put', file, 'a'], 2, "'a' is invalid for argument 'path'. must be absolute."],
        [['put', file, '/a/../b'], 2, "'/a/../b' is invalid for argument 'path'. must be free of . and .. parts."],
        [['get', '/a', '/dev/null'], 2, 'local is "/dev/null", must be a file'],
        [['get', '/a', ''], 2, "invalid for argument 'local'. must not be empty"],
        [['get', 'a', folder], 2, "'a' is invalid for argument 'path'"],
        [['cat', 'a'], 2, "'a' is invalid for argument 'path'"],
        [['stat', 'a'], 2, "'a' is invalid for argument 'path'"],
        [['rm', 'a'], 2, "'a' is invalid for argument 'path'"],
        [['mv', '/a', 'b'], 2, "'b' is invalid for argument 'to'"],
        [['truncate', 'a', '1'], 2, "'a' is invalid for argument 'path'"],
        [['get', '/a', folder], 2, `local is "${folder}", must be a file`],
        [['get', '/a', join(missing, 'x')], 1, `cannot be written (ENOENT)`],
        [['ls', '--key', missing], 1, `${missing}: cannot be read (ENOENT)`],
        [['ls', '--key', file], 1, `${file}: not a libp2p private key in base64`]
      ]
      const ofPeer: typeof ofClient = [
        [['init', '--voters', address, address, '--clients', 'any'], 2, `--voters: ${id} is named twice`],
        [['init', '--voters', '/ip4/127.0.0.1/tcp/0', '--clients', 'any'], 2, 'must be a multiaddr that ends in'],
        [
          ['init', '--voters', address, '--clients', 'any', '--round-trip', '5'],
          2,
          'whole milliseconds from 10 to 1000'
        ],
        [['keygen', join(missing, 'key')], 1, `${join(missing, 'key')}: cannot be written (ENOENT)`],
        [['init', '--voters', missing, '--clients', 'any'], 2, `${missing}: cannot be read (ENOENT)`],
        [['init', '--voters', folder, '--clients', 'any'], 2, `${folder}: cannot be read (EISDIR)`],
        [['init', '--voters', file, '--clients', 'any'], 2, '--voters is "{", must be a multiaddr that ends in'],
        [['init', '--voters', address, '--clients', 'nobody'], 2, '--clients is "nobody", must be a PeerId'],
        [['init', '--voters', address, '--clients', 'any', '--cluster-id', 'a b'], 2, '--cluster-id is "a b", must be'],
        [
          ['init', '--voters', address, '--clients', 'any', '--out', join(missing, 'x')],
          1,
          `${join(missing, 'x')}: cannot be written (ENOENT)`
        ],
        [[...peer, missing, '--cluster', missing], 2, `${missing}: cannot be read (ENOENT)`],
        [[...peer, missing, '--cluster', file], 2, `--cluster is "${file}", must be a JSON file`],
        [[...peer, file], 1, `${file}: not a directory`],
        [[...peer, folder], 1, `${folder}: empty, and a first start needs the cluster's configuration (--cluster)`],
        [['dev', '--data-dir', file], 1, `${file}: cannot be made: ${file} is there and is not a folder`]
      ]
      const env = { QUIRE_PEERS: address }
      const cases = who === 'a peer' ? ofPeer : ofClient
      const results = await Promise.all(cases.map(([args]) => quire(args, { env })))
      for (const [i, result] of results.entries()) {
        const [args, status, problem] = cases[i]!
        expect(result, args.join(' ')).toMatchObject({ status, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
        expect(result.stderr).toContain(problem)
      }
      expect(readdirSync(root)).toEqual(before)
      expect(readdirSync(folder)).toEqual([])
    },
    SLOW
  )

  it(
    'refuses addresses that nobody can dial, and voters that are named twice or share an address',
    async () => {
      const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
      const address = `/ip4/127.0.0.1/tcp/1/p2p/${id}`
      const missing = join(root, 'missing')
      const peer = ['peer', '--key', join(root, 'key'), '--listen', '/ip4/127.0.0.1/tcp/0', '--data-dir']
      const otherId = (await quire(['keygen', join(root, 'other')])).stdout.trim()
      const [sameAddress, otherAddress] = [1, 2].map((port) => `/ip4/127.0.0.1/tcp/${port}/p2p/${otherId}`) as [
        string,
        string
      ]
      const undialable = join(root, 'undialable')
      const voters = [{ peerId: id, addresses: ['/ip4/0.0.0.0/tcp/1'] }]
      writeFileSync(undialable, JSON.stringify({ clusterId: 'blue', voters, admins: [], clients: 'any' }))
      const cases: [args: string[], status: number, problem: string][] = [
        [['init', '--voters', address, `/dns4/a/tcp/2/p2p/${id}`, '--clients', 'any'], 2, `${id} is named twice`],
        [['init', '--voters', `${address},${address}`, '--clients', 'any'], 2, `"${address}", must be named once`],
        [['init', '--voters', address, sameAddress, '--clients', 'any'], 2, 'must be an address of its own'],
        [['init', '--voters', `${address},${otherAddress}`, '--clients', 'any'], 2, 'are two voters'],
        [['init', '--voters', `/ip4/0.0.0.0/tcp/1/p2p/${id}`, '--clients', 'any'], 2, 'all addresses of a machine'],
        [['init', '--voters', `/ip4/127.0.0.1/tcp/0/p2p/${id}`, '--clients', 'any'], 2, 'port 0'],
        [['init', '--voters', `/dnsaddr/a/p2p/${id}`, '--clients', 'any'], 2, 'no transport for /dnsaddr'],
        [[...peer, missing, '--cluster', undialable], 2, `addresses is "/ip4/0.0.0.0/tcp/1/p2p/${id}"`],
        [['ls', '--peers', `${address}\nready`], 2, '--peers (or QUIRE_PEERS) is "ready"'],
        [['status', '--peers', `${address} /ip4/0.0.0.0/tcp/1/p2p/${id}`], 2, 'all addresses of a machine']
      ]
      for (const [args, status, problem] of cases) {
        const result = await quire(args)
        expect(result, args.join(' ')).toMatchObject({ status, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
        expect(result.stderr).toContain(problem)
      }
      expect(existsSync(missing)).toBe(false)
    },
    SLOW
  )

  it(
    'names the option that was typed, not the field of the API, for a value that cannot be',
    async () => {
      const key = join(root, 'key')
      const id = (await quire(['keygen', key])).stdout.trim()
      const [missing, fields, foreign] = [join(root, 'missing'), join(root, 'fields'), join(root, 'foreign')]
      writeFileSync(fields, JSON.stringify({ clusterId: 'blue', voters: [], clients: 'any' }))
      const stranger = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
      const voters = [{ peerId: stranger, addresses: ['/ip4/127.0.0.1/tcp/1'] }]
      writeFileSync(foreign, JSON.stringify({ clusterId: 'blue', voters, clients: 'any' }))
      const peer = ['peer', '--key', key, '--listen', '/ip4/127.0.0.1/tcp/0', '--data-dir']
      const env = { QUIRE_PEERS: `/ip4/127.0.0.1/tcp/1/p2p/${id}` }
      const cases: [args: string[], status: number, problem: string][] = [
        [['ls', '--key', key], 2, `--key is "${id}", must be a key of the client's own`],
        [['status', '--key', key], 2, `--key is "${id}", must be a key of the client's own`],
        [['dev', '--data-dir', ''], 2, "'--data-dir <folder>' argument '' is invalid. must not be empty"],
        [[...peer, ''], 2, "'--data-dir <folder>' argument '' is invalid. must not be empty"],
        [
          [...peer, missing, '--cluster', fields],
          2,
          `--cluster is "${fields}", must be a cluster file that is right: voters is 0`
        ],
        [[...peer, missing, '--listen', 'here'], 2, '--listen is "here", must be a TCP multiaddr'],
        [[...peer, missing, '--cluster', foreign], 2, `--key is "${id}", must be the key of a voter`]
      ]
      for (const [args, status, problem] of cases) {
        const result = await quire(args, { env })
        expect(result, args.join(' ')).toMatchObject({ status, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
        expect(result.stderr).toContain(problem)
      }
      expect(existsSync(missing)).toBe(false)
    },
    SLOW
  )

  it(
    'names the cause in one line when no peer answers',
    async () => {
      const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
      const result = await quire(['status', '--peers', `/ip4/127.0.0.1/tcp/1/p2p/${id}`])
      expect(result.status).toBe(1)
      expect(result.stdout).toMatch(/ no answer +127\.0\.0\.1:1\n +connection refused\n$/)
      expect(result.stderr).toBe('quire: no peer answers\n')
    },
    SLOW
  )
})

it(
  'every client command waits as long as --timeout says, and then says which peers it asked and what they are',
  async () => {
    const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
    const peers = `/ip4/127.0.0.1/tcp/1/p2p/${id}`
    const commands = [['ls'], ['stat', '/a'], ['rm', '/a'], ['mv', '/a', '/b'], ['cat', '/a'], ['truncate', '/a', '1']]
    for (const args of commands) {
      const result = await quire([...args, '--peers', peers, '--timeout', '300ms'])
      expect(result, args[0]).toEqual({
        status: 1,
        stdout: '',
        stderr:
          `quire: unavailable: no peer answered; unreachable: …${id.slice(-8)} at 127.0.0.1:1 (ECONNREFUSED) ` +
          '(waited 300 ms)\n'
      })
    }
  },
  SLOW
)

it(
  'without a quorum, a command says what the peers that answer are, and which do not',
  async () => {
    const dev = await startDev(root)
    try {
      const env = { QUIRE_PEERS: dev.peers.map((peer) => peer.multiaddr).join('\n') }
      for (const peer of dev.peers.slice(1)) process.kill(peer.pid, 'SIGKILL')
      // The leader may be the one that is left: it steps down when it hears of nobody.
      await vi.waitFor(async () => {
        const { status, stderr } = await quire(['ls', '--timeout', '2s'], { env })
        expect(status).toBe(1)
        expect(stderr).toMatch(/^quire: unavailable: no leader: 1 of 3 peers answered \(candidate\); unreachable: /)
        for (const { peerId, multiaddr } of dev.peers.slice(1)) {
          const [, port] = /tcp\/(\d+)/.exec(multiaddr)!
          expect(stderr).toContain(`…${peerId.slice(-8)} at 127.0.0.1:${port} (ECONNREFUSED)`)
        }
      }, waitMs)
    } finally {
      await stopDev(dev)
    }
  },
  SLOW
)

describe('quire dev', () => {
  it(
    'starts a cluster that serves, and leaves nothing behind at SIGTERM',
    async () => {
      const dev = await startDev(root)
      try {
        expect(dev.peers).toHaveLength(3)
        for (const peer of dev.peers) expect(isAlive(peer.pid) && existsSync(peer.dataDir)).toBe(true)
      } finally {
        expect(await stopDev(dev)).toBe(0)
      }
      expect(dev.peers.filter((peer) => isAlive(peer.pid))).toEqual([])
      expect(readdirSync(root)).toEqual([])
      expect(dev.stderr).toBe('')
    },
    SLOW
  )

  it(
    'ends in order at Ctrl-C, which the terminal sends to its peers too',
    async () => {
      const dev = await startDev(root)
      const exited = once(dev.child, 'exit')
      for (const pid of [...dev.peers.map((peer) => peer.pid), dev.child.pid!]) process.kill(pid, 'SIGINT')
      await exited
      expect([dev.child.exitCode, dev.stderr]).toEqual([0, ''])
      expect(dev.peers.filter((peer) => isAlive(peer.pid))).toEqual([])
      expect(readdirSync(root)).toEqual([])
    },
    SLOW
  )

  it(
    'takes its peers and its files with it when it is killed',
    async () => {
      const dev = await startDev(root)
      await stopDev(dev, 'SIGKILL')
      await vi.waitFor(() => expect(dev.peers.filter((peer) => isAlive(peer.pid))).toEqual([]), waitMs)
      expect(readdirSync(root)).toEqual([])
    },
    SLOW
  )

  it(
    'keeps a cluster in its data directory, and does not start a dead peer again',
    async () => {
      const folder = join(root, 'cluster')
      const local = join(root, 'local')
      writeFileSync(local, 'remembered')
      const first = await startDev(root, '--data-dir', folder)
      try {
        const env = { QUIRE_PEERS: first.peers.map((peer) => peer.multiaddr).join(',') }
        process.kill(first.peers[0]!.pid, 'SIGKILL')
        await vi.waitFor(
          () => expect(first.stderr).toContain(`peer ${first.peers[0]!.peerId} has ended (SIGKILL)`),
          waitMs
        )
        expect(await quire(['put', local, '/kept'], { env })).toMatchObject({ status: 0, stderr: '' })
        const status = await quire(['status', '--json'], { env })
        const rows = status.stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { id: string; role?: string; error?: string })
        expect(rows.find((row) => row.id === first.peers[0]!.peerId)?.error).toContain('ECONNREFUSED')
        expect(rows.filter((row) => row.role === 'leader')).toHaveLength(1)
      } finally {
        await stopDev(first)
      }
      const second = await startDev(root, '--data-dir', folder)
      try {
        expect(second.peers.map((peer) => peer.multiaddr)).toEqual(first.peers.map((peer) => peer.multiaddr))
        const env = { QUIRE_PEERS: second.peers[0]!.multiaddr }
        expect(await quire(['cat', '/kept'], { env })).toEqual({ status: 0, stdout: 'remembered', stderr: '' })
      } finally {
        await stopDev(second)
      }
      const wrong = await quire(['dev', '--data-dir', folder, '--peers', '5'])
      expect(wrong).toMatchObject({ status: 2, stderr: `quire: --peers is 5, must be 3, as ${folder} has them\n` })
    },
    SLOW
  )

  it(
    'lets in listed clients only',
    async () => {
      const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
      mkdirSync(join(root, 'tmp'))
      const dev = await startDev(join(root, 'tmp'), '--peers', '1', '--clients', id)
      try {
        const env = { QUIRE_PEERS: dev.peers[0]!.multiaddr }
        expect(await quire(['ls', '--key', join(root, 'key')], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
        const other = (await quire(['keygen', join(root, 'other')])).stdout.trim()
        for (const args of [['status'], ['health'], ['ls'], ['rm', '/none']]) {
          const stranger = await quire(args, { env: { ...env, QUIRE_KEY: join(root, 'other') } })
          expect(stranger, args[0]).toMatchObject({ status: 1 })
          if (args[0] === 'status') expect(stranger.stdout).toMatch(/ no answer .*\n +refused: it is no client of/)
          else expect(stranger.stdout).toBe('')
          expect(stranger.stderr).toMatch(new RegExp(`^quire: (unhealthy: )?${other} is refused: [^\\n]*"clients"\\n$`))
        }
        const listed = await quire(['ls'], { env: { ...env, QUIRE_KEY: join(root, 'key') } })
        expect(listed).toEqual({ status: 0, stdout: '', stderr: '' })
        // The option comes before the variable.
        const option = await quire(['ls', '--key', join(root, 'key')], {
          env: { ...env, QUIRE_KEY: join(root, 'other') }
        })
        expect(option).toEqual({ status: 0, stdout: '', stderr: '' })
      } finally {
        await stopDev(dev)
      }
    },
    SLOW
  )
})

describe('files', () => {
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
    'come back as they were put',
    async () => {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const back = join(root, 'back')
      const result = await quire(['get', '/dir/file', back, '--json'], { env })
      expect(result).toMatchObject({ status: 0, stderr: '' })
      expect(JSON.parse(result.stdout)).toEqual({ path: '/dir/file', local: back, size: bytes.length, sha256 })
      expect(readFileSync(back).equals(bytes)).toBe(true)
      // A link stays one: the file that it leads to is replaced.
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

  it(
    'are taken from streams of unknown length, and written to standard output',
    async () => {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      for (const local of ['-', '/dev/stdin']) {
        expect(await quire(['put', local, '/stream', '--json'], { env, input: bytes })).toEqual({
          status: 0,
          stdout: `${JSON.stringify({ path: '/stream', size: bytes.length, sha256 })}\n`,
          stderr: ''
        })
        const back = join(root, 'back')
        const target = local === '-' ? '-' : '/dev/stdout'
        expect(await quire(['get', '/stream', target], { env, stdoutTo: back })).toMatchObject({
          status: 0,
          stderr: ''
        })
        expect(readFileSync(back).equals(bytes)).toBe(true)
      }
      expect(await quire(['put', '-', '/stream'], { env, input: new Uint8Array() })).toMatchObject({ status: 0 })
      expect(await quire(['get', '/stream', '-'], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
      expect(await quire(['get', '/stream', '-', '--json'], { env })).toMatchObject({ status: 2, stdout: '' })
      // The kernel makes it up while it is read, and says that it has no bytes.
      if (process.platform === 'linux') {
        expect(await quire(['put', '/proc/version', '/stream'], { env })).toMatchObject({ status: 0, stderr: '' })
        expect(await quire(['get', '/stream', '-'], { env })).toMatchObject({
          stdout: readFileSync('/proc/version', 'utf8')
        })
      }
      expect(await quire(['rm', '/stream'], { env })).toMatchObject({ status: 0 })
      expect(await quire(['ls', '/.put/'], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
    },
    SLOW
  )

  it(
    'are replaced by put, which leaves nothing else behind',
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
    'are not there at all when put is interrupted, and what was there before still is',
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
      // At once if the cluster could be told, else when the session's time is over.
      await vi.waitFor(async () => expect(await status()).toMatchObject({ sessions: 0, ownedPages: 0 }), waitMs)
      expect((await quire(['ls', '/'], { env })).stdout).toBe('/dir/file\n/kept\n/replaced\n')
      const stat = await quire(['stat', '/kept', '--json'], { env })
      expect(JSON.parse(stat.stdout)).toMatchObject({ size: bytes.length })
    },
    SLOW
  )

  it(
    'are moved, cut and taken away',
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
      for (const args of [
        ['rm', '/three'],
        ['mv', '/three', '/x'],
        ['truncate', '/three', '1']
      ]) {
        expect(await quire(args, { env })).toEqual({
          status: 1,
          stdout: '',
          stderr: 'quire: /three: no such file\n'
        })
      }
    },
    SLOW
  )

  it(
    'are listed and described',
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
    'are listed, and named in errors, with control characters as escapes, but not with --json',
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
    'are not looked for under a path or prefix in another normal form than NFC',
    async () => {
      for (const args of [
        ['ls', '/cafe\u0301'],
        ['stat', '/cafe\u0301'],
        ['mv', '/a', '/cafe\u0301']
      ]) {
        const result = await quire(args, { env })
        expect(result).toMatchObject({ status: 2, stdout: '' })
        expect(result.stderr).toContain('must be in Unicode normalization form C (NFC)')
      }
    },
    SLOW
  )

  it(
    'leave nothing behind when get fails',
    async () => {
      expect(await quire(['get', '/none', join(root, 'back')], { env })).toMatchObject({ status: 1 })
      expect(readdirSync(root)).toEqual([])
    },
    SLOW
  )

  it(
    'can be read by a program that stops reading',
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
    'stand in a cluster whose status is a table',
    async () => {
      const result = await quire(['status'], { env })
      expect(result).toMatchObject({ status: 0, stderr: '' })
      const id = dev!.peers[0]!.peerId.slice(-8)
      expect(result.stdout).toMatch(
        new RegExp(`^…${id}  leader +\\d+ +\\d+ +0 +[\\d.]+ [KMGTP]iB +127\\.0\\.0\\.1:\\d+$`, 'm')
      )
    },
    SLOW
  )
})
