/** Files without a path, and the call that gives them one: docs/coherence.md, 'Names'. */
import {
  ClosedError,
  InvalidArgumentError,
  NoSpaceError,
  PastEndError,
  SessionExpiredError,
  errorToWire
} from '@quire/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { failure, outcome, view } from './support/client.js'
import { client, connect, useWorld, world } from './support/session.js'

useWorld()

const PAGE = 4096
const TTL = 10_000

beforeEach(async () => {
  await connect(world.create({ cacheBytes: 65_536, faultTimeoutMs: 5000, sessionTtlMs: TTL }))
})

const bytes = (length: number, value = 7): Uint8Array => new Uint8Array(length).fill(value)
const linksSent = (): number => world.leader.of('link').length

describe('a file from createUnnamed', () => {
  it('a file from createUnnamed has an empty path until link gives it one', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    expect([file.path, (await file.stat()).path]).toEqual(['', ''])
    const mapping = await file.mmap()
    await mapping.write(0, bytes(3))
    expect(await file.read(0, 3)).toEqual(bytes(3))
    await file.link('/a')
    expect([file.path, (await file.stat()).path, mapping.file.path]).toEqual(['/a', '/a', '/a'])
    // Both handles share the same pages, because a client opens a file once.
    const again = await client.open('/a')
    expect([again.id, again.path, await again.read(0, 3)]).toEqual([file.id, '/a', bytes(3)])
    await file.close()
    expect(await again.read(0, 3)).toEqual(bytes(3))
  })

  it('a file from createUnnamed can be closed, and the cluster then removes it', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    await file.write(0, bytes(1))
    await file.close()
    expect([[...world.cluster.mapped], [...world.cluster.unnamed]]).toEqual([[], []])
  })

  it('a file from createUnnamed appears in errors under its number', async () => {
    const file = await client.createUnnamed()
    const mapping = await file.mmap({ length: PAGE })
    const name = `unnamed file ${file.id}`
    expect(await failure(mapping.read(0, 1))).toMatchObject(new PastEndError(name, 0, 0))
    await file.link('/a')
    expect(await failure(mapping.read(0, 1))).toMatchObject(new PastEndError('/a', 0, 0))
    const other = await client.createUnnamed()
    await other.close()
    expect((await failure(other.stat())).message).toContain(`unnamed file ${other.id}`)
  })

  it('a file from createUnnamed is lost with its session, and the error lists the bytes that were not durable', async () => {
    const file = await client.createUnnamed({ size: 2 * PAGE })
    await file.write(PAGE, bytes(1))
    world.leader.holding.add('writeback')
    const linking = failure(file.link('/a'))
    await world.clock.advance(1)
    world.leader.send({ type: 'expired', session: world.leader.session })
    const error = await linking
    expect(error).toBeInstanceOf(SessionExpiredError)
    expect((error as SessionExpiredError).lost).toEqual([
      { file: file.id, path: `unnamed file ${file.id}`, offset: PAGE, length: PAGE }
    ])
    expect(linksSent()).toBe(0)
  })

  it('a file from createUnnamed is not flushed by the close of its client, which reports no loss', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    await file.write(0, bytes(1))
    const lost: unknown[] = []
    client.addEventListener('sessionlost', ({ detail }) => lost.push(detail.lost))
    world.leader.holding.add('writeback')
    await world.until(client.close())
    expect([world.leader.of('writeback'), world.leader.of('endSession').length, lost]).toEqual([[], 1, []])
  })

  it('a file from createUnnamed is closed once the cluster has created it, if its caller has stopped waiting', async () => {
    world.leader.holding.add('createUnnamed')
    const creating = failure(client.createUnnamed())
    await world.clock.advance(5000)
    expect(await creating).toMatchObject({ name: 'UnavailableError' })
    world.leader.release('createUnnamed')
    await world.clock.advance(1)
    expect([[...world.cluster.mapped], [...world.cluster.unnamed]]).toEqual([[], []])
    expect(view(client).pendingRequests).toBe(0)
  })

  it('a file from createUnnamed is refused with invalid sizes, units and options', async () => {
    const cases: [options: object, argument: string][] = [
      [{ size: -1 }, 'size'],
      [{ size: 0.5 }, 'size'],
      [{ pageSize: 5000 }, 'pageSize'],
      [{ unit: 'byte' }, 'unit'],
      [{ create: true }, 'createUnnamed: create'],
      [{ path: '/a' }, 'createUnnamed: path']
    ]
    for (const [options, argument] of cases) {
      const error = await failure(client.createUnnamed(options))
      expect(error).toBeInstanceOf(InvalidArgumentError)
      expect(error).toMatchObject({ argument })
    }
    expect(world.leader.of('createUnnamed')).toEqual([])
  })
})

describe('link', () => {
  it('link is not sent until all written pages are durable', async () => {
    const file = await client.createUnnamed({ size: 3 * PAGE })
    await file.write(0, bytes(3 * PAGE))
    world.leader.holding.add('writeback')
    const linking = file.link('/a')
    await world.clock.advance(1)
    expect([await outcome(linking), linksSent()]).toEqual(['waiting', 0])
    world.leader.release('writeback')
    await world.until(linking)
    expect(linksSent()).toBe(1)
    for (let page = 0; page < 3; page++)
      expect(world.cluster.pages.get(`${file.id}:${page}`)!.bytes).toEqual(bytes(PAGE))
  })

  it('link is not sent if the flush fails, and can be repeated', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    await file.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const linking = failure(file.link('/a'))
    await world.clock.advance(1)
    const { req } = world.leader.last('writeback')
    world.leader.send({ type: 'writebackFailed', term: 1, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(await linking).toBeInstanceOf(NoSpaceError)
    expect([linksSent(), file.path]).toEqual([0, ''])
    world.leader.holding.clear()
    await file.link('/a')
    expect(file.path).toBe('/a')
  })

  it('link is repeated as the same request to another leader', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    world.leader.holding.add('link')
    const linking = file.link('/a')
    await world.clock.advance(1)
    const { seq } = world.leader.last('link')
    const [, next] = world.peers
    world.elect(next!, 2)
    world.leader.redirect(next!.id)
    await world.until(linking)
    expect(next!.of('link').map((message) => message.seq)).toEqual([seq])
    expect(file.path).toBe('/a')
  })

  it('an aborted link may still apply, and the file then has its path', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    const giveUp = new AbortController()
    world.leader.holding.add('link')
    const linking = failure(file.link('/a', { signal: giveUp.signal }))
    await world.clock.advance(1)
    giveUp.abort()
    expect(await linking).toMatchObject({ name: 'AbortError' })
    expect(file.path).toBe('')
    world.leader.release('link')
    await world.clock.advance(1)
    expect(file.path).toBe('/a')
  })

  it('an aborted link makes the close of the client flush the file, which may have a path', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    const giveUp = new AbortController()
    world.leader.holding.add('link')
    const linking = failure(file.link('/a', { signal: giveUp.signal }))
    await world.clock.advance(1)
    giveUp.abort()
    await linking
    await file.write(0, bytes(PAGE))
    await world.until(client.close())
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes).toEqual(bytes(PAGE))
  })

  it('link leaves the file unnamed if the leader refuses', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    world.leader.holding.add('link')
    const linking = failure(file.link('/a'))
    await world.clock.advance(1)
    world.leader.fail(world.leader.last('link').seq, new InvalidArgumentError('file', 1, 'a file without a name'))
    expect(await linking).toBeInstanceOf(InvalidArgumentError)
    expect(file.path).toBe('')
  })

  it('link rejects with ClosedError if the file closes in the meantime, and is not sent', async () => {
    const file = await client.createUnnamed({ size: PAGE })
    await file.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const linking = failure(file.link('/a'))
    const closing = file.close()
    await world.clock.advance(1)
    world.leader.release('writeback')
    await world.until(closing)
    expect(await linking).toBeInstanceOf(ClosedError)
    expect(await failure(file.link('/a'))).toBeInstanceOf(ClosedError)
    expect(linksSent()).toBe(0)
  })

  it.each(['', 'a', '/', '/a//b', '/a/../b', `/${'x'.repeat(2000)}`])(
    'link rejects with InvalidArgumentError for the path %j',
    async (path) => {
      const file = await client.createUnnamed({ size: PAGE })
      await file.write(0, bytes(1))
      expect(await failure(file.link(path))).toMatchObject({ name: 'InvalidArgumentError', argument: 'path' })
      expect([world.leader.of('writeback').length, linksSent()]).toEqual([0, 0])
    }
  )
})
