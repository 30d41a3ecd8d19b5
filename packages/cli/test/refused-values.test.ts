/** Values, files and addresses that `quire` refuses in one line. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { INIT, keygen, quire, quireEach, testFolder } from './support/quire.js'

const SLOW = 40_000

let root: string

beforeEach(() => {
  root = testFolder()
})

/** Arguments that `quire` refuses, its exit status, and a part of the line on stderr. */
type Refusal = readonly [args: string[], status: number, problem: string]

async function expectRefusals(cases: readonly Refusal[], env: Record<string, string> = {}): Promise<void> {
  const results = await quireEach(cases, ([args]) => quire(args, { env }))
  for (const [i, result] of results.entries()) {
    const [args, status, problem] = cases[i]!
    expect(result, args.join(' ')).toMatchObject({ status, stdout: '' })
    expect(result.stderr).toMatch(/^quire: [^\n]+\n$/)
    expect(result.stderr).toContain(problem)
  }
}

describe('values that quire refuses', () => {
  it.each(['client', 'peer'])(
    'a command of a %s names an unusable file or value in one line, and leaves nothing behind',
    async (role) => {
      const id = await keygen(join(root, 'key'))
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
      const ofClient: Refusal[] = [
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
        [
          ['ls', '--cluster', 'x'],
          2,
          '--cluster (or QUIRE_CLUSTER) is "x", must be a founding digest: 64 hexadecimal digits, as quire init prints it\n'
        ],
        [['ls', '--key', missing], 1, `${missing}: cannot be read (ENOENT)`],
        [['ls', '--key', file], 1, `${file}: not a libp2p private key in base64`]
      ]
      const ofPeer: Refusal[] = [
        [[...INIT, '--voters', address, address, '--clients', 'any'], 2, `--voters: ${id} is named twice`],
        [[...INIT, '--voters', '/ip4/127.0.0.1/tcp/0', '--clients', 'any'], 2, 'must be a multiaddr that ends in'],
        [
          [...INIT, '--voters', address, '--clients', 'any', '--round-trip', '5'],
          2,
          '--round-trip is "5", must be whole milliseconds from 10 to 1000'
        ],
        [['keygen', join(missing, 'key')], 1, `${join(missing, 'key')}: cannot be written (ENOENT)`],
        [[...INIT, '--voters', missing, '--clients', 'any'], 2, `${missing}: cannot be read (ENOENT)`],
        [[...INIT, '--voters', folder, '--clients', 'any'], 2, `${folder}: cannot be read (EISDIR)`],
        [[...INIT, '--voters', file, '--clients', 'any'], 2, '--voters is "{", must be a multiaddr that ends in'],
        [[...INIT, '--voters', address, '--clients', 'nobody'], 2, '--clients is "nobody", must be a PeerId'],
        [[...INIT, '--voters', address, '--clients', `${otherId}, ,x`], 2, '--clients is "x", must be a PeerId'],
        [
          [...INIT, '--voters', address, '--clients', otherId, id],
          2,
          `--clients is "${id}", must be the PeerId of a client`
        ],
        [
          ['init', '--voters', address, '--clients', 'any', '--admins', id],
          2,
          `--admins is "${id}", must be the PeerId of an admin: this one is a voter's`
        ],
        [
          ['init', '--voters', address, '--clients', 'any'],
          2,
          "required option '--admins <ids...>' not specified (see --help)"
        ],
        [
          [...INIT, '--voters', '/ip4/192.0.2.1/tcp/4001/p2p/ID1', '--clients', 'any'],
          2,
          '"ID1" is not a PeerId (quire id FILE'
        ],
        [
          [...INIT, '--voters', address, '--clients', 'any', '--cluster-id', 'a b'],
          2,
          '--cluster-id is "a b", must be'
        ],
        [
          [...INIT, '--voters', address, '--clients', 'any', '--out', join(missing, 'x')],
          1,
          `${join(missing, 'x')}: cannot be written (ENOENT)`
        ],
        [[...peer, missing, '--cluster', missing], 2, `${missing}: cannot be read (ENOENT)`],
        [[...peer, missing, '--cluster', file], 2, `--cluster is "${file}", must be a JSON file`],
        [[...peer, file], 1, `${file}: not a directory`],
        [
          [...peer, folder],
          1,
          `${folder}: empty, and a first start needs the cluster's configuration (--cluster), or a member to ask (--join)`
        ],
        [[...peer, folder, '--log-level', 'loud'], 2, '--log-level is "loud", must be one of silent, fatal, error'],
        [['dev', '--peers', '0'], 2, '--peers is "0", must be 1 to 9\n'],
        [['dev', '--data-dir', file], 1, `${file}: cannot be made: ${file} is there and is not a folder`]
      ]
      const env = { QUIRE_PEERS: address }
      await expectRefusals(role === 'peer' ? ofPeer : ofClient, env)
      expect(readdirSync(root)).toEqual(before)
      expect(readdirSync(folder)).toEqual([])
    },
    SLOW
  )

  it(
    'quire refuses addresses that cannot be dialed, and voters that are named twice or share an address',
    async () => {
      const id = await keygen(join(root, 'key'))
      const address = `/ip4/127.0.0.1/tcp/1/p2p/${id}`
      const missing = join(root, 'missing')
      const peer = ['peer', '--key', join(root, 'key'), '--listen', '/ip4/127.0.0.1/tcp/0', '--data-dir']
      const otherId = await keygen(join(root, 'other'))
      const [sameAddress, otherAddress] = [1, 2].map((port) => `/ip4/127.0.0.1/tcp/${port}/p2p/${otherId}`) as [
        string,
        string
      ]
      const [undialable, nobody, twice] = [join(root, 'undialable'), join(root, 'nobody'), join(root, 'twice')]
      writeFileSync(nobody, '# nobody yet\n\n')
      writeFileSync(twice, '{"clusterId":"blue","voters":[],"clients":[],"clients":"any"}')
      const voters = [{ peerId: id, addresses: ['/ip4/0.0.0.0/tcp/1'] }]
      writeFileSync(undialable, JSON.stringify({ clusterId: 'blue', voters, admins: [], clients: 'any' }))
      const cases: Refusal[] = [
        [[...INIT, '--voters', address, `/dns4/a/tcp/2/p2p/${id}`, '--clients', 'any'], 2, `${id} is named twice`],
        [[...INIT, '--voters', `${address},${address}`, '--clients', 'any'], 2, `"${address}", must be named once`],
        [[...INIT, '--voters', address, sameAddress, '--clients', 'any'], 2, 'must be an address of its own'],
        [
          [...INIT, '--voters', address, `/ip6/::ffff:127.0.0.1/tcp/1/p2p/${otherId}`, '--clients', 'any'],
          2,
          'must be an address of its own'
        ],
        [[...INIT, '--voters', `${address},${otherAddress}`, '--clients', 'any'], 2, 'are two voters'],
        [
          [...INIT, '--voters', `${address} ${otherAddress}`, '--clients', 'any'],
          2,
          'are two voters: pass them as separate arguments'
        ],
        [[...INIT, '--voters', nobody, '--clients', 'any'], 2, `${nobody} names no voter`],
        [[...INIT, '--voters', address, '--clients', 'any', otherId], 2, "'any' lets in all clients, so name no other"],
        [
          [...INIT, '--voters', address, '--clients', `${otherId},any`],
          2,
          "'any' lets in all clients, so name no other"
        ],
        [[...peer, missing, '--cluster', twice], 2, 'without the key "clients" twice'],
        [
          ['ls', '--peers', `${address},${sameAddress}`],
          2,
          `--peers is "${sameAddress}", must be an address of its own`
        ],
        [[...INIT, '--voters', `/ip4/0.0.0.0/tcp/1/p2p/${id}`, '--clients', 'any'], 2, 'all addresses of a machine'],
        [[...INIT, '--voters', `/ip4/127.0.0.1/tcp/0/p2p/${id}`, '--clients', 'any'], 2, 'port 0'],
        [[...INIT, '--voters', `/dnsaddr/a/p2p/${id}`, '--clients', 'any'], 2, 'no transport for /dnsaddr'],
        [[...peer, missing, '--cluster', undialable], 2, `addresses is "/ip4/0.0.0.0/tcp/1/p2p/${id}"`],
        [['ls', '--peers', `${address}\nready`], 2, '--peers (or QUIRE_PEERS) is "ready"'],
        [['status', '--peers', `${address} /ip4/0.0.0.0/tcp/1/p2p/${id}`], 2, 'all addresses of a machine']
      ]
      await expectRefusals(cases)
      expect(existsSync(missing)).toBe(false)
    },
    SLOW
  )

  it(
    'quire names the option that the user typed, not the API field, for an impossible value',
    async () => {
      const key = join(root, 'key')
      const id = await keygen(key)
      const [missing, fields, foreign] = [join(root, 'missing'), join(root, 'fields'), join(root, 'foreign')]
      writeFileSync(fields, JSON.stringify({ clusterId: 'blue', voters: [], clients: 'any' }))
      const stranger = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
      const voters = [{ peerId: stranger, addresses: ['/ip4/127.0.0.1/tcp/1'] }]
      writeFileSync(foreign, JSON.stringify({ clusterId: 'blue', voters, clients: 'any' }))
      const peer = ['peer', '--key', key, '--listen', '/ip4/127.0.0.1/tcp/0', '--data-dir']
      const env = { QUIRE_PEERS: `/ip4/127.0.0.1/tcp/1/p2p/${id}` }
      const cases: Refusal[] = [
        [['ls', '--key', key], 2, `--key is "${id}", must be a key of the client's own`],
        [['status', '--key', key], 2, `--key is "${id}", must be a key of the client's own`],
        [['dev', '--data-dir', ''], 2, '--data-dir is "", must be a name'],
        [[...peer, ''], 2, '--data-dir is "", must be a name'],
        [
          [...peer, missing, '--cluster', fields],
          2,
          `--cluster is "${fields}", must be a valid cluster file: voters is 0`
        ],
        [[...peer, missing, '--retained-log', '1MB'], 2, '--retained-log is "1MB", must be a size such as 65536'],
        [[...peer, missing, '--snapshot-rate', '1KiB'], 2, '--snapshot-rate is 1024, must be whole bytes from 65536'],
        [[...peer, missing, '--scrub-rate', '1KiB'], 2, '--scrub-rate is 1024, must be whole bytes from 65536'],
        [
          [...peer, missing, '--scrub-interval', '500ms'],
          2,
          `--scrub-interval is "500ms", must be a duration from 1s to 24h, such as 10m or 1h, or 'never'`
        ],
        [
          [...peer, missing, '--join', `/ip4/127.0.0.1/tcp/1/p2p/${stranger}`, '--rejoin', 'Lost'],
          2,
          '--rejoin is "Lost", must be founder, or an incarnation of 32 digits, as quire members list shows it\n'
        ],
        [[...peer, missing, '--rejoin', 'founder'], 2, '--rejoin needs --join'],
        [[...peer, missing, '--listen', 'here'], 2, '--listen is "here", must be a TCP multiaddr'],
        [[...peer, missing, '--cluster', foreign], 2, `--key is "${id}", must be the key of a voter`]
      ]
      await expectRefusals(cases, env)
      expect(existsSync(missing)).toBe(false)
    },
    SLOW
  )
})
