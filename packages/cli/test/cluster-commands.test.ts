/** The commands that need no running cluster: usage, keys, cluster files, one peer. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { stopDev } from './support/dev.js'
import { ADMIN, INIT, keygen, quire, quireEach, startQuire, testFolder } from './support/quire.js'

const SLOW = 40_000
const waitMs = { timeout: 20_000, interval: 50 }

let root: string

beforeEach(() => {
  root = testFolder()
})

describe('quire', () => {
  it(
    'quire ends with status 2 and one line on stderr for bad usage',
    async () => {
      const id = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
      const init = [...INIT, '--voters', `/ip4/192.0.2.1/tcp/1/p2p/${id}`, '--clients']
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
        [...INIT, '--clients', 'any', '--voters', '/ip4/192.0.2.1/tcp/1'],
        ['dev', '--clients', 'nobody']
      ]
      for (const result of await quireEach(cases, (args) => quire(args))) {
        expect(result).toMatchObject({ status: 2, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
      }
    },
    SLOW
  )

  it(
    'quire names all required options that are missing, and says that the options of a command come after it',
    async () => {
      const cases: [args: string[], problem: string][] = [
        [
          ['peer'],
          "required options '--data-dir <folder>', '--key <file>', '--listen <addresses...>' not specified (see --help)"
        ],
        [[...INIT, '--clients', 'any'], "required option '--voters <items...>' not specified (see --help)"],
        [['--timeout=5', 'ls'], "unknown option '--timeout': options of a command come after its name (see --help)"],
        [['--frob', 'ls'], "unknown option '--frob' (see --help)"]
      ]
      for (const [i, result] of (await quireEach(cases, ([args]) => quire(args))).entries())
        expect(result).toEqual({ status: 2, stdout: '', stderr: `quire: ${cases[i]![1]}\n` })
      expect(JSON.parse((await quire(['--json', 'ls'])).stderr)).toEqual({
        error: { code: null, message: "unknown option '--json': options of a command come after its name (see --help)" }
      })
    },
    SLOW
  )

  it(
    'quire marks the required options in the help of a command',
    async () => {
      for (const [command, count] of [
        ['init', 3],
        ['peer', 3]
      ] as const)
        expect((await quire([command, '--help'])).stdout.match(/ required: /g)).toHaveLength(count)
    },
    SLOW
  )

  it(
    'quire init --json without --out prints one object with the digest and the cluster file',
    async () => {
      const id = await keygen(join(root, 'key'))
      const args = [...INIT, '--json', '--clients', 'any', '--voters', `/ip4/127.0.0.1/tcp/1/p2p/${id}`]
      const { status, stdout, stderr } = await quire(args)
      expect([status, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(/^[^\n]+\n$/)
      const { clusterId, founding, file, cluster } = JSON.parse(stdout) as Record<string, unknown>
      expect(founding).toMatch(/^[0-9a-f]{64}$/)
      expect([file, cluster]).toEqual([null, expect.objectContaining({ clusterId, clients: 'any' })])
    },
    SLOW
  )

  it(
    'quire prints help on stderr and ends with status 2 when no command is given',
    async () => {
      const result = await quire([])
      expect(result).toMatchObject({ status: 2, stdout: '' })
      expect(result.stderr).toMatch(/^Usage: quire .*\n/)
      expect(result.stderr).toContain('\n  keygen ')
    },
    SLOW
  )

  it(
    'quire prints help on stdout when asked',
    async () => {
      const cases = [['--help'], ['help'], ['help', 'init'], ['init', '--help']]
      for (const result of await quireEach(cases, (args) => quire(args))) {
        expect(result).toMatchObject({ status: 0, stderr: '' })
        expect(result.stdout).toMatch(/^Usage: quire/)
      }
    },
    SLOW
  )

  it(
    'keygen writes a key that only its owner may read, prints its PeerId, and overwrites no file',
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
    'init makes the cluster file from addresses and from files of addresses',
    async () => {
      const ids = await Promise.all([1, 2].map((i) => keygen(join(root, `k${i}`))))
      const [a, b] = ids.map((id, i) => `/ip4/127.0.0.1/tcp/${4001 + i}/p2p/${id}`)
      writeFileSync(join(root, 'voters'), `# the second\n${b}\n`)
      const out = join(root, 'cluster.json')
      const args = [
        ...INIT,
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
        stdout: expect.stringMatching(/^cluster id {7}blue\nfounding digest {2}[0-9a-f]{64}\n$/) as string,
        stderr: 'quire: 2 voters survive no more failures than 1: use an odd number\n'
      })
      const made = JSON.parse(readFileSync(out, 'utf8'))
      expect(made).toMatchObject({ clusterId: 'blue', clients: 'any', admins: [ADMIN] })
      expect(made.voters.map((voter: { peerId: string }) => voter.peerId).sort()).toEqual([...ids].sort())
      expect(await quire(args)).toMatchObject({
        status: 1,
        stderr: `quire: ${out}: the file exists and is not overwritten\n`
      })
      expect(await quire([...INIT, '--voters', '/ip4/127.0.0.1/tcp/1/p2p/x', '--clients', 'any'])).toMatchObject({
        status: 2
      })
    },
    SLOW
  )

  it(
    'init takes several addresses of one voter joined by commas, and warns only of an even number of voters',
    async () => {
      const ids = await Promise.all([1, 2, 3].map((i) => keygen(join(root, `k${i}`))))
      const [a, b, c] = ids.map((id, i) => `/ip4/127.0.0.1/tcp/${4001 + i}/p2p/${id}`)
      const second = `/dns4/peer.example/tcp/4001/p2p/${ids[0]}`
      writeFileSync(join(root, 'voters'), `${b}\n${c}\n`)
      const made = await quire([...INIT, '--voters', `${a},${second}`, join(root, 'voters'), '--clients', 'any'])
      const digest = /^quire: founding digest [0-9a-f]{64}\n/.source
      expect(made.status).toBe(0)
      expect(made.stderr).toMatch(new RegExp(`${digest}$`))
      const cluster = JSON.parse(made.stdout) as { voters: { peerId: string; addresses: string[] }[] }
      expect(cluster.voters).toHaveLength(3)
      expect(cluster.voters.find((voter) => voter.peerId === ids[0])?.addresses).toEqual([a, second])
      // PeerIds of clients are separated as addresses are.
      const listed = await quire([...INIT, '--voters', a!, '--clients', `${ids[1]},`, ids[2]!])
      expect(JSON.parse(listed.stdout)).toMatchObject({ clients: ids.slice(1).sort() })
      const one = await quire([...INIT, '--voters', a!, '--clients', 'any'])
      expect(one.status).toBe(0)
      expect(one.stderr).toMatch(new RegExp(`${digest}$`))
      const two = await quire([...INIT, '--voters', a!, b!, '--clients', 'any'])
      expect(two.status).toBe(0)
      expect(two.stderr).toMatch(new RegExp(`${digest}quire: 2 voters [^\\n]*odd number\\n$`))
      expect(JSON.parse(two.stdout)).toMatchObject({ clients: 'any' })
    },
    SLOW
  )

  it(
    'peer runs one peer, which exits cleanly at SIGTERM and refuses a second process on its data directory',
    async () => {
      const id = await keygen(join(root, 'key'))
      const cluster = join(root, 'cluster.json')
      await quire([...INIT, '--voters', `/ip4/127.0.0.1/tcp/1/p2p/${id}`, '--clients', 'any', '--out', cluster])
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
        /^quire: .*no such directory, and a first start needs the cluster's configuration \(--cluster\), or a member to ask \(--join\)\n$/
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

  it(
    'quire peer --json prints its data directory as an absolute path',
    async () => {
      const [key, cluster] = [join(root, 'key'), join(root, 'cluster.json')]
      const id = await keygen(key)
      await quire([...INIT, '--voters', `/ip4/127.0.0.1/tcp/1/p2p/${id}`, '--clients', 'any', '--out', cluster])
      const dataDir = join(root, 'data')
      const args = ['--data-dir', relative(process.cwd(), dataDir), '--key', key, '--cluster', cluster]
      const peer = startQuire(['peer', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--log-level', 'error', ...args])
      try {
        await vi.waitFor(() => expect(peer.stdout).toContain('\n'), waitMs)
        expect(JSON.parse(peer.stdout)).toMatchObject({ peerId: id, dataDir })
      } finally {
        await stopDev(peer)
      }
    },
    SLOW
  )

  it(
    'status says in one line that no peer answers, and for each peer the cause',
    async () => {
      const id = await keygen(join(root, 'key'))
      const result = await quire(['status', '--peers', `/ip4/127.0.0.1/tcp/1/p2p/${id}`])
      expect(result.status).toBe(1)
      expect(result.stdout).toMatch(/ no answer +127\.0\.0\.1:1\n +connection refused\n$/)
      const problem = `no peer answers; unreachable: …${id.slice(-8)} at 127.0.0.1:1 (connection refused)`
      expect(result.stderr).toBe(`quire: ${problem}\n`)
      const health = await quire(['health', '--peers', `/ip4/127.0.0.1/tcp/1/p2p/${id}`])
      expect(health).toEqual({ status: 1, stdout: '', stderr: `quire: unhealthy: ${problem}\n` })
      const json = await quire(['health', '--json', '--peers', `/ip4/127.0.0.1/tcp/1/p2p/${id}`])
      expect(JSON.parse(json.stdout)).toMatchObject({ healthy: false, problem, clusterId: null, leader: null })
    },
    SLOW
  )
})

it(
  'with --json, each failure or note is one JSON object on stderr, with the code of the error',
  async () => {
    const [id, second] = await Promise.all(['one', 'two'].map((name) => keygen(join(root, name))))
    const [a, b] = [id, second].map((each, i) => `/ip4/127.0.0.1/tcp/${i + 1}/p2p/${each}`) as [string, string]
    const missing = join(root, 'missing')
    const cases: [args: string[], status: number, line: object][] = [
      [['id', missing], 1, { error: { code: 'ERR_KEY_FILE', message: `${missing}: cannot be read (ENOENT)` } }],
      [
        ['ls', 'rel', '--peers', a],
        2,
        { error: { code: 'ERR_INVALID_ARGUMENT', message: 'prefix is "rel", must be absolute (begin with /)' } }
      ],
      ...[
        ['cat', '/a'],
        ['get', '/a', '-']
      ].map((args): [string[], number, object] => {
        const message = '--json: standard output carries the bytes of the file'
        return [[...args, '--peers', a], 2, { error: { code: null, message } }]
      }),
      [['lss'], 2, { error: { code: null, message: "unknown command 'lss' (Did you mean ls?) (see --help)" } }],
      [
        ['put', missing, '/a', '--peers', a],
        1,
        { error: { code: null, message: `${missing}: cannot be read (ENOENT)` } }
      ],
      [
        ['ls', '--peers', a, '--timeout', '100ms'],
        1,
        {
          error: { code: 'ERR_UNAVAILABLE', message: expect.stringMatching(/^unavailable: no peer answered/) as string }
        }
      ],
      [
        [...INIT, '--voters', a, b, '--clients', 'any', '--out', join(root, 'cluster.json')],
        0,
        { note: '2 voters survive no more failures than 1: use an odd number' }
      ]
    ]
    const results = await quireEach(cases, ([args]) => quire([...args, '--json']))
    for (const [i, { status, stderr }] of results.entries()) {
      const [args, wanted, line] = cases[i]!
      expect(status, args.join(' ')).toBe(wanted)
      expect(stderr).toMatch(/^[^\n]+\n$/)
      expect(JSON.parse(stderr)).toEqual(line)
    }
    // An argument after -- is not an option.
    expect((await quire(['id', '--', '--json'])).stderr).toBe('quire: --json: cannot be read (ENOENT)\n')
  },
  SLOW
)

it(
  'every client command waits as long as --timeout says, then names the peers that it asked and their states',
  async () => {
    const id = await keygen(join(root, 'key'))
    const peers = `/ip4/127.0.0.1/tcp/1/p2p/${id}`
    const commands = [['ls'], ['stat', '/a'], ['rm', '/a'], ['mv', '/a', '/b'], ['cat', '/a'], ['truncate', '/a', '1']]
    const results = await quireEach(commands, (args) => quire([...args, '--peers', peers, '--timeout', '300ms']))
    for (const [i, result] of results.entries()) {
      expect(result, commands[i]![0]).toEqual({
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
