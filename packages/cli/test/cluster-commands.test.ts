/** The commands that need no running cluster: usage, keys, cluster files, one peer. */
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { stopDev } from './support/dev.js'
import { quire, quireEach, startQuire, testFolder } from './support/quire.js'

const SLOW = 40_000
const waitMs = { timeout: 20_000, interval: 50 }

let root: string

beforeEach(() => {
  root = testFolder()
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
      for (const result of await quireEach(cases, (args) => quire(args))) {
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
    'prints help on stdout when asked',
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
        stdout: expect.stringMatching(/^cluster id {7}blue\nfounding digest {2}[0-9a-f]{64}\n$/) as string,
        stderr: 'quire: 2 voters survive no more failures than 1: use an odd number\n'
      })
      const made = JSON.parse(readFileSync(out, 'utf8'))
      expect(made).toMatchObject({ clusterId: 'blue', clients: 'any', admins: [] })
      expect(made.voters.map((voter: { peerId: string }) => voter.peerId).sort()).toEqual([...ids].sort())
      expect(await quire(args)).toMatchObject({
        status: 1,
        stderr: `quire: ${out}: the file exists and is not overwritten\n`
      })
      expect(await quire(['init', '--voters', '/ip4/127.0.0.1/tcp/1/p2p/x', '--clients', 'any'])).toMatchObject({
        status: 2
      })
    },
    SLOW
  )

  it(
    'init takes several addresses of one voter joined by commas, and warns only of an even number of voters',
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
      // PeerIds of clients are separated as addresses are.
      const listed = await quire(['init', '--voters', a!, '--clients', `${ids[1]},`, ids[2]!])
      expect(JSON.parse(listed.stdout)).toMatchObject({ clients: ids.slice(1).sort() })
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
    'peer runs one peer, which exits cleanly at SIGTERM and refuses a second process on its data directory',
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

  it.each(['client', 'peer'])(
    'a %s command names an unusable file or value in one line, and leaves nothing behind',
    async (role) => {
      const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
      const address = `/ip4/127.0.0.1/tcp/1/p2p/${id}`
      const otherId = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
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
        [['put', file, 'a'], 2, 'path is "a", must be absolute (begin with /)\n'],
        [['put', file, '/a/../b'], 2, 'path is "/a/../b", must be free of . and .. parts\n'],
        [['get', '/a', '/dev/null'], 2, 'local is "/dev/null", must be a file'],
        [['get', '/a', ''], 2, 'local is "", must be a name'],
        [['get', 'a', folder], 2, 'path is "a", must be absolute'],
        [['cat', 'a'], 2, 'path is "a", must be absolute'],
        [['stat', 'a'], 2, 'path is "a", must be absolute'],
        [['rm', 'a'], 2, 'path is "a", must be absolute'],
        [['mv', '/a', 'b'], 2, 'to is "b", must be absolute'],
        [['truncate', 'a', '1'], 2, 'path is "a", must be absolute'],
        [['get', '/a', folder], 2, `local is "${folder}", must be a file`],
        [['get', '/a', join(missing, 'x')], 1, `cannot be written (ENOENT)`],
        [['ls', 'rel'], 2, 'prefix is "rel", must be absolute (begin with /)\n'],
        [['truncate', '/a', '1e3'], 2, 'size is "1e3", must be a number of bytes, at most 2^52\n'],
        [['ls', '--timeout', '5x'], 2, '--timeout is "5x", must be a duration from 1ms to 24h'],
        [['put', file, '/a', '--page-size', '5000'], 2, '--page-size is "5000", must be a power of two'],
        [['ls', '--cluster', 'x'], 2, '--cluster (or QUIRE_CLUSTER) is "x", must be 64 hexadecimal digits\n'],
        [['ls', '--key', missing], 1, `${missing}: cannot be read (ENOENT)`],
        [['ls', '--key', file], 1, `${file}: not a libp2p private key in base64`]
      ]
      const ofPeer: typeof ofClient = [
        [['init', '--voters', address, address, '--clients', 'any'], 2, `--voters: ${id} is named twice`],
        [['init', '--voters', '/ip4/127.0.0.1/tcp/0', '--clients', 'any'], 2, 'must be a multiaddr that ends in'],
        [
          ['init', '--voters', address, '--clients', 'any', '--round-trip', '5'],
          2,
          '--round-trip is "5", must be whole milliseconds from 10 to 1000'
        ],
        [['keygen', join(missing, 'key')], 1, `${join(missing, 'key')}: cannot be written (ENOENT)`],
        [['init', '--voters', missing, '--clients', 'any'], 2, `${missing}: cannot be read (ENOENT)`],
        [['init', '--voters', folder, '--clients', 'any'], 2, `${folder}: cannot be read (EISDIR)`],
        [['init', '--voters', file, '--clients', 'any'], 2, '--voters is "{", must be a multiaddr that ends in'],
        [['init', '--voters', address, '--clients', 'nobody'], 2, '--clients is "nobody", must be a PeerId'],
        [['init', '--voters', address, '--clients', `${otherId}, ,x`], 2, '--clients is "x", must be a PeerId'],
        [
          ['init', '--voters', address, '--clients', otherId, id],
          2,
          `--clients is "${id}", must be the PeerId of a client`
        ],
        [
          ['init', '--voters', '/ip4/192.0.2.1/tcp/4001/p2p/ID1', '--clients', 'any'],
          2,
          '"ID1" is not a PeerId (quire id FILE'
        ],
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
        [[...peer, folder, '--log-level', 'loud'], 2, '--log-level is "loud", must be one of silent, fatal, error'],
        [['dev', '--peers', '0'], 2, '--peers is "0", must be 1 to 9\n'],
        [['dev', '--data-dir', file], 1, `${file}: cannot be made: ${file} is there and is not a folder`]
      ]
      const env = { QUIRE_PEERS: address }
      const cases = role === 'peer' ? ofPeer : ofClient
      const results = await quireEach(cases, ([args]) => quire(args, { env }))
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
    'refuses addresses that cannot be dialed, and voters that are named twice or share an address',
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
      const [undialable, nobody, twice] = [join(root, 'undialable'), join(root, 'nobody'), join(root, 'twice')]
      writeFileSync(nobody, '# nobody yet\n\n')
      writeFileSync(twice, '{"clusterId":"blue","voters":[],"clients":[],"clients":"any"}')
      const voters = [{ peerId: id, addresses: ['/ip4/0.0.0.0/tcp/1'] }]
      writeFileSync(undialable, JSON.stringify({ clusterId: 'blue', voters, admins: [], clients: 'any' }))
      const cases: [args: string[], status: number, problem: string][] = [
        [['init', '--voters', address, `/dns4/a/tcp/2/p2p/${id}`, '--clients', 'any'], 2, `${id} is named twice`],
        [['init', '--voters', `${address},${address}`, '--clients', 'any'], 2, `"${address}", must be named once`],
        [['init', '--voters', address, sameAddress, '--clients', 'any'], 2, 'must be an address of its own'],
        [
          ['init', '--voters', address, `/ip6/::ffff:127.0.0.1/tcp/1/p2p/${otherId}`, '--clients', 'any'],
          2,
          'must be an address of its own'
        ],
        [['init', '--voters', `${address},${otherAddress}`, '--clients', 'any'], 2, 'are two voters'],
        [
          ['init', '--voters', `${address} ${otherAddress}`, '--clients', 'any'],
          2,
          'are two voters: pass them as separate arguments'
        ],
        [['init', '--voters', nobody, '--clients', 'any'], 2, `${nobody} names no voter`],
        [['init', '--voters', address, '--clients', 'any', otherId], 2, "'any' lets in all clients, so name no other"],
        [
          ['init', '--voters', address, '--clients', `${otherId},any`],
          2,
          "'any' lets in all clients, so name no other"
        ],
        [[...peer, missing, '--cluster', twice], 2, 'without the key "clients" twice'],
        [
          ['ls', '--peers', `${address},${sameAddress}`],
          2,
          `--peers is "${sameAddress}", must be an address of its own`
        ],
        [['init', '--voters', `/ip4/0.0.0.0/tcp/1/p2p/${id}`, '--clients', 'any'], 2, 'all addresses of a machine'],
        [['init', '--voters', `/ip4/127.0.0.1/tcp/0/p2p/${id}`, '--clients', 'any'], 2, 'port 0'],
        [['init', '--voters', `/dnsaddr/a/p2p/${id}`, '--clients', 'any'], 2, 'no transport for /dnsaddr'],
        [[...peer, missing, '--cluster', undialable], 2, `addresses is "/ip4/0.0.0.0/tcp/1/p2p/${id}"`],
        [['ls', '--peers', `${address}\nready`], 2, '--peers (or QUIRE_PEERS) is "ready"'],
        [['status', '--peers', `${address} /ip4/0.0.0.0/tcp/1/p2p/${id}`], 2, 'all addresses of a machine']
      ]
      const results = await quireEach(cases, ([args]) => quire(args))
      for (const [i, result] of results.entries()) {
        const [args, status, problem] = cases[i]!
        expect(result, args.join(' ')).toMatchObject({ status, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
        expect(result.stderr).toContain(problem)
      }
      expect(existsSync(missing)).toBe(false)
    },
    SLOW
  )

  it(
    'names the option that the user typed, not the API field, for an impossible value',
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
        [['dev', '--data-dir', ''], 2, '--data-dir is "", must be a name'],
        [[...peer, ''], 2, '--data-dir is "", must be a name'],
        [
          [...peer, missing, '--cluster', fields],
          2,
          `--cluster is "${fields}", must be a valid cluster file: voters is 0`
        ],
        [[...peer, missing, '--listen', 'here'], 2, '--listen is "here", must be a TCP multiaddr'],
        [[...peer, missing, '--cluster', foreign], 2, `--key is "${id}", must be the key of a voter`]
      ]
      const results = await quireEach(cases, ([args]) => quire(args, { env }))
      for (const [i, result] of results.entries()) {
        const [args, status, problem] = cases[i]!
        expect(result, args.join(' ')).toMatchObject({ status, stdout: '' })
        expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
        expect(result.stderr).toContain(problem)
      }
      expect(existsSync(missing)).toBe(false)
    },
    SLOW
  )

  it(
    'status says in one line that no peer answers, and for each peer the cause',
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
  'with --json, each failure or note is one JSON object on stderr, with the code of the error',
  async () => {
    const [id, second] = await Promise.all(
      ['one', 'two'].map(async (name) => (await quire(['keygen', join(root, name)])).stdout.trim())
    )
    const [a, b] = [id, second].map((each, i) => `/ip4/127.0.0.1/tcp/${i + 1}/p2p/${each}`) as [string, string]
    const missing = join(root, 'missing')
    const cases: [args: string[], status: number, line: object][] = [
      [['id', missing], 1, { error: { code: 'ERR_KEY_FILE', message: `${missing}: cannot be read (ENOENT)` } }],
      [
        ['ls', 'rel', '--peers', a],
        2,
        { error: { code: 'ERR_INVALID_ARGUMENT', message: 'prefix is "rel", must be absolute (begin with /)' } }
      ],
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
        ['init', '--voters', a, b, '--clients', 'any', '--out', join(root, 'cluster.json')],
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
    const id = (await quire(['keygen', join(root, 'key')])).stdout.trim()
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
