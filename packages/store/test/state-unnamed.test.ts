/** Unnamed files in the state machine, and the request that names them: docs/coherence.md, 'Names'. */
import { describe, expect, it } from 'vitest'
import { createPageStore } from '../src/pages/index.js'
import { createStateMachine, encodeCommand } from '../src/state/index.js'
import { filled, memoryStorage, PAGE } from './state-helpers.js'
import { Files, errorName } from './support/state-requests.js'

describe('an unnamed file', () => {
  const unnamed = (h: Files, session = h.one): number => {
    const opened = h.ask({ type: 'createUnnamed', size: 4 * PAGE, pageSize: 0, unit: undefined }, session)
    if (opened.type !== 'opened') throw new Error(opened.type)
    expect(opened.stat).toMatchObject({ id: h.index, path: '', size: 4 * PAGE, pageSize: PAGE, unit: 'page' })
    return opened.stat.id
  }

  it('an unnamed file is mapped by its session, and cannot be found by path, in a list or by another session', () => {
    const h = new Files()
    const file = unnamed(h)
    expect(h.machine.file(file)).toMatchObject({ path: '', linked: false })
    expect([...h.machine.file(file)!.sessions]).toEqual([h.one])
    expect([h.machine.list('', '', 9), h.machine.fileByPath('')]).toEqual([[], undefined])
    expect(errorName(h.open(h.two, '', { create: false }))).toBe('InvalidArgumentError')
    for (const path of ['', '/', '/a']) {
      expect(h.ask({ type: 'rename', from: path, to: '/b' }).type).toBe('failed')
      expect(h.ask({ type: 'unlink', path }).type).toBe('failed')
    }
    expect(h.ask({ type: 'extend', file, size: 9 * PAGE }, h.two).type).toBe('failed')
    expect(h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.two).type).toBe('failed')
  })

  it.each(['endSession', 'expireSession', 'close'] as const)(
    'an unnamed file is removed with its bytes by %s',
    (type) => {
      const h = new Files()
      const file = unnamed(h)
      h.store(file, 3, 6)
      if (type === 'close') h.ask({ type, file })
      else h.apply({ type, session: h.one, at: 1 })
      expect(h.machine.file(file)).toBeUndefined()
      expect([h.machine.version(file, 3), h.machine.ownedPages()]).toEqual([0, 0])
    }
  )

  it('an unnamed file gets its path in one entry, keeps its bytes and owners, and outlives its session', () => {
    const h = new Files()
    const file = unnamed(h)
    const epoch = h.store(file, 2, 5)
    expect(h.ask({ type: 'link', file, path: '/a' })).toMatchObject({ type: 'linked', file })
    expect(h.machine.fileByPath('/a')).toMatchObject({ id: file, path: '/a', linked: true, size: 4 * PAGE })
    expect(h.machine.list('', '', 9).map(({ id }) => id)).toEqual([file])
    expect(h.machine.owner(file, 2)).toEqual({ session: h.one, epoch, seq: 1 })
    h.end(h.one)
    expect(h.file(h.two, '/a', { create: false })).toBe(file)
    expect(h.bytes(file, 2)).toEqual(filled(5))
  })

  it('an unnamed file replaces the file at its new path, which is removed unless a session has it open', () => {
    const h = new Files()
    const [held, left] = [h.file(h.two, '/held'), h.file(h.one, '/left')]
    h.ask({ type: 'close', file: left })
    for (const path of ['/held', '/left']) {
      const file = unnamed(h)
      h.ask({ type: 'link', file, path })
      expect(h.machine.fileByPath(path)?.id).toBe(file)
    }
    expect(h.machine.file(held)).toMatchObject({ path: '/held', linked: false })
    expect(h.machine.file(left)).toBeUndefined()
    expect(h.machine.list('', '', 9)).toHaveLength(2)
  })

  it('an unnamed file refuses a path from a session that does not map it or has ended', () => {
    const h = new Files()
    const file = unnamed(h)
    expect(errorName(h.ask({ type: 'link', file, path: '/a' }, h.two))).toBe('InvalidArgumentError')
    h.end(h.one)
    expect(errorName(h.ask({ type: 'link', file, path: '/a' }, h.one))).toBe('SessionExpiredError')
    expect(errorName(h.ask({ type: 'link', file, path: '/a' }, h.two))).toBe('InvalidArgumentError')
    expect(h.machine.list('', '', 9)).toEqual([])
  })

  it('an unnamed file refuses an invalid path, and stays unnamed', () => {
    const h = new Files()
    const file = unnamed(h)
    for (const path of ['', 'a', '/', '/a//b', '/a/../b']) {
      expect(errorName(h.ask({ type: 'link', file, path }))).toBe('InvalidArgumentError')
    }
    expect(h.machine.file(file)).toMatchObject({ path: '', linked: false })
  })

  it('a named file accepts its path again, and refuses any other path, even after an unlink', () => {
    const h = new Files()
    const file = unnamed(h)
    h.ask({ type: 'link', file, path: '/a' })
    expect(h.ask({ type: 'link', file, path: '/a' })).toMatchObject({ type: 'linked', file })
    expect(errorName(h.ask({ type: 'link', file, path: '/b' }))).toBe('InvalidArgumentError')
    h.ask({ type: 'unlink', path: '/a' })
    for (const path of ['/a', '/b']) expect(errorName(h.ask({ type: 'link', file, path }))).toBe('InvalidArgumentError')
    const ordinary = h.file(h.one, '/c')
    expect(errorName(h.ask({ type: 'link', file: ordinary, path: '/d' }))).toBe('InvalidArgumentError')
    expect(h.machine.list('', '', 9).map(({ path }) => path)).toEqual(['/c'])
  })

  it('a repeated link is applied once, even if the path leads to another file by then', () => {
    const h = new Files()
    const file = unnamed(h)
    const first = h.ask({ type: 'link', file, path: '/a' }, h.one, 500)
    h.ask({ type: 'rename', from: '/a', to: '/b' })
    const other = h.file(h.two, '/a')
    expect(h.ask({ type: 'link', file, path: '/a' }, h.one, 500)).toEqual(first)
    expect([h.machine.fileByPath('/a')?.id, h.machine.fileByPath('/b')?.id]).toEqual([other, file])
  })

  it('createUnnamed refuses an invalid page size and an invalid size', () => {
    const h = new Files()
    const create = { type: 'createUnnamed', size: 0, pageSize: 0, unit: undefined } as const
    expect(errorName(h.ask({ ...create, pageSize: 5000 }))).toBe('InvalidArgumentError')
    expect(errorName(h.ask({ ...create, size: Number.MAX_SAFE_INTEGER }))).toBe('InvalidArgumentError')
    expect([...h.machine.session(h.one)!.files]).toEqual([])
  })

  it('an unnamed file stays unnamed in a checkpoint, and is removed with its session after a restart', async () => {
    const storage = memoryStorage()
    const store = createPageStore({ backend: storage.open() })
    const h = new Files(store)
    const file = unnamed(h)
    h.store(file, 0, 6)
    store.freeze(h.index)
    await store.flush()
    const between = createPageStore({ backend: storage.open() })
    const machine = createStateMachine(between, between.restored)
    expect(machine.digest()).toBe(h.machine.digest())
    expect([machine.list('', '', 9), machine.file(file)?.path]).toEqual([[], ''])
    machine.apply(h.index + 1, 'normal', encodeCommand({ type: 'expireSession', session: h.one, at: 1 }))
    expect([machine.file(file), machine.version(file, 0)]).toEqual([undefined, 0])
  })
})
