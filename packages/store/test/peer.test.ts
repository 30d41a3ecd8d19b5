import { createDsmClient } from '@quire/dsm-client'
import { createLibp2pNetwork, generatePrivateKey, peerIdFromKey, type Libp2pNetwork, type PrivateKey } from '@quire/net'
import {
  FEATURES,
  MAX_RAFT_FRAME_BYTES,
  ClosedError,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  encodeFrame,
  leaderMessage,
  raftMessage
} from '@quire/protocol'
import { createSegmentedLog } from '@quire/raft'
import { createNodeDisk } from '@quire/raft/node-disk'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { RoleLog } from '../src/peer/role-log.js'
import { createPeer, type ClusterConfig, type Peer, type PeerInit } from '../src/index.js'

const ANY_PORT = '/ip4/127.0.0.1/tcp/0'
const waitMs = { timeout: 10_000, interval: 20 }
let root: string
let key: PrivateKey
let logged: { msg: string; [field: string]: unknown }[]
const closing: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'quire-peer-'))
  key = await generatePrivateKey()
  logged = []
})

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
  rmSync(root, { recursive: true, force: true })
})

function collectingLogger(): pino.Logger {
  const stream = new Writable({
    write(chunk, _encoding, done) {
      logged.push(JSON.parse(String(chunk)))
      done()
    }
  })
  return pino({ level: 'debug' }, stream)
}

function cluster(init: Partial<ClusterConfig> = {}): ClusterConfig {
  // The address of a single voter does not matter, because it never dials itself.
  const voters = [{ peerId: peerIdFromKey(key), addresses: ['/ip4/127.0.0.1/tcp/1'] }]
  return { clusterId: 'blue', voters, admins: [], clients: 'any', ...init }
}

async function start(init: Partial<PeerInit> = {}): Promise<Peer> {
  const peer = await createPeer({
    dataDir: join(root, 'data'),
    privateKey: key,
    listen: [ANY_PORT],
    cluster: cluster(),
    ...init
  })
  closing.push(() => peer.close())
  return peer
}

async function leading(init: Partial<PeerInit> = {}): Promise<Peer> {
  const peer = await start(init)
  await vi.waitFor(() => expect(peer.status().role).toBe('leader'), waitMs)
  return peer
}

describe('peers', () => {
  it.each([
    ['retainedLogBytes', -1, 'whole bytes from 0'],
    ['retainedLogBytes', 1.5, 'whole bytes from 0'],
    ['snapshotBytesPerSecond', 65_535, 'whole bytes from 65536'],
    ['snapshotBytesPerSecond', Infinity, 'whole bytes from 65536'],
    ['scrubBytesPerSecond', 65_535, 'whole bytes from 65536'],
    ['scrubIntervalMs', 999, 'whole milliseconds from 1000, or Infinity'],
    ['scrubIntervalMs', 0, 'whole milliseconds from 1000, or Infinity']
  ])('a peer refuses %s %d, and makes no directory', async (argument, value, expected) => {
    await expect(start({ [argument]: value })).rejects.toMatchObject({
      name: 'InvalidArgumentError',
      argument,
      value,
      expected
    })
    expect(readdirSync(root)).toEqual([])
  })

  it('a peer serves a client, and keeps its bytes and its port over a restart', async () => {
    const first = await leading()
    const client = await createDsmClient({ peers: first.multiaddrs })
    closing.push(() => client.close())
    const file = await client.open('/a', { create: true, size: 5000 })
    await file.write(10, new TextEncoder().encode('kept'))
    await client.close()
    expect(first.status()).toMatchObject({
      clusterId: 'blue',
      id: peerIdFromKey(key),
      role: 'leader',
      sessions: 0,
      ownedPages: 0
    })
    await first.close()

    const second = await leading({ cluster: undefined })
    expect(second.multiaddrs).toEqual(first.multiaddrs)
    const again = await createDsmClient({ peers: second.multiaddrs })
    closing.push(() => again.close())
    expect(new TextDecoder().decode(await (await again.open('/a')).read(10, 4))).toBe('kept')
  })

  it('a peer refuses a data directory that is in use, and leaves no resource open', async () => {
    await start()
    const inUse = { name: 'FolderInUseError', code: 'ERR_IN_USE', path: join(root, 'data') }
    await expect(start()).rejects.toMatchObject(inUse)
  })

  it('a peer leaves no file behind if it cannot listen at its first start, and then starts with another address', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const port = (taken.address() as AddressInfo).port
    try {
      // No machine has an address of TEST-NET-1 (RFC 5737).
      for (const address of [`/ip4/127.0.0.1/tcp/${port}`, '/ip4/192.0.2.1/tcp/0', `/dns4/localhost/tcp/${port}`]) {
        await expect(start({ listen: [ANY_PORT, address] })).rejects.toMatchObject({
          name: 'ListenError',
          addresses: [address]
        })
        expect(readdirSync(root)).toEqual([])
      }
      await expect(start({ listen: ['/ip4/127.0.0.1/udp/0'] })).rejects.toMatchObject({ argument: 'listen' })
      expect(readdirSync(root)).toEqual([])
    } finally {
      taken.close()
    }
    await leading()
  })

  it('a peer refuses the directory of another peer or cluster', async () => {
    await (await start()).close()
    const other = await generatePrivateKey()
    const voters = [key, other].map((each, i) => ({
      peerId: peerIdFromKey(each),
      addresses: [`/ip4/127.0.0.1/tcp/${i + 1}`]
    }))
    const path = join(root, 'data')
    await expect(start({ privateKey: other, cluster: cluster({ voters }) })).rejects.toMatchObject({
      code: 'ERR_NOT_AUTHORIZED',
      who: peerIdFromKey(other),
      reason: `${path} belongs to peer ${peerIdFromKey(key)}`
    })
    await expect(start({ cluster: cluster({ clusterId: 'green' }) })).rejects.toMatchObject({
      code: 'ERR_NOT_AUTHORIZED',
      who: peerIdFromKey(key),
      reason: `${path} belongs to cluster blue, not green`
    })
    await expect(start({ privateKey: other })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      argument: 'privateKey',
      value: peerIdFromKey(other),
      expected: 'the key of a voter of cluster blue'
    })
    expect(readdirSync(path).filter((name) => name.startsWith('lock-'))).toEqual([])
  })

  it('a peer refuses a damaged log in one line that names the file and the remedy, and releases the directory', async () => {
    await (await leading()).close()
    const log = join(root, 'data', 'log')
    const [segment] = readdirSync(log).sort()
    const fd = openSync(join(log, segment!), 'r+')
    writeSync(fd, Buffer.alloc(64, 0xff), 0, 64, 0)
    closeSync(fd)
    const failure = await start().catch((error: Error) => error)
    expect(failure).toMatchObject({ name: 'CorruptionError', code: 'ERR_CORRUPT', where: join(log, segment!) })
    expect((failure as Error).message).toMatch(
      /; restore the disk's newest state, or start the peer with --join and --rejoin founder \(docs\/operations\.md\)$/
    )
    expect((failure as Error).message).not.toContain('\n')
    expect(readdirSync(join(root, 'data')).filter((name) => name.startsWith('lock-'))).toEqual([])
  })

  it('a peer that comes upon damage in an old segment of its log stops, in one line that names the file and the remedy', async () => {
    const peer = await leading()
    const { id, clusterId, term, lastIndex } = peer.status()
    await peer.close()
    // Entries that the peer has not applied yet, in three segments.
    const path = join(root, 'data', 'log')
    const log = await createSegmentedLog({ disk: createNodeDisk(path), identity: `${clusterId} ${id}` })
    const data = new Uint8Array(1_000_000).fill(1)
    for (let index = lastIndex + 1; index <= lastIndex + 40; index++) {
      const hardState = { term, vote: id, commit: index - 1 }
      await log.append({ hardState, entries: [{ index, term, kind: 'noop', data }] })
    }
    await log.close()
    const segment = join(path, readdirSync(path).sort()[1]!)
    const fd = openSync(segment, 'r+')
    writeSync(fd, Buffer.alloc(64, 0xff), 0, 64, 8 * 1024 * 1024)
    closeSync(fd)
    const fatal: Error[] = []
    await start({ onFatal: (error) => fatal.push(error), logger: collectingLogger() })
    await vi.waitFor(() => expect(fatal).toHaveLength(1), waitMs)
    expect(fatal[0]).toMatchObject({ name: 'CorruptionError', where: segment, offset: expect.any(Number) })
    expect(fatal[0]!.message).toMatch(
      /: damaged at offset \d+: [^\n]+; restore the disk's newest state, or start the peer with --join and --rejoin founder \(docs\/operations\.md\)$/
    )
    expect(logged.filter(({ msg }) => msg === 'the peer stops')).toHaveLength(1)
  })

  it('a peer refuses a directory whose log was removed, and names the directory and the remedy', async () => {
    await (await leading()).close()
    const log = join(root, 'data', 'log')
    rmSync(log, { recursive: true })
    const what =
      "the log is gone; restore the disk's newest state, or start the peer with --join and --rejoin founder (docs/operations.md)"
    await expect(start()).rejects.toMatchObject({ name: 'CorruptionError', where: log, reason: what })
  })

  it('a peer refuses an address that is taken, and releases the directory', async () => {
    const dataDir = join(root, 'other')
    await (await start({ dataDir })).close()
    const first = await start()
    const taken = first.multiaddrs[0]!.replace(/\/p2p\/.*/, '')
    const listening = { name: 'ListenError', code: 'ERR_LISTEN', addresses: [taken] }
    await expect(start({ dataDir, listen: [taken] })).rejects.toMatchObject(listening)
    expect(readdirSync(dataDir).filter((name) => name.startsWith('lock-'))).toEqual([])
  })

  it('a peer accepts listed clients and admins only, and logs a stranger once with its PeerId', async () => {
    const [client, admin, stranger] = await Promise.all([
      generatePrivateKey(),
      generatePrivateKey(),
      generatePrivateKey()
    ])
    const config = cluster({ clients: [peerIdFromKey(client)], admins: [peerIdFromKey(admin)] })
    const peer = await leading({ cluster: config, logger: collectingLogger() })
    for (const privateKey of [client, admin]) {
      const dsm = await createDsmClient({ peers: peer.multiaddrs, privateKey })
      await dsm.close()
    }
    const id = peerIdFromKey(stranger)
    for (let i = 0; i < 2; i++) {
      const error = await createDsmClient({ peers: peer.multiaddrs, privateKey: stranger }).catch((each: Error) => each)
      expect(error).toMatchObject({ name: 'NotAuthorizedError', code: 'ERR_NOT_AUTHORIZED', who: id })
      // The client's id, once, and the remedy.
      expect((error as Error).message).toBe(
        `${id} is refused: it is not among the clients of cluster blue; use the key of a listed client, ` +
          'or let an admin allow this one (quire clients allow)'
      )
    }
    const about = logged.filter((line) => line['id'] === peerIdFromKey(stranger))
    expect(about).toHaveLength(1)
    expect(about[0]).toMatchObject({
      msg: 'peer refused',
      reason:
        'it is not among the clients of cluster blue; use the key of a listed client, ' +
        'or let an admin allow this one (quire clients allow)'
    })
  })

  it('a peer refuses Raft streams of a client that is not a peer', async () => {
    const peer = await leading({ logger: collectingLogger() })
    const network = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [] })
    closing.push(() => network.close())
    const id = peer.peerId.toString()
    const stream = await network.dial(id, peer.multiaddrs, {
      protocol: PROTOCOL_RAFT,
      maxFrameBytes: MAX_RAFT_FRAME_BYTES
    })
    let closed = false
    stream.onFrame = () => {}
    stream.onClose = () => {
      closed = true
    }
    // A hello of no known peer, and then messages of a peer.
    stream.send(new Uint8Array([4, 0, 0, 0, 0, 0, 13, 0]))
    await vi.waitFor(() => expect(closed).toBe(true), waitMs)
    expect(logged.filter((line) => line.msg === 'peer refused')).toHaveLength(1)
    expect(peer.status().role).toBe('leader')
  })

  it('a peer refuses an identity that is not a voter as a peer, even if its hello is valid, and logs it once', async () => {
    const stranger = await generatePrivateKey()
    const from = peerIdFromKey(stranger)
    const peer = await leading({ cluster: cluster({ clients: [from] }), logger: collectingLogger() })
    const network = await createLibp2pNetwork({ privateKey: stranger, listen: [] })
    closing.push(() => network.close())
    for (let i = 0; i < 2; i++) {
      const answer = await answerTo(network, peer, PROTOCOL_RAFT, raftHello(from, peer.status().founding))
      expect(decodeFrame(raftMessage, answer).message).toEqual({
        type: 'raftRefused',
        error: {
          code: 'ERR_NOT_AUTHORIZED',
          facts: [
            from,
            'it is no member of cluster blue any longer; quire members add, and a start with --join and an empty folder, bring it back'
          ]
        },
        reason: 'membership'
      })
    }
    expect(logged.filter((line) => line.msg === 'peer refused')).toEqual([expect.objectContaining({ id: from })])
  })

  it('a peer sends an identity that is not listed one refusal on control or raft, whatever its first frame is, and nothing on bulk', async () => {
    const stranger = await generatePrivateKey()
    const peer = await leading({ cluster: cluster({ clients: [] }), logger: collectingLogger() })
    const network = await createLibp2pNetwork({ privateKey: stranger, listen: [] })
    closing.push(() => network.close())
    const raft = raftHello(network.id, peer.status().founding)
    const names = { features: FEATURES, clusterId: '', founding: '' }
    const hello = { type: 'hello', version: PROTOCOL_VERSION, ...names, fence: 0, attach: 0 } as const
    const controlHello = encodeFrame(clientMessage, { ...hello, lane: 'control' }, 0)
    const status = encodeFrame(clientMessage, { type: 'status', version: PROTOCOL_VERSION, seq: 1 }, 0)
    for (const first of [controlHello, status, raft]) {
      const answer = await answerTo(network, peer, PROTOCOL_CONTROL, first.slice())
      expect(decodeFrame(leaderMessage, answer).message).toEqual({
        type: 'refused',
        error: {
          code: 'ERR_NOT_AUTHORIZED',
          facts: [network.id, expect.stringMatching(/^it is not among the clients/)]
        }
      })
      await vi.waitFor(() => expect(network.connections).toBe(0), waitMs)
    }
    const refused = decodeFrame(raftMessage, await answerTo(network, peer, PROTOCOL_RAFT, raft.slice())).message
    expect(refused).toMatchObject({ type: 'raftRefused', reason: 'membership' })
    await vi.waitFor(() => expect(network.connections).toBe(0), waitMs)
    const bulkHello = encodeFrame(clientMessage, { ...hello, lane: 'bulk' }, 0)
    await expect(answerTo(network, peer, PROTOCOL_BULK, bulkHello)).rejects.toThrow()
    expect(logged.filter((line) => line.msg === 'peer refused')).toEqual([
      expect.objectContaining({ component: 'net', id: peerIdFromKey(stranger) }),
      expect.objectContaining({ component: 'links', id: peerIdFromKey(stranger) })
    ])
  })

  it('a peer refuses a client of another cluster, and logs it once', async () => {
    const peer = await leading({ logger: collectingLogger() })
    const network = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [] })
    closing.push(() => network.close())
    const names = { features: FEATURES, clusterId: 'green', founding: '' }
    const control = { type: 'hello', version: PROTOCOL_VERSION, ...names, fence: 0, attach: 0 } as const
    for (let i = 0; i < 2; i++) {
      const hello = encodeFrame(clientMessage, { ...control, lane: 'control' })
      const answer = await answerTo(network, peer, PROTOCOL_CONTROL, hello)
      expect(decodeFrame(leaderMessage, answer).message).toEqual({
        type: 'refused',
        error: { code: 'ERR_NOT_AUTHORIZED', facts: [network.id, 'it belongs to cluster green'] }
      })
    }
    expect(logged.filter((line) => line.msg === 'client refused')).toHaveLength(1)
  })

  it('a peer refuses a voter that belongs to another cluster, and logs it once', async () => {
    const other = await generatePrivateKey()
    const from = peerIdFromKey(other)
    const voters = [key, other].map((each, i) => ({
      peerId: peerIdFromKey(each),
      addresses: [`/ip4/127.0.0.1/tcp/${i + 1}`]
    }))
    const peer = await start({ cluster: cluster({ voters }), logger: collectingLogger() })
    const network = await createLibp2pNetwork({ privateKey: other, listen: [] })
    closing.push(() => network.close())
    for (let i = 0; i < 2; i++) {
      const answer = await answerTo(network, peer, PROTOCOL_RAFT, raftHello(from, '', 'green'))
      expect(decodeFrame(raftMessage, answer).message).toMatchObject({
        error: { code: 'ERR_NOT_AUTHORIZED', facts: [from, 'it belongs to cluster green'] }
      })
    }
    expect(logged.filter((line) => line.msg === 'peer refused')).toHaveLength(1)
  })

  it("a peer needs a voter's key, an address to listen on, and a cluster for its first start", async () => {
    await expect(start({ cluster: undefined })).rejects.toMatchObject({
      name: 'DataDirectoryError',
      code: 'ERR_DATA_DIRECTORY',
      path: join(root, 'data'),
      reason:
        "no such directory, and a first start needs the cluster's configuration (--cluster), or a member to ask (--join)"
    })
    const [voter] = cluster().voters
    const wrong: [Partial<PeerInit>, string, unknown][] = [
      [{ listen: [] }, 'listen', 0],
      [{ listen: [ANY_PORT, ANY_PORT] }, 'listen', ANY_PORT],
      [{ listen: ['/ip4/127.0.0.1/udp/1'] }, 'listen', '/ip4/127.0.0.1/udp/1'],
      [{ cluster: cluster({ voters: [] }) }, 'voters', 0],
      [{ cluster: cluster({ voters: [voter!, voter!] }) }, 'voters', peerIdFromKey(key)],
      [{ cluster: cluster({ voters: [{ ...voter!, addresses: [] }] }) }, 'addresses', 0],
      [{ cluster: cluster({ voters: [{ ...voter!, addresses: ['x'] }] }) }, 'addresses', `x/p2p/${peerIdFromKey(key)}`],
      [{ cluster: cluster({ clients: ['nobody'] }) }, 'clients', 'nobody'],
      [{ cluster: cluster({ admins: ['nobody'] }) }, 'admins', 'nobody'],
      [{ cluster: cluster({ admins: [peerIdFromKey(key)] }) }, 'admins', peerIdFromKey(key)],
      [{ cluster: cluster({ clusterId: 'no spaces' }) }, 'clusterId', 'no spaces']
    ]
    for (const [init, argument, value] of wrong) {
      await expect(start(init)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument, value })
    }
    // No failed start left anything in the way of a valid one.
    await start()
  })

  it('a peer has no status after it was closed', async () => {
    const peer = await start()
    await peer.close()
    await peer.close()
    let error: unknown
    try {
      peer.status()
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(ClosedError)
    expect(error).toMatchObject({ code: 'ERR_CLOSED', what: 'the peer' })
  })
})

describe('the log of a peer', () => {
  it('the log of a peer has a line for each start, with the facts that identify the peer, and a line for each stop', async () => {
    const logger = collectingLogger()
    const id = peerIdFromKey(key)
    for (let starts = 1; starts <= 2; starts++) {
      logged.length = 0
      const peer = await leading({ logger })
      const { term, lastIndex } = peer.status()
      await peer.close()
      const facts = { id, clusterId: 'blue', dataDir: join(root, 'data'), version: expect.any(String) as string }
      expect(logged.find(({ msg }) => msg === 'the peer has started')).toMatchObject({
        ...facts,
        level: 30,
        addresses: [expect.stringMatching(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/…\w{8}$/) as string],
        term: expect.any(Number) as number,
        lastIndex: expect.any(Number) as number
      })
      expect(logged.at(-1)).toMatchObject({ level: 30, msg: 'the peer has stopped', lastIndex })
      expect(logged.find(({ msg }) => msg === 'the peer is stopping')).toMatchObject({ role: 'leader', term })
      // Only one line has the whole id.
      expect(JSON.stringify(logged).split(id)).toHaveLength(2)
    }
  })

  it('the log of a peer has no line about a stop if the peer did not start', async () => {
    await expect(start({ logger: collectingLogger(), listen: ['/ip4/192.0.2.1/tcp/0'] })).rejects.toThrow()
    expect(logged).toEqual([])
  })

  it('the log of a peer has one line for each new leader that the peer follows and each new term', () => {
    const roles = new RoleLog(collectingLogger(), 'me')
    for (const leader of ['other', 'other', undefined, undefined]) roles.changed({ term: 3, leader })
    roles.changed({ term: 4, leader: undefined })
    // The group server logs that this peer leads.
    roles.changed({ term: 4, leader: 'me' })
    roles.changed({ term: 5, leader: 'other' })
    expect(logged.map(({ msg, term, leader }) => [msg, term, leader])).toEqual([
      ['following the leader', 3, 'other'],
      ['no leader is known', 3, undefined],
      ['no leader is known', 4, undefined],
      ['following the leader', 5, 'other']
    ])
  })
})

describe('three peers', () => {
  it('three peers elect a leader, replicate entries, and go on without one of them', async () => {
    const keys = await Promise.all([1, 2, 3].map(() => generatePrivateKey()))
    const ports = await freePorts(3)
    const voters = keys.map((each, i) => ({
      peerId: peerIdFromKey(each),
      addresses: [`/ip4/127.0.0.1/tcp/${ports[i]}`]
    }))
    const peers = await Promise.all(
      keys.map((privateKey, i) =>
        start({
          dataDir: join(root, `${i}`),
          privateKey,
          listen: [voters[i]!.addresses[0]!],
          cluster: cluster({ voters }),
          logger: collectingLogger()
        })
      )
    )
    const leader = async (among: Peer[]): Promise<Peer> =>
      vi.waitFor(() => {
        const found = among.find((peer) => peer.status().role === 'leader')
        expect(found).toBeDefined()
        return found!
      }, waitMs)
    const first = await leader(peers)
    const client = await createDsmClient({ peers: peers.flatMap((peer) => peer.multiaddrs) })
    closing.push(() => client.close())
    const file = await client.open('/a', { create: true, size: 4096 })
    await file.write(0, new Uint8Array([1, 2, 3]))
    await file.sync()
    const others = peers.filter((peer) => peer !== first)
    await vi.waitFor(() => expect(others[0]!.status().appliedIndex).toBe(first.status().appliedIndex), waitMs)
    await first.close()
    const second = await leader(others)
    // The third peer has logged both.
    const followed = logged.filter(({ msg }) => msg === 'following the leader').map((line) => line.leader)
    for (const peer of [first, second]) expect(followed).toContain(`…${peer.peerId.toString().slice(-8)}`)
    expect(await client.stat('/a')).toMatchObject({ size: 4096 })
    expect(await file.read(0, 3)).toEqual(new Uint8Array([1, 2, 3]))
  }, 30_000)
})

/** The hello of a peer that starts for the first time. */
function raftHello(from: string, founding: string, clusterId = 'blue'): Uint8Array {
  return encodeFrame(raftMessage, {
    type: 'raftHello',
    version: PROTOCOL_VERSION,
    features: FEATURES,
    clusterId,
    founding,
    from,
    addresses: [],
    incarnation: '1',
    boot: 1,
    process: '1',
    joined: false,
    revision: 0,
    admitted: false,
    term: 1,
    lastTerm: 1,
    lastIndex: 1
  })
}

/** Sends `frame` and resolves with the first frame that comes back. Rejects if the stream ends without one. */
async function answerTo(network: Libp2pNetwork, peer: Peer, protocol: string, frame: Uint8Array): Promise<Uint8Array> {
  const maxFrameBytes = MAX_RAFT_FRAME_BYTES
  const stream = await network.dial(peer.peerId.toString(), peer.multiaddrs, { protocol, maxFrameBytes })
  return new Promise((resolve, reject) => {
    stream.onFrame = resolve
    stream.onClose = (reason) => reject(reason ?? new Error('closed without an answer'))
    stream.send(frame)
  })
}

async function freePorts(count: number): Promise<number[]> {
  const networks = await Promise.all(
    Array.from({ length: count }, async () =>
      createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [ANY_PORT] })
    )
  )
  const ports = networks.map((network) => Number(/\/tcp\/(\d+)/.exec(network.multiaddrs[0]!)![1]))
  await Promise.all(networks.map((network) => network.close()))
  return ports
}
