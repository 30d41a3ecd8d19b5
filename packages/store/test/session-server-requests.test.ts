/** Requests about files through a leader: order, repetition, refusals. */
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { group, useGroup } from './support/served-group.js'
import { TestClient, openRequest } from './support/stub-group.js'

useGroup()

describe('requests', () => {
  it('requests open, grow and close a file through the log', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(openRequest(1, '/a'))
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

  it('a repeated request is applied once, and answered once on each connection', async () => {
    group.lead(1)
    const first = await new TestClient(group).connect()
    group.autoCommit = false
    await first.control.send(openRequest(1, '/a', { exclusive: true }))
    await first.control.send(openRequest(1, '/a', { exclusive: true }))
    expect(group.proposed()).toHaveLength(1)
    const second = await new TestClient(group).connect(first.session)
    await second.control.send(openRequest(1, '/a', { exclusive: true }))
    group.commit()
    await settle()
    expect(second.control.received.filter((message) => message.type === 'opened')).toHaveLength(1)
    expect(second.control.last('failed')).toBeUndefined()
  })

  it('a request that the state machine refuses fails with its error', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(openRequest(1, '/none', { create: false }))
    expect(client.control.last('failed')).toEqual({
      type: 'failed',
      seq: 1,
      error: { code: 'ERR_NO_ENTRY', facts: ['/none'] }
    })
  })

  it('a leader answers stat and list only after a majority has confirmed it', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send(openRequest(1, '/a/x'))
    await client.control.send(openRequest(2, '/a/y'))
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

  it('a leader refuses paths and prefixes that no file can have, even if the client does not check them', async () => {
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

  it('one answer to list holds as many files as fit in a frame', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    for (let i = 1; i <= 100; i++) {
      await client.control.send({ ...openRequest(i, `/${String(i).padStart(4, '0')}${'p'.repeat(1000)}`), settled: i })
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

  it('a leader ends a session on request, and closes its streams after the answer', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    await client.control.send({ type: 'endSession', seq: 9, settled: 9 })
    expect(client.control.last('done')).toEqual({ type: 'done', seq: 9 })
    await settle()
    expect(client.control.closed).toBe(true)
    expect(group.machine.session(client.session)).toBeUndefined()
  })

  it('requests stay in order while the log has no room', async () => {
    group.lead(1)
    const client = await new TestClient(group).connect()
    group.full = true
    await client.control.send(openRequest(1, '/a'))
    await client.control.send(openRequest(2, '/b'))
    group.full = false
    await group.clock.advance(200)
    expect(
      client.control.received.filter((message) => message.type === 'opened').map((message) => message.stat.path)
    ).toEqual(['/a', '/b'])
  })
})
