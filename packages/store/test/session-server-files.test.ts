/** Files that shrink, move and lose their path, as clients see them. */
import { NoSpaceError, type LeaderMessage } from '@quire/protocol'
import { settle } from '@quire/testing'
import { fromString } from 'uint8arrays/from-string'
import { beforeEach, describe, expect, it } from 'vitest'
import { group, useGroup } from './support/served-group.js'
import { PAGE } from './state-helpers.js'
import { TestClient, openRequest } from './support/stub-group.js'

const SIZE = 8192

useGroup()

beforeEach(() => {
  group.lead(1)
})

async function open(client: TestClient, path: string, seq: number): Promise<number> {
  await client.control.send(openRequest(seq, path, { size: SIZE }))
  return client.control.last('opened')?.stat.id ?? 0
}

async function acknowledge(client: TestClient): Promise<void> {
  const { op, file } = client.control.last('discard')!
  await client.control.send({ type: 'discardAck', op, file })
}

const typesOf = (messages: readonly LeaderMessage[]) => messages.map(({ type }) => type)

describe('truncate and punch', () => {
  it('a truncate or punch asks every session that maps the file, tells every session the outcome, and is answered last', async () => {
    const [one, two] = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    const file = await open(one, '/a', 1)
    await open(two, '/a', 1)
    await one.control.send({ type: 'truncate', seq: 2, settled: 1, file, size: 0 })
    await acknowledge(one)
    expect(group.machine.file(file)?.size).toBe(SIZE)
    await acknowledge(two)
    expect(group.machine.file(file)?.size).toBe(0)
    expect(typesOf(one.control.received).slice(-3)).toEqual(['discard', 'discarded', 'done'])
    expect(typesOf(two.control.received).slice(-2)).toEqual(['discard', 'discarded'])
    await one.control.send({ type: 'extend', seq: 3, settled: 3, file, size: SIZE })
    await one.control.send({ type: 'punch', seq: 4, settled: 3, file, first: 0, end: 2 })
    await acknowledge(one)
    await acknowledge(two)
    expect(one.control.last('done')).toEqual({ type: 'done', seq: 4 })
    await one.control.send({ type: 'statFile', seq: 5, file })
    expect(one.control.last('files')?.files).toMatchObject([{ size: SIZE, discards: 2 }])
  })

  it('a repeated truncate is answered again, without asking the sessions a second time', async () => {
    const client = await new TestClient(group).connect()
    const file = await open(client, '/a', 1)
    const request = { type: 'truncate', seq: 2, settled: 1, file, size: 0 } as const
    await client.control.send(request)
    // The connection breaks while the discard is under way. The repeated request joins it.
    const second = await new TestClient(group).connect(client.session)
    await second.control.send(request)
    await acknowledge(second)
    expect(second.control.last('done')).toEqual({ type: 'done', seq: 2 })
    await second.control.send({ type: 'extend', seq: 3, settled: 1, file, size: SIZE })
    const third = await new TestClient(group).connect(client.session)
    await third.control.send(request)
    expect(third.control.last('done')).toEqual({ type: 'done', seq: 2 })
    expect(third.control.last('discard')).toBeUndefined()
    expect(group.machine.file(file)).toMatchObject({ size: SIZE, discards: 1 })
  })

  it('a truncate or punch is refused at once if the session does not map the file', async () => {
    const client = await new TestClient(group).connect()
    await client.control.send({ type: 'truncate', seq: 1, settled: 1, file: 99, size: 0 })
    expect(client.control.last('failed')).toMatchObject({ seq: 1, error: { code: 'ERR_INVALID_ARGUMENT' } })
    await client.control.send({ type: 'punch', seq: 2, settled: 1, file: 99, first: 0, end: 1 })
    expect(client.control.last('failed')).toMatchObject({ seq: 2, error: { code: 'ERR_INVALID_ARGUMENT' } })
  })

  it('a truncate delays the answer to an open of the file until its size is valid', async () => {
    const [one, two] = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    const file = await open(one, '/a', 1)
    await one.control.send({ type: 'truncate', seq: 2, settled: 1, file, size: 100 })
    await open(two, '/a', 1)
    expect(group.machine.session(two.session)?.files.has(file)).toBe(true)
    expect(two.control.last('opened')).toBeUndefined()
    await acknowledge(one)
    expect(typesOf(two.control.received).slice(-2)).toEqual(['discarded', 'opened'])
    expect(two.control.last('opened')?.stat).toMatchObject({ id: file, size: 100 })
  })

  it('an open proceeds between two truncates, even if the file is truncated again and again', async () => {
    const [one, two] = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    const file = await open(one, '/a', 1)
    await one.control.send({ type: 'truncate', seq: 2, settled: 1, file, size: 200 })
    await one.control.send({ type: 'truncate', seq: 3, settled: 1, file, size: 100 })
    await open(two, '/a', 1)
    await acknowledge(one)
    // It opens the file between the two discards, so the second one asks it, too.
    expect(typesOf(two.control.received).slice(-3)).toEqual(['discarded', 'opened', 'discard'])
    expect(two.control.last('opened')?.stat.size).toBe(200)
    await acknowledge(one)
    await acknowledge(two)
    expect(group.machine.file(file)?.size).toBe(100)
  })

  it('the repeated answer to an open shows the truncates that came after the open', async () => {
    const client = await new TestClient(group).connect()
    const file = await open(client, '/a', 1)
    await client.control.send({ type: 'truncate', seq: 2, settled: 1, file, size: 100 })
    await acknowledge(client)
    const again = await new TestClient(group).connect(client.session)
    await open(again, '/a', 1)
    expect(again.control.last('opened')?.stat).toMatchObject({ id: file, size: 100, discards: 1 })
  })
})

describe('names', () => {
  it('files are renamed and unlinked, while a session that has the file open finds it by its id', async () => {
    const client = await new TestClient(group).connect()
    const file = await open(client, '/a', 1)
    await client.control.send({ type: 'rename', seq: 2, settled: 1, from: '/a', to: '/b' })
    await client.control.send({ type: 'stat', seq: 3, path: '/b' })
    expect(client.control.last('files')?.files).toMatchObject([{ id: file, path: '/b' }])
    await client.control.send({ type: 'unlink', seq: 4, settled: 1, path: '/b' })
    expect(client.control.last('done')?.seq).toBe(4)
    await client.control.send({ type: 'stat', seq: 5, path: '/b' })
    expect(client.control.last('failed')).toMatchObject({ seq: 5, error: { code: 'ERR_NO_ENTRY' } })
    await client.control.send({ type: 'statFile', seq: 6, file })
    expect(client.control.last('files')).toMatchObject({ seq: 6, files: [{ id: file, path: '/b' }] })
    await client.control.send({ type: 'close', seq: 7, settled: 7, file })
    await client.control.send({ type: 'statFile', seq: 8, file })
    expect(client.control.last('failed')?.seq).toBe(8)
  })
})

describe('checksums', () => {
  const bytes = fromString('123456789', 'latin1')
  /** The check value of CRC-32C for these bytes. */
  const CHECK = 0xe3069283

  it('a checksum covers the stored bytes of the range, in parts if the client asks for parts', async () => {
    const client = await new TestClient(group).connect()
    await client.control.send(openRequest(1, '/a', { size: 3 * PAGE + 5 }))
    const file = client.control.last('opened')!.stat.id
    const page = new Uint8Array(PAGE)
    // Across the end of page 0.
    page.set(bytes.subarray(0, 4), PAGE - 4)
    const next = new Uint8Array(PAGE)
    next.set(bytes.subarray(4))
    for (const [index, content] of [page, next].entries()) {
      await client.control.send({ type: 'fault', req: 1, file, page: index, count: 1, access: 'write', have: 0 })
      const dirty = { file, page: index, epoch: 1, seq: 1, bytes: content }
      await client.bulk.send({ type: 'writeback', req: 1, pages: [dirty] })
    }
    const ask = { type: 'checksum', file, offset: PAGE - 4, before: 0 } as const
    await client.control.send({ ...ask, seq: 2, length: 9 })
    await group.clock.advance(1)
    expect(client.control.last('checksum')).toMatchObject({ seq: 2, checksum: CHECK })
    await client.control.send({ ...ask, seq: 3, length: 6 })
    await group.clock.advance(1)
    const before = client.control.last('checksum')!.checksum
    await client.control.send({ ...ask, seq: 4, offset: PAGE + 2, length: 3, before })
    await group.clock.advance(1)
    expect(client.control.last('checksum')).toMatchObject({ seq: 4, checksum: CHECK })
    await client.control.send({ ...ask, seq: 5, offset: 2 * PAGE, length: 4 })
    await group.clock.advance(1)
    // Of four zeros, in a hole.
    expect(client.control.last('checksum')).toMatchObject({ seq: 5, checksum: 0x48674bc7 })
  })

  it('a checksum is refused beyond the end, of too many bytes, and of a file that the session has not opened', async () => {
    const [one, two] = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    await one.control.send(openRequest(1, '/a', { size: 3 * PAGE }))
    const file = one.control.last('opened')!.stat.id
    const ask = { type: 'checksum', file, before: 0 } as const
    await one.control.send({ ...ask, seq: 2, offset: 2 * PAGE, length: PAGE + 1 })
    await group.clock.advance(1)
    expect(one.control.last('failed')).toMatchObject({ seq: 2, error: { code: 'ERR_PAST_END' } })
    await one.control.send({ ...ask, seq: 3, offset: 0, length: 2 ** 20 + 1 })
    await group.clock.advance(1)
    expect(one.control.last('failed')).toMatchObject({ seq: 3, error: { code: 'ERR_INVALID_ARGUMENT' } })
    await two.control.send({ ...ask, seq: 1, offset: 0, length: 1 })
    await group.clock.advance(1)
    expect(two.control.last('failed')).toMatchObject({ seq: 1, error: { code: 'ERR_INVALID_ARGUMENT' } })
  })
})

describe('unnamed files', () => {
  const create = { type: 'createUnnamed', settled: 1, size: SIZE, pageSize: 0, unit: undefined } as const
  const createUnnamed = async (client: TestClient, seq: number): Promise<number> => {
    await client.control.send({ ...create, seq })
    return client.control.last('opened')!.stat.id
  }

  it('an unnamed file is found by other sessions once it is named, and not before', async () => {
    const [one, two] = [await new TestClient(group).connect(), await new TestClient(group, 'client-2').connect()]
    const file = await createUnnamed(one, 1)
    for (const [i, path] of ['/a', ''].entries()) {
      await two.control.send({ type: 'stat', seq: 1 + i, path })
      expect(two.control.last('failed')?.seq).toBe(1 + i)
    }
    await two.control.send({ type: 'list', seq: 3, prefix: '', after: '', limit: 9 })
    expect(two.control.last('files')).toMatchObject({ seq: 3, files: [] })
    await two.control.send({ type: 'fault', req: 1, file, page: 0, count: 1, access: 'read', have: 0 })
    expect(two.control.last('faultFailed')).toMatchObject({ req: 1, error: { code: 'ERR_INVALID_ARGUMENT' } })
    await one.control.send({ type: 'link', seq: 2, settled: 1, file, path: '/a' })
    expect(one.control.last('done')?.seq).toBe(2)
    await two.control.send({ type: 'stat', seq: 4, path: '/a' })
    expect(two.control.last('files')?.files).toMatchObject([{ id: file, path: '/a', size: SIZE }])
  })

  it('an unnamed file is created and named once, even if the requests are repeated on another connection', async () => {
    const client = await new TestClient(group).connect()
    const file = await createUnnamed(client, 1)
    const link = { type: 'link', seq: 2, settled: 1, file, path: '/a' } as const
    await client.control.send(link)
    const again = await new TestClient(group).connect(client.session)
    expect(await createUnnamed(again, 1)).toBe(file)
    await again.control.send({ type: 'unlink', seq: 3, settled: 1, path: '/a' })
    await again.control.send(link)
    expect(again.control.last('done')?.seq).toBe(2)
    expect(group.machine.fileByPath('/a')).toBeUndefined()
  })

  it('an unnamed file is deleted when the lease of its client runs out', async () => {
    const client = await new TestClient(group).connect()
    const file = await createUnnamed(client, 1)
    expect(group.machine.file(file)).toBeDefined()
    await group.clock.advance(60_000)
    expect(group.machine.session(client.session)).toBeUndefined()
    expect(group.machine.file(file)).toBeUndefined()
  })
})

describe('full disks', () => {
  it('a leader whose disk is full accepts requests that make room, and refuses requests that need room', async () => {
    const client = await new TestClient(group).connect()
    const file = await open(client, '/a', 1)
    group.server.setReadOnly(new NoSpaceError('pages'))
    await client.control.send({ type: 'truncate', seq: 2, settled: 1, file, size: 2 * SIZE })
    expect(client.control.last('failed')).toMatchObject({ seq: 2, error: { code: 'ERR_NO_SPACE' } })
    await client.control.send({ type: 'createUnnamed', seq: 6, settled: 1, size: 1, pageSize: 0, unit: undefined })
    expect(client.control.last('failed')).toMatchObject({ seq: 6, error: { code: 'ERR_NO_SPACE' } })
    await client.control.send({ type: 'punch', seq: 3, settled: 1, file, first: 0, end: 1 })
    await acknowledge(client)
    await client.control.send({ type: 'truncate', seq: 4, settled: 1, file, size: 0 })
    await acknowledge(client)
    await client.control.send({ type: 'unlink', seq: 5, settled: 1, path: '/a' })
    await settle()
    const done = client.control.received.flatMap((message) => (message.type === 'done' ? message.seq : []))
    expect(done).toEqual([3, 4, 5])
  })

  it('a leader whose disk is full refuses no request while leadership moves to a peer that has room', async () => {
    const client = await new TestClient(group).connect()
    const file = await open(client, '/a', 1)
    group.server.setReadOnly(new NoSpaceError('pages'))
    group.handsOver = true
    await client.control.send({ type: 'extend', seq: 2, settled: 1, file, size: 2 * SIZE })
    expect(client.control.last('failed')).toBeUndefined()
    // The handover has failed, because no other peer has room.
    group.handsOver = false
    await client.control.send({ type: 'extend', seq: 3, settled: 2, file, size: 3 * SIZE })
    expect(client.control.last('failed')).toMatchObject({ seq: 3, error: { code: 'ERR_NO_SPACE' } })
  })
})
