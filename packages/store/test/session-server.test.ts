/** What clients see of a group server that gains, holds and loses the leadership. */
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { group, useGroup } from './support/served-group.js'
import { OTHER, TestClient, openRequest } from './support/stub-group.js'

useGroup()

describe('leadership', () => {
  it('a node that loses the leadership redirects every client', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.follow(2, OTHER)
    await settle()
    expect(client.control.last('redirect')).toMatchObject({ term: 2, leader: OTHER })
    expect([client.control.closed, client.bulk.closed]).toEqual([true, true])
    expect(group.server.connectedSessions).toBe(0)
  })

  it('a deposed leader redirects a client before it ends any stream, because the end of bulk could overtake the redirect', async () => {
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

  it('a node that is elected again starts with empty volatile state', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.lead(3)
    await settle()
    expect(client.control.closed).toBe(true)
    const again = await new TestClient(group).connect(client.session)
    expect(again.control.last('registered')).toMatchObject({ term: 3, session: client.session })
  })

  it('a deposed leader does not answer a request whose entry is applied in the term of a later leader', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.autoCommit = false
    await client.control.send(openRequest(1, '/a'))
    group.follow(2)
    expect(client.control.last('opened')).toBeUndefined()
  })
})

describe('a leader and its clients', () => {
  it('a leader sends grants with bytes on bulk and others on control, and grants a page to one writer at a time', async () => {
    group.lead(1)
    const [a, b] = [await new TestClient(group, 'a').connect(), await new TestClient(group, 'b').connect()]
    await a.control.send(openRequest(1, '/f'))
    await b.control.send(openRequest(1, '/f'))
    const file = a.control.last('opened')!.stat.id
    await a.control.send({ type: 'fault', req: 1, file, page: 0, count: 1, access: 'write', have: 0 })
    expect(a.control.last('grant')).toMatchObject({ req: 1, owner: true, epoch: 1 })
    await b.control.send({ type: 'fault', req: 1, file, page: 0, count: 1, access: 'write', have: 0 })
    const revoke = a.control.last('revoke')!
    expect(b.control.last('grant')).toBeUndefined()
    const bytes = new Uint8Array(4096).fill(7)
    await a.bulk.send({ type: 'ownerAckDirty', op: revoke.op, pages: [{ file, page: 0, epoch: 1, seq: 1, bytes }] })
    expect(b.bulk.last('grant')).toMatchObject({ req: 1, owner: true, epoch: 2, pages: [{ bytes }] })
    expect(a.bulk.last('writebackAck') ?? a.control.last('writebackAck')).toMatchObject({ req: 0 })
  })

  it('a client with a session learns the new addresses of members soon, or when it reads again', async () => {
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

describe('a group server that fails', () => {
  it('a group server stops the node when an invariant breaks', async () => {
    group.lead(1)
    group.machine.sessions = () => {
      throw new Error('memory that lies')
    }
    group.lead(2)
    expect(group.fatal.splice(0).map((error) => error.message)).toEqual(['memory that lies'])
  })

  it('a group server that breaks while it leads leaves no timer behind and serves no client', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.machine.fileByPath = () => {
      throw new Error('memory that lies')
    }
    await client.control.send({ type: 'stat', seq: 1, path: '/a' })
    expect(group.fatal.splice(0).map((error) => error.message)).toEqual(['memory that lies'])
    expect(group.clock.pending).toBe(0)
    await client.control.send({ type: 'keepAlive', nonce: 1 })
    expect(client.control.last('keepAliveAck')).toBeUndefined()
  })
})
