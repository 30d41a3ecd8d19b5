/** How a leader renews leases, and when a session expires. */
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { group, useGroup } from './support/served-group.js'
import { mayConnect } from '../src/peer/cluster.js'
import { CONFIG, OTHER, TestClient, openRequest } from './support/stub-group.js'

useGroup()

describe('leases', () => {
  it('a keep-alive renews a lease only after a majority has confirmed the leader since its arrival', async () => {
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

  it('a session without keep-alives expires: the leader tells its client and closes its streams', async () => {
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

  it('a client that an admin denies keeps its pages until its lease has run out, and the next client gets its flushed bytes', async () => {
    group.lead(1)
    const owner = await new TestClient(group, 'owner').connect(0, 1000)
    const next = await new TestClient(group, 'next').connect(0, 60_000)
    for (const client of [owner, next]) await client.control.send(openRequest(1, '/f'))
    const file = owner.control.last('opened')!.stat.id
    const fault = { type: 'fault', req: 1, file, page: 0, count: 1, access: 'write', have: 0 } as const
    await owner.control.send(fault)
    const bytes = new Uint8Array(4096).fill(7)
    await owner.bulk.send({ type: 'writeback', req: 2, pages: [{ file, page: 0, epoch: 1, seq: 1, bytes }] })
    expect(owner.bulk.last('writebackAck') ?? owner.control.last('writebackAck')).toBeDefined()

    const denying = { ...CONFIG, denied: ['owner'], revision: 1 }
    group.found(denying)
    // The network of a peer cuts the connections of those that may not connect.
    expect(mayConnect(denying, 'owner')).not.toBe(true)
    for (const { stream } of [owner.control, owner.bulk]) stream.abort(new Error('it may not connect'))
    await next.control.send(fault)
    await group.clock.advance(900)
    expect(group.machine.session(owner.session)).toBeDefined()
    expect(next.bulk.last('grant') ?? next.control.last('grant')).toBeUndefined()
    await group.clock.advance(300)
    expect(group.machine.session(owner.session)).toBeUndefined()
    expect(next.bulk.last('grant') ?? next.control.last('grant')).toMatchObject({
      owner: true,
      epoch: 3,
      pages: [{ bytes }]
    })
  })

  it('a keep-alive does not renew a lease once the expiry is proposed', async () => {
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

  it('no lease runs out after a stall before the leader has read its inbox', async () => {
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

  it('a lease lasts a full TTL from an election', async () => {
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
