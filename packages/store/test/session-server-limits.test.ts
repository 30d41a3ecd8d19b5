/** Clients that break the protocol or exceed a limit. */
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { group, useGroup, limitGroup } from './support/served-group.js'
import { TestClient, openRequest } from './support/stub-group.js'

useGroup()

describe('a client that breaks the protocol', () => {
  const refusedAndClosed = async (client: TestClient, code: string): Promise<void> => {
    await settle()
    expect(client.control.last('refused')?.error.code).toBe(code)
    expect(client.control.closed && client.bulk.closed).toBe(true)
    expect((await new TestClient(group, 'well-behaved').connect()).session).toBeGreaterThan(0)
  }

  it('a client loses both lanes for a frame that cannot be decoded', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    client.bulk.stream.send(new Uint8Array([3, 0, 0, 0, 0, 0, 255]))
    await refusedAndClosed(client, 'ERR_INVALID_ARGUMENT')
  })

  it('a client loses both lanes for a message on the wrong lane, or before its registration', async () => {
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

  it('a client loses both lanes if it exceeds its limit of outstanding faults, requests or writeback bytes', async () => {
    group.lead(1)
    const owner = await new TestClient(group, 'owner').connect(0, 600_000)
    await owner.control.send(openRequest(1, '/f', { size: 4096 * 1000 }))
    const file = owner.control.last('opened')!.stat.id
    await owner.control.send({ type: 'fault', req: 1, file, page: 0, count: 1, access: 'write', have: 0 })

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

  it('a client loses its connection if it sends more diffs than their pages have credit, however small they are', async () => {
    limitGroup({ creditBytes: 8 * 4096 })
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(openRequest(1, '/f'))
    const file = client.control.last('opened')!.stat.id
    await client.control.send({ type: 'fault', req: 1, file, page: 0, count: 1, access: 'write', have: 0 })
    group.autoCommit = false
    const diff = { file, page: 0, epoch: 1, ranges: [], bytes: new Uint8Array(0) }
    for (let req = 1; req <= 8; req++)
      await client.bulk.send({ type: 'writeback', req, pages: [{ ...diff, seq: req }] })
    expect(client.control.closed).toBe(false)
    await client.bulk.send({ type: 'writeback', req: 9, pages: [{ ...diff, seq: 9 }] })
    group.autoCommit = true
    group.commit()
    await refusedAndClosed(client, 'ERR_QUOTA')
  })

  it('a client loses both lanes if it does not read', async () => {
    limitGroup({ maxOutgoingBytes: 1000 })
    group.lead(1)
    const client = await new TestClient(group).connect()
    client.control.stream.other.isFull = true
    for (let seq = 1; seq < 40; seq++) await client.control.send({ ...openRequest(seq, `/${seq}`), settled: seq })
    expect(client.control.closed && client.bulk.closed).toBe(true)
  })

  it('a client loses both lanes if too many bytes wait for all clients and it has read the least', async () => {
    limitGroup({ maxTotalOutgoingBytes: 1000 })
    group.lead(1)
    const [stuck, slow, quick] = [
      await new TestClient(group).connect(),
      await new TestClient(group, 'client-2').connect(),
      await new TestClient(group, 'client-3').connect()
    ]
    for (const each of [stuck, slow]) each.control.stream.other.isFull = true
    for (let seq = 1; seq <= 20; seq++) await stuck.control.send({ ...openRequest(seq, `/${seq}`), settled: seq })
    for (let seq = 1; seq < 20 && !stuck.control.closed; seq++) {
      await slow.control.send({ ...openRequest(seq, `/${seq}`), settled: seq })
      await quick.control.send({ ...openRequest(seq, `/${seq}`), settled: seq })
    }
    expect([stuck.control.closed, slow.control.closed, quick.control.closed]).toEqual([true, false, false])
    expect(group.server.connectedSessions).toBe(2)
  })

  it('a leader refuses writebacks while too many bytes wait for the log', async () => {
    limitGroup({ maxProposalBytes: 100 })
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(openRequest(1, '/f'))
    const file = client.control.last('opened')!.stat.id
    await client.control.send({ type: 'fault', req: 1, file, page: 0, count: 1, access: 'write', have: 0 })
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
