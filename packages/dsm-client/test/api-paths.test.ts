/** The arguments of open and of the calls with paths. */
import { MAX_FILE_BYTES, MAX_PATH_BYTES, NoSuchFileError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { OpenOptions } from '../src/types.js'
import { world, client, expectNothingLeft, refused, bad, NO_COUNTS, NO_NUMBERS, setUpClient } from './support/api.js'
import { failure } from './support/client.js'

setUpClient()

describe('paths', () => {
  const long = `/${'x'.repeat(MAX_PATH_BYTES)}`
  const wide = `/${'é'.repeat(MAX_PATH_BYTES / 2)}`
  const paths = [
    '',
    'f',
    'a/b',
    '//',
    '/a//b',
    '/a/',
    '/',
    '/.',
    '/a/..',
    '/../a',
    '/a\0b',
    '/\ud800',
    '/e\u0301',
    long,
    wide
  ]

  it.each(paths)('open and stat refuse the path %j', async (path) => {
    await refused(() => client.open(path, { create: true }), 'path', path.slice(0, 256))
    await refused(() => client.stat(path), 'path', path.slice(0, 256))
  })

  it.each(paths)('rename and unlink refuse the path %j', async (path) => {
    await refused(() => client.rename(path, '/g'), 'path', path.slice(0, 256))
    await refused(() => client.rename('/f', path), 'path', path.slice(0, 256))
    await refused(() => client.unlink(path), 'path', path.slice(0, 256))
  })

  it('every call refuses a path that is not a string', async () => {
    await refused(() => client.open(bad(undefined)), 'path', 'undefined')
    await refused(() => client.stat(bad(5)), 'path', 5)
    await refused(() => client.rename('/f', bad(null)), 'path', 'null')
    await refused(() => client.unlink(bad({})), 'path', 'Object')
    await refused(() => list(bad(['/'])), 'prefix', 'Array')
  })

  it('open accepts paths of the maximum length and with dots in their components', async () => {
    for (const path of [long.slice(0, MAX_PATH_BYTES), '/...', '/.a/b..', '/é']) {
      expect((await client.open(path, { create: true })).path).toBe(path)
    }
  })

  it.each(['a', long, '/\udc00', '/cafe\u0301', '/\u212b', '/a\0', '//', '/a//', '/../a', '/./'])(
    'list refuses the prefix %j, because no path begins with it',
    async (prefix) => {
      await refused(() => list(prefix), 'prefix', prefix.slice(0, 256))
    }
  )

  it('list accepts any prefix of a path', async () => {
    await client.open('/dir/a', { create: true })
    for (const prefix of ['/dir/', '/di', '/dir/a']) expect(await list(prefix)).toEqual(['/dir/a'])
    for (const prefix of ['/.', '/..', '/dir/.', '/caf\u00e9']) expect(await list(prefix)).toEqual([])
    for (const prefix of ['', '/', undefined]) expect(await list(prefix)).toEqual(['/dir/a', '/f'])
  })

  async function list(prefix?: string): Promise<string[]> {
    const found: string[] = []
    for await (const { path } of client.list(prefix)) found.push(path)
    return found
  }
})

describe('open', () => {
  it.each([0, 1, 2048, 4095, 5000, 131_072, -4096, Number.NaN, 4096 + 1e-12, 65_536 - 1e-11])(
    'open refuses a page size of %d bytes',
    async (pageSize) => {
      await refused(() => client.open('/g', { create: true, pageSize }), 'pageSize', pageSize)
    }
  )

  it.each([['4096', '4096'], [4096n, '4096'], ...NO_NUMBERS.slice(2)])(
    'open refuses the non-number %s as a page size, and the session continues over a new connection',
    async (pageSize, named) => {
      await refused(() => client.open('/g', { create: true, pageSize: bad(pageSize) }), 'pageSize', named)
      world.leader.cut()
      expect((await world.until(client.stat('/f'))).path).toBe('/f')
    }
  )

  it('open refuses an unknown unit', async () => {
    await refused(() => client.open('/g', { create: true, unit: bad('line') }), 'unit', 'line')
  })

  it.each([...NO_COUNTS, MAX_FILE_BYTES + 1])('open refuses a size of %d', async (size) => {
    await refused(() => client.open('/g', { create: true, size }), 'size', size)
  })

  it.each<[string, OpenOptions, object]>([
    ['/missing', {}, { name: 'NoSuchFileError', path: '/missing' }],
    ['/f', { create: true, exclusive: true }, { name: 'FileExistsError', path: '/f' }],
    ['/f', { pageSize: 8192 }, { name: 'InvalidArgumentError', argument: 'pageSize', value: 8192 }]
  ])('open of %s with %j rejects with the error of the cluster', async (path, options, expected) => {
    expect(await failure(client.open(path, options))).toMatchObject(expected)
    expectNothingLeft()
  })

  it('stat of a missing file rejects with NoSuchFileError', async () => {
    expect(await failure(client.stat('/missing'))).toMatchObject({ name: 'NoSuchFileError', path: '/missing' })
  })

  it.each<[string, () => Promise<unknown>]>([
    ['rename', () => client.rename('/missing', '/g')],
    ['unlink', () => client.unlink('/missing')]
  ])('%s of a missing file rejects with NoSuchFileError', async (type, call) => {
    const failing = failure(call())
    await world.clock.advance(1)
    world.leader.fail(world.leader.last(type as 'rename').seq, new NoSuchFileError('/missing'))
    const error = await failing
    expect(error).toBeInstanceOf(NoSuchFileError)
    expect(error).toMatchObject({ code: 'ERR_NO_ENTRY', path: '/missing' })
    expectNothingLeft()
  })
})
