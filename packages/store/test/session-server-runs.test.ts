/** Runs of pages, as the leader counts and answers them on a connection. */
import { DEFAULT_PAGE_BYTES, MAX_RUN_PAGES, type Access } from '@quire/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { group, limitGroup, useGroup } from './support/served-group.js'
import { TestClient, openRequest } from './support/stub-group.js'

const PAGES = 40

useGroup()

let client: TestClient
let other: TestClient
let file: number

async function start(): Promise<void> {
  group.lead(1)
  client = await new TestClient(group).connect(0, 600_000)
  other = await new TestClient(group, 'client-2').connect(0, 600_000)
  for (const each of [client, other]) {
    await each.control.send(openRequest(1, '/f', { size: PAGES * DEFAULT_PAGE_BYTES }))
  }
  file = client.control.last('opened')!.stat.id
}

function ask(from: TestClient, req: number, page: number, count: number, access: Access = 'read'): Promise<void> {
  return from.control.send({ type: 'fault', req, file, page, count, access, have: 0 })
}

function grants(of: TestClient): [req: number, pages: number][] {
  return of.control.received.flatMap((message) =>
    message.type === 'grant' ? [[message.req, message.pages.length] as [number, number]] : []
  )
}

describe('runs on a connection', () => {
  beforeEach(start)

  it('a run of faults on holes is answered by one grant on control', async () => {
    await ask(client, 10, 0, PAGES)
    expect(grants(client)).toEqual([[10, PAGES]])
  })

  it('a run of faults is answered in parts, without the page that another session owns', async () => {
    await ask(other, 1, 3, 1, 'write')
    await ask(client, 10, 0, 6)
    expect(grants(client)).toEqual([
      [10, 3],
      [14, 2]
    ])
    const { op, page } = other.control.last('downgrade')!
    await other.control.send({ type: 'ownerAck', op, file, page, count: 1, held: true })
    expect(grants(client).at(-1)).toEqual([13, 1])
  })

  it('a run of write faults is one entry, and its grant names one epoch', async () => {
    await ask(client, 10, 0, PAGES, 'write')
    expect(grants(client)).toEqual([[10, PAGES]])
    expect(client.control.last('grant')).toMatchObject({ owner: true, epoch: 1 })
  })

  it('a leader answers runs with the greatest numbers, whatever part it answers first', async () => {
    const req = Number.MAX_SAFE_INTEGER - 2 * MAX_RUN_PAGES
    await ask(other, 1, 0, 1, 'write')
    await ask(client, req, 0, 3)
    expect(grants(client)).toEqual([[req + 1, 2]])
    await ask(other, 2, 2, 1, 'write')
    expect(client.control.last('invalidate')).toMatchObject({ page: 2, after: req + 2 })
    await ask(client, req, Number.MAX_SAFE_INTEGER - 2 * MAX_RUN_PAGES, MAX_RUN_PAGES)
    expect(client.control.last('faultFailed')).toMatchObject({ error: { code: 'ERR_PAST_END' } })
    expect([client.control.closed, other.control.closed]).toEqual([false, false])
  })
})

describe('the limit of outstanding faults', () => {
  beforeEach(async () => {
    limitGroup({ maxFaults: 8 })
    await start()
    for (let page = 0; page < 8; page++) await ask(other, 100 + page, page, 1, 'write')
  })

  it('a run that exceeds the limit of outstanding faults ends the connection', async () => {
    await ask(client, 10, 0, 9)
    expect(client.control.closed).toBe(true)
  })

  it('a run that replaces older faults counts their pages once', async () => {
    await ask(client, 10, 0, 8)
    await ask(client, 20, 2, 6)
    expect(client.control.closed).toBe(false)
  })

  it('a grant of a part of a run makes room for as many faults', async () => {
    await ask(client, 10, 0, 8)
    for (const page of [0, 1]) {
      const order = other.control.received.find((each) => each.type === 'downgrade' && each.page <= page)
      if (order?.type !== 'downgrade') throw new Error('no order')
      await other.control.send({ type: 'ownerAck', op: order.op + page, file, page, count: 1, held: true })
    }
    expect(grants(client).reduce((sum, [, pages]) => sum + pages, 0)).toBe(2)
    await ask(client, 30, 8, 2)
    expect(client.control.closed).toBe(false)
    await ask(client, 40, 10, 1)
    // Pages 8 and 9 are granted at once.
    expect(client.control.closed).toBe(false)
    expect(grants(client).at(-1)).toEqual([40, 1])
  })
})
