/** The commands that change a cluster or show who may, on a cluster of three processes. */
import { createDsmClient, type DsmClient } from '@quire/dsm-client'
import { loadPrivateKey } from '@quire/net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import pino from 'pino'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { startDev, stopDev, type Dev } from './support/dev.js'
import { keygen, quire, quireEach, type Finished } from './support/quire.js'

const SLOW = 120_000
const waitMs = { timeout: 30_000, interval: 200 }

let root: string
let dev: Dev
/** The addresses of all peers, and the key of the admin. */
let env: Record<string, string>
/** PeerIds of nodes that are neither peers nor admins, and the files of their keys. */
let others: { readonly id: string; readonly key: string }[]
const clients: DsmClient[] = []

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'quire-cli-'))
  dev = await startDev(root, '--data-dir', join(root, 'cluster'))
  env = {
    QUIRE_PEERS: dev.peers.map(({ multiaddr }) => multiaddr).join(','),
    QUIRE_KEY: join(root, 'cluster', 'admin.key')
  }
  const files = [1, 2].map((i) => join(root, `other-${i}.key`))
  others = await Promise.all(files.map(async (key) => ({ id: await keygen(key), key })))
}, SLOW)

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close().catch(() => {})
})

afterAll(async () => {
  await stopDev(dev)
  rmSync(root, { recursive: true, force: true })
}, SLOW)

const run = (...args: string[]): Promise<Finished> => quire(args, { env })

/** Runs the command, which must succeed, and returns its output. */
async function done(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(...args)
  expect([status, stderr], args.join(' ')).toEqual([0, ''])
  return stdout
}

async function jsonLines(...args: string[]): Promise<Record<string, unknown>[]> {
  const lines = (await done(...args, '--json')).trim().split('\n')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

const NOTHING = 'nothing to change: already in force\n'

/** Runs a command that changes the cluster, and then once more. */
async function changes(...args: string[]): Promise<void> {
  expect(await done(...args)).toBe('')
  expect(await done(...args)).toBe(NOTHING)
}

async function leader(): Promise<string> {
  const rows = await jsonLines('status')
  return rows.find(({ role }) => role === 'leader')!['id'] as string
}

describe('quire members', () => {
  it(
    'quire members list shows the members, and that all are up to date',
    async () => {
      const ids = dev.peers.map(({ peerId }) => peerId).sort()
      await vi.waitFor(async () => {
        const members = await jsonLines('members', 'list')
        const up = { role: 'voter', lag: 0, answers: true, hasCaughtUp: true }
        expect(members).toEqual(ids.map((id) => ({ id, ...up })))
      }, waitMs)
      const [head, ...rows] = (await done('members', 'list')).trimEnd().split('\n')
      expect(head).toMatch(/^ROLE +LAG +STATE +MEMBER$/)
      expect(rows.sort()).toEqual(
        ids.map((id) => expect.stringMatching(new RegExp(`^voter +0 +up to date +${id}$`)) as string)
      )
    },
    SLOW
  )

  it(
    'quire members add, replace and remove invite a peer, give it a place, and withdraw the invitation',
    async () => {
      const { id } = others[0]!
      const place = dev.peers[0]!.peerId
      const address = `/ip4/192.0.2.9/tcp/4001/p2p/${id},/dns4/peer.example/tcp/4001/p2p/${id}`
      await changes('members', 'add', address)
      expect((await done('members', 'list')).trimEnd().split('\n').at(-1)).toMatch(new RegExp(`^invited +${id}$`))
      expect((await jsonLines('members', 'list')).at(-1)).toEqual({ id, role: 'invited', replaces: null })
      expect(await done('members', 'replace', place, address)).toBe('')
      expect(await done('members', 'list')).toContain(`${id}, to replace ${place}\n`)
      expect((await jsonLines('members', 'list')).at(-1)).toEqual({ id, role: 'invited', replaces: place })
      expect(await done('members', 'remove', id)).toBe('')
      expect(await done('members', 'list')).not.toContain('invited')
    },
    SLOW
  )

  it(
    'quire members promote changes nothing for a voter, and refuses a peer that is no member',
    async () => {
      expect(await done('members', 'promote', dev.peers[0]!.peerId)).toBe(NOTHING)
      const { id } = others[0]!
      expect(await run('members', 'promote', id)).toEqual({
        status: 2,
        stdout: '',
        stderr: `quire: member is "${id}", must be a member of the cluster\n`
      })
    },
    SLOW
  )

  it(
    'a change of the cluster prints as JSON whether it changed anything, and the index of its entry',
    async () => {
      const { id } = others[0]!
      const address = `/ip4/192.0.2.9/tcp/4001/p2p/${id}`
      expect(await jsonLines('members', 'add', address)).toEqual([
        { changed: true, index: expect.any(Number) as number }
      ])
      expect(await jsonLines('members', 'add', address)).toEqual([{ changed: false, index: null }])
      expect(await jsonLines('members', 'remove', id)).toMatchObject([{ changed: true }])
    },
    SLOW
  )
})

describe('quire transfer-leader', () => {
  it(
    'quire transfer-leader moves leadership to the peer that it names, or to any other',
    async () => {
      const before = await leader()
      const { peerId: next } = dev.peers.find(({ peerId }) => peerId !== before)!
      expect(await done('transfer-leader', next)).toBe('')
      await vi.waitFor(async () => expect(await leader()).toBe(next), waitMs)
      expect(await jsonLines('transfer-leader')).toEqual([{ changed: true, index: null }])
      await vi.waitFor(async () => expect(await leader()).not.toBe(next), waitMs)
    },
    SLOW
  )

  it(
    'quire transfer-leader refuses an id that is no member',
    async () => {
      const { id } = others[0]!
      expect(await run('transfer-leader', id)).toEqual({
        status: 2,
        stdout: '',
        stderr: `quire: member is "${id}", must be a member of the cluster\n`
      })
    },
    SLOW
  )
})

describe('quire round-trip', () => {
  it(
    'quire round-trip changes the round trip that every peer tells, and refuses one out of range',
    async () => {
      await changes('round-trip', '40')
      await vi.waitFor(async () => {
        const rows = await jsonLines('status')
        expect(rows.map(({ roundTripMs }) => roundTripMs)).toEqual([40, 40, 40])
      }, waitMs)
      expect(await run('round-trip', '5')).toEqual({
        status: 2,
        stdout: '',
        stderr: 'quire: ms is "5", must be whole milliseconds from 10 to 1000\n'
      })
    },
    SLOW
  )
})

describe('quire clients and quire admins', () => {
  it(
    'quire clients list shows the admins, and the rules that allow and deny change',
    async () => {
      const { id } = others[0]!
      const admin = (await quire(['id', env['QUIRE_KEY']!])).stdout.trim()
      expect(await done('clients', 'list')).toBe(`admin    ${admin}\nallowed  any other client\n`)
      await changes('clients', 'deny', id)
      expect((await done('clients', 'list')).split('\n')).toContain(`denied   ${id}`)
      for (const rule of [
        ['deny', 'any'],
        ['allow', id]
      ])
        expect(await done('clients', ...rule)).toBe('')
      expect(await jsonLines('clients', 'list')).toEqual([
        { id: 'any', rule: 'denied' },
        ...[
          { id: admin, rule: 'admin' },
          { id, rule: 'allowed' }
        ].sort((a, b) => (a.id < b.id ? -1 : 1))
      ])
      expect(await done('clients', 'list')).toContain('denied   any other client\n')
      expect(await done('clients', 'allow', 'any')).toBe('')
    },
    SLOW
  )

  it(
    'a client that is denied is cut off at once, also while it is idle, and learns the reason',
    async () => {
      const { id, key } = others[1]!
      const privateKey = await loadPrivateKey(key)
      const lines: string[] = []
      const logger = pino({ level: 'info' }, { write: (line) => void lines.push(line) })
      const peers = env['QUIRE_PEERS']!
      const client = await createDsmClient({ peers, privateKey, logger, faultTimeoutMs: 5_000 })
      clients.push(client)
      const told = (msg: string): boolean => lines.some((line) => line.includes(`"msg":"${msg}"`))
      expect([told('connected to the leader'), told('connection to the leader lost')]).toEqual([true, false])
      await done('clients', 'deny', id)
      await vi.waitFor(() => expect(told('connection to the leader lost')).toBe(true), waitMs)
      // Only the cluster ends a session, so the client asks on until the call times out.
      await expect(client.stat('/file')).rejects.toMatchObject({
        code: 'ERR_NOT_AUTHORIZED',
        reason: expect.stringMatching(/^an admin of cluster dev-\w+ has denied it access$/) as string
      })
      expect(await quire(['ls', '--key', key], { env })).toEqual({
        status: 1,
        stdout: '',
        stderr: expect.stringMatching(
          /^quire: \w+ is refused: an admin of cluster dev-\w+ has denied it access\n$/
        ) as string
      })
      await done('clients', 'allow', id)
      expect(await quire(['ls', '--key', key], { env })).toMatchObject({ status: 0 })
    },
    SLOW
  )

  it(
    'a client that is denied keeps its page until its session expires, and the next client reads the flushed bytes',
    async () => {
      const { id, key } = others[1]!
      const peers = env['QUIRE_PEERS']!
      const sessionTtlMs = 6_000
      const owner = await createDsmClient({ peers, privateKey: await loadPrivateKey(key), sessionTtlMs })
      const other = await createDsmClient({ peers })
      clients.push(owner, other)
      const owned = await (await owner.open('/owned', { create: true, size: 4096 })).mmap()
      const mapping = await (await other.open('/owned')).mmap()
      await owned.write(0, new Uint8Array([1]))
      await owned.msync()
      await owned.write(0, new Uint8Array([2]))
      await done('clients', 'deny', id)
      const deniedAt = performance.now()
      expect(await mapping.read(0, 1)).toEqual(new Uint8Array([1]))
      // The lease began before the denial, with the last keep-alive, and the command takes a while to end.
      expect(performance.now() - deniedAt).toBeGreaterThan(sessionTtlMs / 6)
      await done('clients', 'allow', id)
      await done('rm', '/owned')
    },
    SLOW
  )

  it(
    'quire admins add lets an identity change the cluster, and remove takes that away, except from the last admin',
    async () => {
      const { id, key } = others[0]!
      const as = (...args: string[]): Promise<Finished> => quire([...args, '--key', key], { env })
      expect(await as('admins', 'add', id)).toEqual({
        status: 1,
        stdout: '',
        stderr: `quire: ${id} is refused: it is no admin of the cluster; quire clients list shows the admins\n`
      })
      expect(await done('admins', 'add', id)).toBe('')
      expect(await as('clients', 'deny', id)).toEqual({
        status: 1,
        stdout: '',
        stderr: `quire: the exclusion of client ${id} is refused: it is an admin: remove it there first\n`
      })
      expect(await done('admins', 'remove', id)).toBe('')
      const admin = (await quire(['id', env['QUIRE_KEY']!])).stdout.trim()
      expect(await run('admins', 'remove', admin)).toEqual({
        status: 1,
        stdout: '',
        stderr: `quire: the removal of admin ${admin} is refused: it is the last one, and nobody could change the cluster\n`
      })
    },
    SLOW
  )
})

describe('commands of an admin', () => {
  it(
    'a command of an admin finds the leader from any peer',
    async () => {
      const { id } = others[0]!
      const leading = await leader()
      for (const { multiaddr } of dev.peers.filter(({ peerId }) => peerId !== leading)) {
        const one = { ...env, QUIRE_PEERS: multiaddr }
        expect(await quire(['clients', 'deny', id], { env: one })).toEqual({ status: 0, stdout: '', stderr: '' })
        expect(await quire(['members', 'list', '--json'], { env: one })).toMatchObject({ status: 0, stderr: '' })
        expect(await quire(['clients', 'allow', id], { env: one })).toEqual({ status: 0, stdout: '', stderr: '' })
      }
    },
    SLOW
  )

  it(
    'a command of an admin without the key of one, or for another cluster, fails and names the reason',
    async () => {
      const { id } = others[0]!
      const noKey = await quire(['clients', 'deny', id], { env: { ...env, QUIRE_KEY: '' } })
      expect(noKey).toMatchObject({ status: 1, stdout: '' })
      expect(noKey.stderr).toMatch(
        /^quire: this command has a fresh identity \(12D3KooW\w+\), which is no admin of the cluster; use the key of an admin \(--key FILE or QUIRE_KEY\)\n$/
      )
      const pinned = await run('clients', 'deny', id, '--cluster', 'f'.repeat(64))
      expect(pinned.status).toBe(1)
      expect(pinned.stderr).toMatch(
        /is refused: it means the cluster with founding digest f{64}, this one has [0-9a-f]{64}\n$/
      )
    },
    SLOW
  )

  it(
    'a command of an admin ends with status 2 and one line on stderr for bad usage',
    async () => {
      const { id } = others[0]!
      const [one, two] = dev.peers.map(({ multiaddr }) => multiaddr) as [string, string]
      const cases: [args: string[], problem: string][] = [
        [['members', 'add'], "missing required argument 'address'"],
        [['members', 'add', id], 'must be a multiaddr that ends in /p2p/<PeerId>'],
        [['members', 'add', `${one},${two}`], 'must be the addresses of one peer'],
        [['members', 'promote', 'x'], 'peer is "x", must be a PeerId'],
        [['members', 'remove', `${id}/zz`], "must be the member's PeerId, or its member id as members list shows it"],
        [['members', 'replace', id], "missing required argument 'address'"],
        [['transfer-leader', 'x'], 'peer is "x", must be a PeerId'],
        [['clients', 'allow', 'everybody'], 'id is "everybody", must be a PeerId'],
        [['admins', 'add', 'any'], 'id is "any", must be a PeerId'],
        [['admins', 'frob'], "unknown command 'frob'"]
      ]
      const results = await quireEach(cases, ([args]) => quire(args, { env }))
      for (const [i, { status, stdout, stderr }] of results.entries()) {
        const [args, problem] = cases[i]!
        expect([status, stdout], args.join(' ')).toEqual([2, ''])
        expect(stderr).toMatch(/^quire: [^\n]+\n$/)
        expect(stderr, args.join(' ')).toContain(problem)
      }
      const noPeers = await quire(['members', 'list'])
      expect(noPeers).toEqual({ status: 2, stdout: '', stderr: 'quire: no peers: give --peers or set QUIRE_PEERS\n' })
    },
    SLOW
  )

  it(
    'an admin command says that no peer answers',
    async () => {
      const [first] = dev.peers
      const nowhere = { ...env, QUIRE_PEERS: `/ip4/127.0.0.1/tcp/9/p2p/${first!.peerId}` }
      for (const args of [['members', 'list'], ['transfer-leader']]) {
        const { status, stderr } = await quire([...args, '--timeout', '1'], { env: nowhere })
        expect([status, stderr]).toEqual([1, expect.stringMatching(/^quire: cannot reach [^\n]+ECONNREFUSED[^\n]*\n$/)])
      }
    },
    SLOW
  )

  it(
    'a group of commands that is given alone prints its own help on stderr, and ends with status 2',
    async () => {
      const groups = ['members', 'clients', 'admins']
      const results = await quireEach(groups, (group) => quire([group]))
      for (const [i, { status, stdout, stderr }] of results.entries()) {
        expect([status, stdout]).toEqual([2, ''])
        expect(stderr).toMatch(new RegExp(`^Usage: quire ${groups[i]} `))
      }
    },
    SLOW
  )
})

// Last, because the cluster has two voters from then on.
describe('quire members remove', () => {
  it(
    'quire members remove takes a voter out of the cluster, which goes on without it, and warns of an even number',
    async () => {
      const leading = await leader()
      const gone = dev.peers.find(({ peerId }) => peerId !== leading)!
      expect(await run('members', 'remove', gone.peerId)).toEqual({
        status: 0,
        stdout: '',
        stderr: 'quire: 2 voters survive no more failures than 1: use an odd number\n'
      })
      const members = await jsonLines('members', 'list')
      const kept = dev.peers.map(({ peerId }) => peerId).filter((id) => id !== gone.peerId)
      expect(new Set(members.map(({ id }) => id))).toEqual(new Set(kept))
      expect(await done('ls')).toBe('')
    },
    SLOW
  )
})
