import { PROTOCOL_CONTROL, PROTOCOL_VERSION } from '@quire/protocol'
import { settle } from '@quire/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CONFIG, FOUNDING, MEMBERS, OTHER, TestClient, createStubGroup, type StubGroup } from './support/stub-group.js'

let group: StubGroup
let extraFatal: boolean

beforeEach(() => {
  group = createStubGroup()
  group.found()
  extraFatal = false
})

afterEach(() => {
  if (!extraFatal) expect(group.fatal).toEqual([])
  group.server.close()
  group.sessionServer.close()
  expect(group.clock.pending).toBe(0)
})

const open = (seq: number, path: string, extra: object = {}) =>
  ({
    type: 'open',
    seq,
    settled: 1,
    path,
    create: true,
    exclusive: false,
    size: 8192,
    pageSize: 0,
    unit: undefined,
    ...extra
  }) as const

describe('handshake', () => {
  it('redirects a client to the leader while this node follows', async () => {
    group.follow(3, OTHER)
    const client = new TestClient(group)
    await client.hello()
    expect(client.control.last('redirect')).toEqual({
      type: 'redirect',
      clusterId: 'blue',
      founding: FOUNDING,
      term: 3,
      role: 'follower',
      leader: OTHER,
      members: MEMBERS,
      roundTripMs: 32
    })
    await settle()
    expect(client.control.closed).toBe(true)
  })

  it('names no leader while the leader is unknown or not ready', async () => {
    const client = new TestClient(group)
    await client.hello()
    expect(client.control.last('redirect')?.leader).toBe('')
  })

  it('never serves a client that has seen a higher term', async () => {
    group.lead(3)
    const client = new TestClient(group)
    await client.hello({ fence: 4 })
    expect(client.control.last('redirect')).toMatchObject({ term: 3, leader: '' })
    expect(client.control.last('welcome')).toBeUndefined()
  })

  it('tells the client the term before it registers', async () => {
    group.lead(3)
    const client = new TestClient(group)
    await client.hello({ fence: 3, clusterId: 'blue' })
    expect(client.control.received).toHaveLength(1)
    expect(client.control.last('welcome')).toMatchObject({
      term: 3,
      clusterId: 'blue',
      leader: 'peer-1',
      members: MEMBERS
    })
  })

  it('tells the round trip of the cluster, and gives a new session a TTL of at least sixteen round trips', async () => {
    group.found({ ...CONFIG, roundTripMs: 600 })
    group.lead(3)
    const client = await new TestClient(group).connect(0, 2000)
    expect(client.control.last('welcome')).toMatchObject({ roundTripMs: 600 })
    expect(client.control.last('registered')).toMatchObject({ ttlMs: 9600 })
    const { session } = client.control.last('registered')!
    expect(group.machine.session(session)).toMatchObject({ ttlMs: 9600 })
    const patient = await new TestClient(group, 'client-2').connect(0, 9700)
    expect(patient.control.last('registered')).toMatchObject({ ttlMs: 9700 })
  })

  it('refuses another protocol version and another cluster, and names them', async () => {
    group.lead(3)
    const client = new TestClient(group)
    await client.hello({ version: 99 })
    expect(client.control.last('refused')?.error).toEqual({
      code: 'ERR_VERSION',
      facts: ['protocol', 99, PROTOCOL_VERSION]
    })
    await client.hello({ features: { lowest: 7, highest: 9 } })
    expect(client.control.last('refused')?.error).toEqual({ code: 'ERR_VERSION', facts: ['feature level', 7, 1] })
    await client.hello({ clusterId: 'green' })
    expect(client.control.last('refused')?.error).toEqual({
      code: 'ERR_NOT_AUTHORIZED',
      facts: ['client-1', 'it belongs to cluster green']
    })
    await settle()
    expect(client.control.closed).toBe(true)
  })

  it('opens a session once both lanes are attached, in either order', async () => {
    group.lead(1)
    const client = new TestClient(group)
    await client.hello()
    await client.control.send({ type: 'register', session: 0, ttlMs: 2000 })
    expect(client.control.last('registered')).toBeUndefined()
    await client.attach()
    await settle()
    const registered = client.control.last('registered')
    expect(registered).toMatchObject({ term: 1, ttlMs: 2000 })
    expect(group.machine.session(registered!.session)).toMatchObject({ clientId: 'client-1', ttlMs: 2000 })
  })

  it('attaches a bulk stream only to a connection of the same client', async () => {
    group.lead(1)
    const client = new TestClient(group)
    await client.hello()
    const thief = new TestClient(group, 'client-2')
    await thief.attach(client.control.last('welcome')!.attach)
    expect(thief.bulk.last('refused')?.error.code).toBe('ERR_NOT_AUTHORIZED')
    await client.attach()
    expect(client.bulk.last('attached')).toBeDefined()
  })

  it('refuses a TTL out of bounds, and a session beyond the limit', async () => {
    group.server.close()
    group = createStubGroup({ maxSessions: 1 })
    group.found()
    group.lead(1)
    const eager = await new TestClient(group).connect(0, 100)
    expect(eager.control.last('refused')?.error.facts).toEqual(['sessionTtlMs', 100, '500 to 600000'])
    expect((await new TestClient(group).connect()).session).toBeGreaterThan(0)
    const second = await new TestClient(group, 'client-2').connect()
    expect(second.control.last('refused')?.error).toEqual({ code: 'ERR_QUOTA', facts: ['sessions', 1] })
  })

  it('proposes no session before a majority has confirmed the leader', async () => {
    group.lead(1)
    group.quorum = false
    const clients = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    clients[0]!.control.stream.close()
    await settle()
    expect(group.proposed()).toEqual([])
    group.autoCommit = false
    group.quorum = true
    await settle()
    expect(group.proposed()).toEqual([expect.objectContaining({ type: 'openSession', clientId: 'client-2' })])
  })

  it('ends a session whose client has gone before it was open, which frees its place', async () => {
    group.server.close()
    group = createStubGroup({ maxSessions: 1 })
    group.found()
    group.lead(1)
    group.autoCommit = false
    const lost = await new TestClient(group).connect()
    lost.control.stream.close()
    await settle()
    group.commit()
    expect([...group.machine.sessions()]).toHaveLength(1)
    expect(group.proposed()).toEqual([expect.objectContaining({ type: 'endSession' })])
    group.commit()
    group.autoCommit = true
    expect((await new TestClient(group).connect()).session).toBeGreaterThan(0)
  })

  it('opens no session while too many bytes wait for the log', async () => {
    group.server.close()
    group = createStubGroup({ maxProposalBytes: 1 })
    group.found()
    group.lead(1)
    group.autoCommit = false
    group.full = true
    await new TestClient(group).connect()
    const second = await new TestClient(group, 'client-2').connect()
    expect(second.control.last('refused')?.error.code).toBe('ERR_UNAVAILABLE')
    group.full = false
  })

  it('reports a session of another client as ended', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    const thief = await new TestClient(group, 'client-2').connect(client.session)
    expect(thief.control.last('expired')).toEqual({ type: 'expired', session: client.session })
    const late = await new TestClient(group).connect(4711)
    expect(late.control.last('expired')).toEqual({ type: 'expired', session: 4711 })
  })

  it('lets a newer connection of a session replace the older one', async () => {
    group.lead(1)
    const first = await new TestClient(group).connect()
    const second = await new TestClient(group).connect(first.session)
    expect(second.session).toBe(first.session)
    await settle()
    expect([first.control.closed, first.bulk.closed]).toEqual([true, true])
    await second.control.send({ type: 'keepAlive', nonce: 5 })
    expect(second.control.last('keepAliveAck')).toEqual({ type: 'keepAliveAck', term: 1, nonce: 5 })
  })

  it('drops a connection that does not register in time', async () => {
    group.lead(1)
    const client = new TestClient(group)
    await client.hello()
    const silent = await client.dial(PROTOCOL_CONTROL)
    await group.clock.advance(10_200)
    expect([client.control.closed, silent.closed]).toEqual([true, true])
  })

  it('answers a status request while it does not lead', async () => {
    group.follow(7, OTHER)
    const lane = await new TestClient(group).dial(PROTOCOL_CONTROL)
    await lane.send({ type: 'status', version: PROTOCOL_VERSION, seq: 1 })
    expect(lane.last('status')).toMatchObject({ seq: 1, role: 'follower', term: 7, leader: OTHER, clusterId: 'blue' })
    await settle()
    expect(lane.closed).toBe(true)
  })
})

describe('leadership', () => {
  it('redirects every client when it is lost', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.follow(2, OTHER)
    await settle()
    expect(client.control.last('redirect')).toMatchObject({ term: 2, leader: OTHER })
    expect([client.control.closed, client.bulk.closed]).toEqual([true, true])
    expect(group.server.connectedSessions).toBe(0)
  })

  it('redirects a client before it ends any stream, because the end of bulk could overtake the redirect on control', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    const control = client.control.stream.other
    let isClosing = false
    // Messages on control are slow, and so is the end of control.
    control.close = () => (isClosing = true)
    group.follow(2, OTHER)
    await settle()
    expect([isClosing, client.bulk.closed]).toEqual([true, false])
    // The client has closed control, or its time is up.
    control.onClose()
    await settle()
    expect(client.bulk.closed).toBe(true)
  })

  it('starts with empty volatile state if the same node is elected again', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.lead(3)
    await settle()
    expect(client.control.closed).toBe(true)
    const again = await new TestClient(group).connect(client.session)
    expect(again.control.last('registered')).toMatchObject({ term: 3, session: client.session })
  })

  it('does not answer a request whose entry was applied in the term of a later leader', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.autoCommit = false
    await client.control.send(open(1, '/a'))
    group.follow(2)
    expect(client.control.last('opened')).toBeUndefined()
  })
})

describe('requests', () => {
  it('open, grow and close a file through the log', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(open(1, '/a'))
    const { stat } = client.control.last('opened')!
    expect(stat).toMatchObject({ path: '/a', size: 8192, pageSize: 4096, createdAt: group.clock.wallTime() })
    await client.control.send({ type: 'extend', seq: 2, settled: 2, file: stat.id, size: 10_000 })
    expect(group.machine.file(stat.id)?.size).toBe(10_000)
    await client.control.send({ type: 'close', seq: 3, settled: 3, file: stat.id })
    expect(client.control.received.filter((message) => message.type === 'done')).toEqual([
      { type: 'done', seq: 2 },
      { type: 'done', seq: 3 }
    ])
    expect(group.machine.session(client.session)?.files.size).toBe(0)
  })

  it('are applied once, and answered once on each connection, however often they are repeated', async () => {
    group.lead(1)
    const first = await new TestClient(group).connect()
    group.autoCommit = false
    await first.control.send(open(1, '/a', { exclusive: true }))
    await first.control.send(open(1, '/a', { exclusive: true }))
    expect(group.proposed()).toHaveLength(1)
    const second = await new TestClient(group).connect(first.session)
    await second.control.send(open(1, '/a', { exclusive: true }))
    group.commit()
    await settle()
    expect(second.control.received.filter((message) => message.type === 'opened')).toHaveLength(1)
    expect(second.control.last('failed')).toBeUndefined()
  })

  it('report a refusal of the state machine', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(open(1, '/none', { create: false }))
    expect(client.control.last('failed')).toEqual({
      type: 'failed',
      seq: 1,
      error: { code: 'ERR_NO_ENTRY', facts: ['/none'] }
    })
  })

  it('to stat and list are answered only after a majority has confirmed the leader', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(open(1, '/a/x'))
    await client.control.send(open(2, '/a/y'))
    group.quorum = false
    await client.control.send({ type: 'stat', seq: 3, path: '/a/x' })
    await client.control.send({ type: 'list', seq: 4, prefix: '/a/', after: '', limit: 1 })
    await client.control.send({ type: 'stat', seq: 5, path: '/b' })
    expect(client.control.received.some((message) => 'seq' in message && message.seq >= 3)).toBe(false)
    group.quorum = true
    await settle()
    expect(client.control.received.filter((message) => message.type === 'files')).toMatchObject([
      { seq: 3, done: true, files: [{ path: '/a/x' }] },
      { seq: 4, done: false, files: [{ path: '/a/x' }] }
    ])
    expect(client.control.last('failed')).toMatchObject({ seq: 5, error: { code: 'ERR_NO_ENTRY' } })
  })

  it('are refused for paths and prefixes that no file can have, even if the client does not check them', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send({ type: 'stat', seq: 1, path: '/cafe\u0301' })
    expect(client.control.last('failed')).toMatchObject({
      seq: 1,
      error: { code: 'ERR_INVALID_ARGUMENT', facts: ['path', '/cafe\u0301', expect.stringContaining('NFC')] }
    })
    await client.control.send({ type: 'list', seq: 2, prefix: '/cafe\u0301', after: '', limit: 0 })
    expect(client.control.last('failed')).toMatchObject({
      seq: 2,
      error: { code: 'ERR_INVALID_ARGUMENT', facts: ['prefix', '/cafe\u0301', expect.stringContaining('NFC')] }
    })
  })

  it('list as many files as one frame holds', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    for (let i = 1; i <= 100; i++) {
      await client.control.send({ ...open(i, `/${String(i).padStart(4, '0')}${'p'.repeat(1000)}`), settled: i })
    }
    await client.control.send({ type: 'list', seq: 200, prefix: '/', after: '', limit: 0 })
    const first = client.control.last('files')!
    expect(first.done).toBe(false)
    expect(first.files.length).toBeGreaterThan(50)
    await client.control.send({ type: 'list', seq: 201, prefix: '/', after: first.files.at(-1)!.path, limit: 0 })
    const second = client.control.last('files')!
    expect(second.done).toBe(true)
    expect(first.files.length + second.files.length).toBe(100)
  })

  it('end a session on request, and close its streams after the answer', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send({ type: 'endSession', seq: 9, settled: 9 })
    expect(client.control.last('done')).toEqual({ type: 'done', seq: 9 })
    await settle()
    expect(client.control.closed).toBe(true)
    expect(group.machine.session(client.session)).toBeUndefined()
  })

  it('stay in order while the log has no room', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.full = true
    await client.control.send(open(1, '/a'))
    await client.control.send(open(2, '/b'))
    group.full = false
    await group.clock.advance(200)
    expect(
      client.control.received.filter((message) => message.type === 'opened').map((message) => message.stat.path)
    ).toEqual(['/a', '/b'])
  })
})

describe('leases', () => {
  it('are renewed by a keep-alive only after a majority has confirmed the leader since its arrival', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.quorum = false
    await client.control.send({ type: 'keepAlive', nonce: 1 })
    expect(client.control.last('keepAliveAck')).toBeUndefined()
    group.quorum = true
    await settle()
    expect(client.control.last('keepAliveAck')?.nonce).toBe(1)
  })

  it('keep-alive acknowledged by a deposed leader: a leader without a majority acknowledges none', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.quorum = false
    await client.control.send({ type: 'keepAlive', nonce: 1 })
    group.follow(2, OTHER)
    group.quorum = true
    await settle()
    expect(client.control.last('keepAliveAck')).toBeUndefined()
  })

  it('run out for a session without keep-alives: it is told, and its streams are closed', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect(0, 1000)
    const other = await new TestClient(group, 'client-2').connect(0, 1000)
    for (let i = 0; i < 5; i++) {
      await group.clock.advance(300)
      await other.control.send({ type: 'keepAlive', nonce: i })
    }
    expect(client.control.last('expired')).toEqual({ type: 'expired', session: client.session })
    expect(client.control.closed && client.bulk.closed).toBe(true)
    expect(group.machine.session(client.session)).toBeUndefined()
    expect(other.control.closed).toBe(false)
  })

  it('are not renewed once the expiry is proposed', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect(0, 1000)
    group.autoCommit = false
    await group.clock.advance(1200)
    expect(group.proposed()).toMatchObject([{ type: 'expireSession', session: client.session }])
    await client.control.send({ type: 'keepAlive', nonce: 1 })
    expect(client.control.last('keepAliveAck')).toBeUndefined()
    const again = await new TestClient(group).connect(client.session)
    expect(again.control.last('registered')).toBeUndefined()
    group.commit()
    expect(again.control.last('expired') ?? client.control.last('expired')).toBeUndefined()
    await settle()
    expect(again.control.last('expired')?.session).toBe(client.session)
  })

  it('do not run out after a stall before the leader has read its inbox', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect(0, 1000)
    group.clock.sleep(5000)
    // The overdue tick runs before the keep-alive that waits in the socket.
    await group.clock.advance(0)
    await client.control.send({ type: 'keepAlive', nonce: 1 })
    await group.clock.advance(500)
    expect(client.control.last('keepAliveAck')?.nonce).toBe(1)
    expect(group.machine.session(client.session)).toBeDefined()
  })

  it('last a full TTL from an election', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect(0, 1000)
    await group.clock.advance(900)
    group.lead(2)
    await group.clock.advance(900)
    expect(group.machine.session(client.session)).toBeDefined()
    await group.clock.advance(300)
    expect(group.machine.session(client.session)).toBeUndefined()
  })
})

describe('coherence', () => {
  it('sends grants with bytes on bulk and others on control, and grants a page to one writer at a time', async () => {
    group.lead(1)
    const [a, b] = [await new TestClient(group, 'a').connect(), await new TestClient(group, 'b').connect()]
    await a.control.send(open(1, '/f'))
    await b.control.send(open(1, '/f'))
    const file = a.control.last('opened')!.stat.id
    await a.control.send({ type: 'fault', req: 1, file, page: 0, access: 'write', have: 0 })
    expect(a.control.last('grant')).toMatchObject({ req: 1, owner: true, epoch: 1 })
    await b.control.send({ type: 'fault', req: 1, file, page: 0, access: 'write', have: 0 })
    const revoke = a.control.last('revoke')!
    expect(b.control.last('grant')).toBeUndefined()
    const bytes = new Uint8Array(4096).fill(7)
    await a.bulk.send({ type: 'ownerAckDirty', op: revoke.op, dirty: { file, page: 0, epoch: 1, seq: 1, bytes } })
    expect(b.bulk.last('grant')).toMatchObject({ req: 1, owner: true, epoch: 2, bytes })
    expect(a.bulk.last('writebackAck') ?? a.control.last('writebackAck')).toMatchObject({ req: 0 })
  })

  it('refuses writebacks while too many bytes wait for the log', async () => {
    group.server.close()
    group = createStubGroup({ maxProposalBytes: 100 })
    group.found()
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(open(1, '/f'))
    const file = client.control.last('opened')!.stat.id
    await client.control.send({ type: 'fault', req: 1, file, page: 0, access: 'write', have: 0 })
    group.full = true
    const page = { file, page: 0, epoch: 1, bytes: new Uint8Array(4096) }
    await client.bulk.send({ type: 'writeback', req: 1, pages: [{ ...page, seq: 1 }] })
    await client.bulk.send({ type: 'writeback', req: 2, pages: [{ ...page, seq: 2 }] })
    expect(client.bulk.last('writebackFailed')).toMatchObject({ req: 2, error: { code: 'ERR_UNAVAILABLE' } })
    group.full = false
    await group.clock.advance(200)
    expect(client.control.last('writebackAck') ?? client.bulk.last('writebackAck')).toMatchObject({ req: 1 })
    expect(client.control.closed).toBe(false)
  })
})

describe('a client that breaks the protocol', () => {
  const refusedAndClosed = async (client: TestClient, code: string): Promise<void> => {
    await settle()
    expect(client.control.last('refused')?.error.code).toBe(code)
    expect(client.control.closed && client.bulk.closed).toBe(true)
    expect((await new TestClient(group, 'well-behaved').connect()).session).toBeGreaterThan(0)
  }

  it('loses both lanes for a frame that cannot be decoded', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    client.bulk.stream.send(new Uint8Array([3, 0, 0, 0, 0, 0, 255]))
    await refusedAndClosed(client, 'ERR_INVALID_ARGUMENT')
  })

  it('loses both lanes for a message on the wrong lane, or before its registration', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.bulk.send({ type: 'keepAlive', nonce: 1 })
    await refusedAndClosed(client, 'ERR_INVALID_ARGUMENT')
    const early = new TestClient(group)
    await early.hello()
    await early.attach()
    await early.control.send({ type: 'stat', seq: 1, path: '/a' })
    await refusedAndClosed(early, 'ERR_INVALID_ARGUMENT')
  })

  it('loses both lanes if it exceeds its limit of outstanding faults, requests or writeback bytes', async () => {
    group.lead(1)
    const owner = await new TestClient(group, 'owner').connect(0, 600_000)
    await owner.control.send(open(1, '/f', { size: 4096 * 1000 }))
    const file = owner.control.last('opened')!.stat.id
    await owner.control.send({ type: 'fault', req: 1, file, page: 0, access: 'write', have: 0 })

    group.autoCommit = false
    for (let seq = 2; seq <= 64; seq++) await owner.control.send({ type: 'extend', seq, settled: 2, file, size: 1 })
    expect(owner.control.closed).toBe(false)
    const bytes = new Uint8Array(65_536)
    for (let req = 1; req <= 17; req++) {
      await owner.bulk.send({
        type: 'writeback',
        req,
        pages: [{ file, page: 0, epoch: 1, seq: req, bytes: bytes.slice(0, 4096) }]
      })
    }
    expect(owner.control.closed).toBe(false)
    await owner.control.send({ type: 'extend', seq: 65, settled: 2, file, size: 1 })
    await owner.control.send({ type: 'extend', seq: 66, settled: 2, file, size: 1 })
    group.autoCommit = true
    group.commit()
    await refusedAndClosed(owner, 'ERR_QUOTA')
  })

  it('loses both lanes if it does not read', async () => {
    group.server.close()
    group = createStubGroup({ maxOutgoingBytes: 1000 })
    group.found()
    group.lead(1)
    const client = await new TestClient(group).connect()
    client.control.stream.other.isFull = true
    for (let seq = 1; seq < 40; seq++) await client.control.send({ ...open(seq, `/${seq}`), settled: seq })
    expect(client.control.closed && client.bulk.closed).toBe(true)
  })

  it('loses both lanes if too many bytes wait for all clients and it has read the least', async () => {
    group.server.close()
    group = createStubGroup({ maxTotalOutgoingBytes: 1000 })
    group.found()
    group.lead(1)
    const [stuck, slow, quick] = [
      await new TestClient(group).connect(),
      await new TestClient(group, 'client-2').connect(),
      await new TestClient(group, 'client-3').connect()
    ]
    for (const each of [stuck, slow]) each.control.stream.other.isFull = true
    for (let seq = 1; seq <= 20; seq++) await stuck.control.send({ ...open(seq, `/${seq}`), settled: seq })
    for (let seq = 1; seq < 20 && !stuck.control.closed; seq++) {
      await slow.control.send({ ...open(seq, `/${seq}`), settled: seq })
      await quick.control.send({ ...open(seq, `/${seq}`), settled: seq })
    }
    expect([stuck.control.closed, slow.control.closed, quick.control.closed]).toEqual([true, false, false])
    expect(group.server.connectedSessions).toBe(2)
  })
})

describe('a client with a session', () => {
  it('learns the new addresses of members soon, or when it reads again', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    const slow = await new TestClient(group, 'client-2').connect()
    const half = new TestClient(group, 'client-3')
    await half.hello()
    const told = ({ control }: TestClient) => control.received.filter(({ type }) => type === 'members')
    const movedTo = (port: number) => [{ peerId: OTHER, addresses: [`/ip4/127.0.0.1/tcp/${port}`] }]
    await group.clock.advance(300)
    expect(told(client)).toEqual([])
    slow.control.stream.other.isFull = true
    // Messages that the stream still accepts, and messages that wait after them.
    for (let i = 0; i < 2; i++) await slow.control.send({ type: 'ping' })
    for (let port = 1; port <= 50; port++) {
      group.members = movedTo(port)
      if (port === 49) await group.clock.advance(300)
    }
    await group.clock.advance(300)
    const expected = [49, 50].map((port) => ({ type: 'members', members: movedTo(port) }))
    expect(told(client)).toEqual(expected)
    expect(told(half)).toEqual([])
    expect(told(slow)).toEqual([])
    slow.control.stream.other.isFull = false
    slow.control.stream.other.onDrain()
    await group.clock.advance(300)
    expect(told(slow)).toEqual(expected.slice(1))
  })
})

it('a group server stops the node when an invariant breaks', async () => {
  extraFatal = true
  group.lead(1)
  group.machine.sessions = () => {
    throw new Error('memory that lies')
  }
  group.lead(2)
  expect(group.fatal.map((error) => error.message)).toEqual(['memory that lies'])
})

it('a group server that breaks while it leads leaves no timer behind and serves no client', async () => {
  extraFatal = true
  group.lead(1)
  const client = await new TestClient(group).connect()
  group.machine.fileByPath = () => {
    throw new Error('memory that lies')
  }
  await client.control.send({ type: 'stat', seq: 1, path: '/a' })
  expect(group.fatal.map((error) => error.message)).toEqual(['memory that lies'])
  expect(group.clock.pending).toBe(0)
  await client.control.send({ type: 'keepAlive', nonce: 1 })
  expect(client.control.last('keepAliveAck')).toBeUndefined()
})
