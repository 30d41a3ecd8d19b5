/** A leader with clients on thin lines (docs/coherence.md, "Leases"). */
import type { LeaderMessage } from '@quire/protocol'
import { settle } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { group, useGroup } from './support/served-group.js'
import { TestClient, openRequest } from './support/stub-group.js'

const PAGE = 4096
const PAGES = 64
let client: TestClient
let file: number

useGroup()

beforeEach(async () => {
  group.lead(1)
  client = await new TestClient(group).connect(0, 10_000)
  await client.control.send(openRequest(1, '/f', { size: PAGES * PAGE }))
  await settle()
  file = client.control.last('opened')!.stat.id
  // Pages with bytes, because the bytes of a page of zeros do not travel.
  for (let page = 0; page < PAGES; page++) {
    await client.control.send({ type: 'fault', req: 1000 + page, file, page, count: 1, access: 'write', have: 0 })
    await settle()
    const { epoch } = grants(client.control.received).at(-1)!
    const dirty = { file, page, epoch, seq: 1, bytes: new Uint8Array(PAGE).fill(1) }
    await client.bulk.send({ type: 'writeback', req: page + 1, pages: [dirty] })
    await settle()
  }
})

function grants(received: readonly LeaderMessage[]) {
  return received.filter((message) => message.type === 'grant')
}

async function readAll(): Promise<void> {
  for (let page = 0; page < PAGES; page++) {
    await client.control.send({ type: 'fault', req: 1 + page, file, page, count: 1, access: 'read', have: 0 })
  }
  await settle()
}

describe('page bytes', () => {
  it('page bytes wait at the leader while earlier ones are in flight, and control messages pass them', async () => {
    await readAll()
    // The leader does not know the line yet, so one page leaves.
    expect(grants(client.bulk.received)).toHaveLength(1)
    await group.clock.advance(3000)
    expect(grants(client.bulk.received)).toHaveLength(1)
    await client.control.send({ type: 'keepAlive', nonce: 7 })
    expect(client.control.last('keepAliveAck')).toMatchObject({ nonce: 7 })
  })

  it('page bytes follow as the client acknowledges earlier ones, each page once and in order', async () => {
    await readAll()
    for (let told = 0; client.bulk.bytes > told;) {
      told = client.bulk.bytes
      await client.control.send({ type: 'bulkReceived', bytes: told })
      await settle()
    }
    expect(grants(client.bulk.received).map(({ page }) => page)).toEqual(Array.from({ length: PAGES }, (_, i) => i))
  })

  it('page bytes get a smaller window if they take longer than a fraction of the TTL', async () => {
    await readAll()
    const granted = (): number => grants(client.bulk.received).length
    const receive = async (): Promise<number> => {
      const before = granted()
      await client.control.send({ type: 'bulkReceived', bytes: client.bulk.bytes })
      await settle()
      return granted() - before
    }
    // While pages arrive at once, more of them leave in each round.
    let first = 1
    for (let round = 0; round < 4; round++) first = await receive()
    expect(first).toBeGreaterThanOrEqual(8)
    await group.clock.advance(5000)
    const second = await receive()
    expect(second).toBeGreaterThan(0)
    expect(second).toBeLessThan(first / 2)
  })

  it('a leader refuses a client that acknowledges page bytes that were never sent', async () => {
    await client.control.send({ type: 'bulkReceived', bytes: 1_000_000 })
    expect(client.control.last('refused')?.error).toMatchObject({
      facts: ['bulkReceived', 1_000_000, expect.any(String)]
    })
  })

  it('a leader acknowledges the page bytes of a client as they arrive', async () => {
    await group.clock.advance(20)
    expect(client.control.last('bulkReceived')!.bytes).toBeGreaterThan(PAGES * PAGE)
  })
})

describe('answers to a ping', () => {
  it('an answer to a ping needs no quorum round', async () => {
    group.quorum = false
    await client.control.send({ type: 'ping' })
    expect(client.control.last('pong')).toEqual({ type: 'pong' })
    group.quorum = true
    await settle()
  })

  it('a ping does not renew the lease of a session: only a confirmed keep-alive does', async () => {
    for (let spent = 0; spent < 11_000; spent += 500) {
      await group.clock.advance(500)
      if (client.control.last('expired') === undefined) await client.control.send({ type: 'ping' })
    }
    expect(client.control.last('expired')).toEqual({ type: 'expired', session: client.session })
  })
})
