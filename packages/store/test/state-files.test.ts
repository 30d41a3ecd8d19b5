/** Truncate, punch, rename, unlink, unnamed files and whole files: docs/coherence.md, from 'Files that shrink' on. */
import { describe, expect, it } from 'vitest'
import type { DirtyPageBytes } from '@quire/protocol'
import { createPageStore } from '../src/pages/index.js'
import { createStateMachine, encodeCommand, MAX_RELEASED, type RequestCommand } from '../src/state/index.js'
import { filled, Harness, memoryStorage, PAGE } from './state-helpers.js'

type Without<C> = C extends RequestCommand ? Omit<C, 'session' | 'seq' | 'settled' | 'at'> : never

/** Two sessions, and requests without their boilerplate. */
class Files extends Harness {
  readonly one = this.session('one')
  readonly two = this.session('two')
  private next = 1000

  ask(command: Without<RequestCommand>, session = this.one, seq = this.next++) {
    return this.apply({ ...command, session, seq, settled: 0, at: 70 })
  }

  truncate(file: number, size: number, tail?: DirtyPageBytes) {
    return this.ask({ type: 'truncate', file, size, tail })
  }

  /** Makes `session` the owner of the page and stores a page full of `value`. Returns the epoch. */
  store(file: number, page: number, value: number, session = this.one): number {
    const epoch = this.own(file, page, session)
    this.writeback(session, file, page, epoch, 1, filled(value))
    return epoch
  }

  bytes(file: number, page: number): Uint8Array {
    return this.machine.page(file, page).bytes ?? filled(0)
  }
}

const tailOf = (file: number, page: number, epoch: number, value: number, seq = 1): DirtyPageBytes => ({
  file,
  page,
  epoch,
  seq,
  bytes: filled(value)
})

const errorName = (applied: unknown) => (applied as { error?: Error }).error?.name

describe('truncate', () => {
  it('removes the pages beyond the new end, releases them under a new epoch, and counts the discard', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 6 * PAGE })
    h.file(h.two, '/a')
    h.store(file, 1, 1)
    h.store(file, 3, 3)
    h.store(file, 5, 5, h.two)
    expect(h.truncate(file, 3 * PAGE)).toMatchObject({ type: 'truncated', file, size: 3 * PAGE })
    expect(h.machine.file(file)).toMatchObject({ size: 3 * PAGE, version: h.index, discards: 1, modifiedAt: 70 })
    expect(h.machine.owner(file, 1).session).toBe(h.one)
    for (const page of [3, 5]) {
      expect(h.machine.owner(file, page)).toEqual({ session: 0, epoch: 2, seq: 0 })
      expect(h.machine.page(file, page)).toEqual({ version: 0, bytes: undefined })
    }
    expect(h.bytes(file, 1)).toEqual(filled(1))
    expect(h.machine.ownedPages()).toBe(1)
  })

  it('zeroes the stored bytes beyond the new end in the page that it cuts, as a new version of the page', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 1, 7)
    h.truncate(file, PAGE + 100)
    expect(h.machine.version(file, 1)).toBe(h.index)
    expect(h.bytes(file, 1).subarray(0, 100)).toEqual(filled(7, 100))
    expect(h.bytes(file, 1).subarray(100)).toEqual(filled(0, PAGE - 100))
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: epoch + 1, seq: 0 })
  })

  it("stores the owner's unflushed bytes of the cut page up to the new end, in the same entry", () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 1, 7)
    h.truncate(file, PAGE + 100, tailOf(file, 1, epoch, 8, 2))
    expect(h.bytes(file, 1).subarray(0, 100)).toEqual(filled(8, 100))
    expect(h.bytes(file, 1).subarray(100)).toEqual(filled(0, PAGE - 100))
  })

  it.each([
    [
      'an epoch that is not the current one',
      (h: Files, file: number, epoch: number) => tailOf(file, 1, epoch + 1, 8, 2)
    ],
    ['a writeback that is already stored', (h: Files, file: number, epoch: number) => tailOf(file, 1, epoch, 8, 1)],
    ['the number of another page', (h: Files, file: number, epoch: number) => tailOf(file, 0, epoch, 8, 2)],
    ['the id of another file', (h: Files, file: number, epoch: number) => tailOf(file + 1, 1, epoch, 8, 2)],
    [
      'a length other than the page size',
      (h: Files, file: number, epoch: number) => ({ ...tailOf(file, 1, epoch, 8, 2), bytes: filled(8, 9) })
    ]
  ])('ignores the bytes for the cut page if they have %s', (_what, tail) => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 1, 7)
    h.truncate(file, PAGE + 100, tail(h, file, epoch))
    expect(h.bytes(file, 1).subarray(0, 100)).toEqual(filled(7, 100))
  })

  it('ignores the bytes of an owner that has expired (page owned by an expired session)', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    h.file(h.two, '/a')
    const epoch = h.own(file, 1, h.two)
    h.apply({ type: 'expireSession', session: h.two, at: 1 })
    h.truncate(file, PAGE + 100, tailOf(file, 1, epoch, 8))
    expect(h.bytes(file, 1)).toEqual(filled(0))
  })

  it('reads zeros after the file grows again (truncate then re-extend)', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    for (const page of [0, 1, 2, 3]) h.store(file, page, 9)
    h.truncate(file, PAGE + 10)
    h.ask({ type: 'extend', file, size: 4 * PAGE })
    expect(h.bytes(file, 1).subarray(0, 10)).toEqual(filled(9, 10))
    expect(h.bytes(file, 1).subarray(10)).toEqual(filled(0, PAGE - 10))
    for (const page of [2, 3]) expect(h.machine.page(file, page)).toEqual({ version: 0, bytes: undefined })
  })

  it('only sets the size of a file that grows, and shows no bytes from beyond the old end', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: PAGE + 10 })
    const epoch = h.own(file, 1, h.one)
    h.truncate(file, PAGE + 20, tailOf(file, 1, epoch, 8))
    expect(h.machine.file(file)).toMatchObject({ size: PAGE + 20, version: h.index, discards: 0 })
    expect(h.bytes(file, 1).subarray(0, 10)).toEqual(filled(8, 10))
    expect(h.bytes(file, 1).subarray(10)).toEqual(filled(0, PAGE - 10))
  })

  it('to the same size changes nothing, and succeeds', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 2 * PAGE })
    expect(h.truncate(file, 2 * PAGE)).toMatchObject({ type: 'truncated', size: 2 * PAGE })
    expect(h.machine.file(file)).toMatchObject({ version: file, discards: 0 })
  })

  it('applies a repeated truncate once, even after the file has grown again', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const first = h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.one, 500)
    h.ask({ type: 'extend', file, size: 4 * PAGE })
    h.store(file, 2, 3)
    expect(h.machine.isAnswered(h.one, 500)).toBe(true)
    expect(h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.one, 500)).toEqual(first)
    expect(h.machine.file(file)).toMatchObject({ size: 4 * PAGE, discards: 1 })
    expect(h.bytes(file, 2)).toEqual(filled(3))
  })

  it('refuses a file that the session does not map, and a size beyond the largest', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    expect(errorName(h.ask({ type: 'truncate', file, size: 0, tail: undefined }, h.two))).toBe('InvalidArgumentError')
    expect(errorName(h.truncate(file, 2 ** 53 - 1))).toBe('InvalidArgumentError')
    expect(h.machine.file(file)?.size).toBe(10 * PAGE)
  })

  it('makes later writebacks of discarded pages stale, even if the file has such pages again', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 4 * PAGE })
    const epoch = h.store(file, 2, 1)
    h.truncate(file, PAGE)
    h.ask({ type: 'extend', file, size: 4 * PAGE })
    expect(h.writeback(h.one, file, 2, epoch, 2, filled(9))).toMatchObject({ stale: true })
    const again = h.own(file, 2, h.one)
    expect(again).toBeGreaterThan(epoch)
    expect(h.writeback(h.one, file, 2, epoch, 3, filled(9))).toMatchObject({ stale: true })
    expect(h.bytes(file, 2)).toEqual(filled(0))
  })
})

describe('punch', () => {
  it('makes holes of whole pages, at most up to the end of the file, and keeps the size', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: 3 * PAGE + 1 })
    for (const page of [0, 1, 2, 3]) h.store(file, page, 5)
    const size = 3 * PAGE + 1
    expect(h.ask({ type: 'punch', file, first: 1, end: 2 })).toMatchObject({ type: 'punched', first: 1, end: 2 })
    expect(h.machine.file(file)).toMatchObject({ size, discards: 1, version: h.index })
    expect(h.machine.page(file, 1)).toEqual({ version: 0, bytes: undefined })
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.ask({ type: 'punch', file, first: 2, end: 2 ** 40 })).toMatchObject({ first: 2, end: 4 })
    expect(h.machine.ownedPages()).toBe(1)
    expect(h.machine.file(file)).toMatchObject({ size, discards: 2 })
  })

  it('of an empty range changes nothing, and succeeds', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { size: PAGE })
    for (const [first, end] of [
      [0, 0],
      [5, 2],
      [1, 9]
    ] as const) {
      expect(h.ask({ type: 'punch', file, first, end }).type).toBe('punched')
    }
    expect(h.machine.file(file)).toMatchObject({ version: file, discards: 0 })
  })
})

describe('rename', () => {
  it('changes the path of a file, and leaves open files usable', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    expect(h.ask({ type: 'rename', from: '/a', to: '/b/c' })).toMatchObject({ type: 'renamed', file })
    expect(h.machine.fileByPath('/a')).toBeUndefined()
    expect(h.machine.fileByPath('/b/c')).toMatchObject({ id: file, version: file })
    expect(h.machine.list('', '', 9).map(({ path }) => path)).toEqual(['/b/c'])
    expect(h.own(file, 0, h.one)).toBe(1)
  })

  it('replaces the file at the new path, which lives on in the sessions that map it (POSIX)', () => {
    const h = new Files()
    const [a, b] = [h.file(h.one, '/a'), h.file(h.two, '/b')]
    h.store(b, 0, 4, h.two)
    h.ask({ type: 'rename', from: '/a', to: '/b' })
    expect(h.machine.fileByPath('/b')?.id).toBe(a)
    expect(h.machine.file(b)).toMatchObject({ linked: false, path: '/b' })
    expect(h.bytes(b, 0)).toEqual(filled(4))
    h.ask({ type: 'close', file: b }, h.two)
    expect(h.machine.file(b)).toBeUndefined()
    expect(h.machine.fileByPath('/b')?.id).toBe(a)
  })

  it('to the same path changes nothing', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    expect(h.ask({ type: 'rename', from: '/a', to: '/a' })).toMatchObject({ type: 'renamed', file })
    expect(h.machine.fileByPath('/a')).toMatchObject({ id: file, linked: true })
  })

  it('refuses an old path without a file, and invalid paths', () => {
    const h = new Files()
    h.file(h.one, '/a')
    expect(errorName(h.ask({ type: 'rename', from: '/x', to: '/y' }))).toBe('NoSuchFileError')
    expect(errorName(h.ask({ type: 'rename', from: '/x', to: '/x' }))).toBe('NoSuchFileError')
    expect(errorName(h.ask({ type: 'rename', from: '/a', to: '/a/../b' }))).toBe('InvalidArgumentError')
    expect(errorName(h.ask({ type: 'rename', from: 'a', to: '/b' }))).toBe('InvalidArgumentError')
  })

  it('applies a repeated rename once, even if another file has the old path by then', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    h.ask({ type: 'rename', from: '/a', to: '/b' }, h.one, 500)
    const other = h.file(h.one, '/a')
    h.ask({ type: 'rename', from: '/a', to: '/b' }, h.one, 500)
    expect([h.machine.fileByPath('/a')?.id, h.machine.fileByPath('/b')?.id]).toEqual([other, file])
  })
})

describe('unlink', () => {
  it('removes a file that no session maps, with its pages and the records of their owners', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    h.store(file, 2, 1)
    h.ask({ type: 'close', file })
    expect(h.ask({ type: 'unlink', path: '/a' })).toMatchObject({ type: 'unlinked', file })
    expect(h.machine.file(file)).toBeUndefined()
    expect(h.machine.fileByPath('/a')).toBeUndefined()
    expect(h.machine.list('', '', 9)).toEqual([])
    expect(h.machine.version(file, 2)).toBe(0)
    expect(h.machine.owner(file, 2)).toEqual({ session: 0, epoch: 0, seq: 0 })
  })

  it('leaves a mapped file without a path until the last session closes it', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    h.file(h.two, '/a')
    h.store(file, 0, 6)
    h.ask({ type: 'unlink', path: '/a' })
    expect(errorName(h.ask({ type: 'unlink', path: '/a' }))).toBe('NoSuchFileError')
    expect(errorName(h.open(h.one, '/a', { create: false }))).toBe('NoSuchFileError')
    expect(h.machine.file(file)).toMatchObject({ path: '/a', linked: false })
    h.ask({ type: 'close', file })
    expect(h.bytes(file, 0)).toEqual(filled(6))
    h.ask({ type: 'close', file }, h.two)
    expect(h.machine.file(file)).toBeUndefined()
    expect(h.machine.version(file, 0)).toBe(0)
  })

  it.each(['endSession', 'expireSession'] as const)(
    '%s of the last session that maps an unlinked file removes the file',
    (type) => {
      const h = new Files()
      const file = h.file(h.one, '/a')
      h.store(file, 0, 6)
      h.ask({ type: 'unlink', path: '/a' })
      h.apply({ type, session: h.one, at: 1 })
      expect(h.machine.file(file)).toBeUndefined()
      expect(h.machine.version(file, 0)).toBe(0)
      expect(h.machine.ownedPages()).toBe(0)
    }
  )

  it('frees the path at once, even while a session has the file open', () => {
    const h = new Files()
    const first = h.file(h.one, '/a')
    h.store(first, 0, 1)
    h.ask({ type: 'unlink', path: '/a' })
    const second = h.file(h.two, '/a', { exclusive: true })
    expect(second).not.toBe(first)
    expect(h.bytes(second, 0)).toEqual(filled(0))
    h.ask({ type: 'close', file: first })
    expect(h.machine.fileByPath('/a')?.id).toBe(second)
  })

  it('leaves neither records nor pages of the file in a checkpoint', async () => {
    const storage = memoryStorage()
    const store = createPageStore({ backend: storage.open() })
    const h = new Files(store)
    const checkpoint = async () => {
      store.freeze(h.index)
      await store.flush()
    }
    const file = h.file(h.one, '/a')
    h.store(file, 0, 6)
    await checkpoint()
    h.ask({ type: 'unlink', path: '/a' })
    await checkpoint()
    // The file has no path, but a session still maps it.
    const between = createPageStore({ backend: storage.open() })
    expect(createStateMachine(between, between.restored).digest()).toBe(h.machine.digest())
    h.ask({ type: 'close', file })
    await checkpoint()
    const after = createPageStore({ backend: storage.open() })
    const kinds = new Set([...after.restored.records].map(({ kind }) => kind))
    expect(kinds).toEqual(new Set(['session', 'answer']))
    expect([...after.pages(file)]).toEqual([])
    const again = createPageStore({ backend: storage.open() })
    expect(createStateMachine(again, again.restored).digest()).toBe(h.machine.digest())
  })

  it('does not count the pages of a removed file as released pages', () => {
    const h = new Files()
    for (let i = 0; i < 3; i++) {
      const file = h.file(h.one, `/${i}`, { size: MAX_RELEASED * PAGE })
      for (let page = 0; page < MAX_RELEASED / 2; page++) h.own(file, page, h.one)
      h.ask({ type: 'close', file })
      h.ask({ type: 'unlink', path: `/${i}` })
    }
    // A floor above 0 would show that the state machine forgot released pages.
    expect(h.machine.owner(h.file(h.one, '/x'), 0).epoch).toBe(0)
  })
})

describe('an unnamed file', () => {
  const unnamed = (h: Files, session = h.one): number => {
    const opened = h.ask({ type: 'createUnnamed', size: 4 * PAGE, pageSize: 0, unit: undefined }, session)
    if (opened.type !== 'opened') throw new Error(opened.type)
    expect(opened.stat).toMatchObject({ id: h.index, path: '', size: 4 * PAGE, pageSize: PAGE, unit: 'page' })
    return opened.stat.id
  }

  it('is mapped by its session, and cannot be found by path, in a list or by another session', () => {
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

  it.each(['endSession', 'expireSession', 'close'] as const)('is removed with its bytes by %s', (type) => {
    const h = new Files()
    const file = unnamed(h)
    h.store(file, 3, 6)
    if (type === 'close') h.ask({ type, file })
    else h.apply({ type, session: h.one, at: 1 })
    expect(h.machine.file(file)).toBeUndefined()
    expect([h.machine.version(file, 3), h.machine.ownedPages()]).toEqual([0, 0])
  })

  it('gets its path in one entry, keeps its bytes and owners, and outlives its session', () => {
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

  it('replaces the file at its new path, which is removed unless a session has it open', () => {
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

  it('refuses a path from a session that does not map it or has ended', () => {
    const h = new Files()
    const file = unnamed(h)
    expect(errorName(h.ask({ type: 'link', file, path: '/a' }, h.two))).toBe('InvalidArgumentError')
    h.end(h.one)
    expect(errorName(h.ask({ type: 'link', file, path: '/a' }, h.one))).toBe('SessionExpiredError')
    expect(errorName(h.ask({ type: 'link', file, path: '/a' }, h.two))).toBe('InvalidArgumentError')
    expect(h.machine.list('', '', 9)).toEqual([])
  })

  it('refuses an invalid path, and stays unnamed', () => {
    const h = new Files()
    const file = unnamed(h)
    for (const path of ['', 'a', '/', '/a//b', '/a/../b']) {
      expect(errorName(h.ask({ type: 'link', file, path }))).toBe('InvalidArgumentError')
    }
    expect(h.machine.file(file)).toMatchObject({ path: '', linked: false })
  })

  it('accepts its path twice, and refuses any other path, even after an unlink', () => {
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

  it('applies a repeated link once, even if the path leads to another file by then', () => {
    const h = new Files()
    const file = unnamed(h)
    const first = h.ask({ type: 'link', file, path: '/a' }, h.one, 500)
    h.ask({ type: 'rename', from: '/a', to: '/b' })
    const other = h.file(h.two, '/a')
    expect(h.ask({ type: 'link', file, path: '/a' }, h.one, 500)).toEqual(first)
    expect([h.machine.fileByPath('/a')?.id, h.machine.fileByPath('/b')?.id]).toEqual([other, file])
  })

  it('refuses an invalid page size and an invalid size', () => {
    const h = new Files()
    const create = { type: 'createUnnamed', size: 0, pageSize: 0, unit: undefined } as const
    expect(errorName(h.ask({ ...create, pageSize: 5000 }))).toBe('InvalidArgumentError')
    expect(errorName(h.ask({ ...create, size: Number.MAX_SAFE_INTEGER }))).toBe('InvalidArgumentError')
    expect([...h.machine.session(h.one)!.files]).toEqual([])
  })

  it('stays unnamed in a checkpoint, and is removed with its session after a restart', async () => {
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

describe('a file that is owned as a whole', () => {
  it('has one owner record, under page 0', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    expect(h.machine.file(file)?.unit).toBe('file')
    const epoch = h.own(file, 0, h.one)
    expect(h.machine.owner(file, 7)).toEqual({ session: h.one, epoch, seq: 0 })
    expect(h.machine.ownedPages()).toBe(1)
  })

  it('accepts writebacks of all its pages from the owner, under one sequence of numbers', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    const epoch = h.own(file, 0, h.one)
    expect(h.writeback(h.one, file, 3, epoch, 1, filled(3))).toMatchObject({ stale: false, version: h.index })
    expect(h.writeback(h.one, file, 5, epoch, 2, filled(5))).toMatchObject({ stale: false, version: h.index })
    // The first writeback again (hazard: writeback accepted twice).
    expect(h.writeback(h.one, file, 3, epoch, 1, filled(9))).toMatchObject({ stale: false, version: h.index - 2 })
    expect([h.bytes(file, 3), h.bytes(file, 5)]).toEqual([filled(3), filled(5)])
    expect(h.writeback(h.two, file, 3, epoch, 9, filled(9))).toMatchObject({ stale: true })
    expect(h.writeback(h.one, file, 10, epoch, 9, filled(9))).toMatchObject({ stale: true })
  })

  it('loses its owner when it shrinks and when a hole is punched', () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    const epoch = h.own(file, 0, h.one)
    h.writeback(h.one, file, 5, epoch, 1, filled(3))
    h.truncate(file, 2 * PAGE)
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: epoch + 1, seq: 0 })
    expect(h.machine.version(file, 5)).toBe(0)
    const again = h.own(file, 0, h.one)
    h.ask({ type: 'punch', file, first: 1, end: 2 })
    expect(h.machine.owner(file, 0)).toEqual({ session: 0, epoch: again + 1, seq: 0 })
  })

  it("refuses open with a unit other than the file's, and accepts open without a unit", () => {
    const h = new Files()
    const file = h.file(h.one, '/a', { unit: 'file' })
    expect(errorName(h.open(h.one, '/a', { unit: 'page' }))).toBe('InvalidArgumentError')
    expect(h.file(h.one, '/a', { unit: undefined })).toBe(file)
    h.file(h.one, '/b')
    expect(errorName(h.open(h.one, '/b', { unit: 'file' }))).toBe('InvalidArgumentError')
  })
})

it('a truncate copies the bytes of its entry, so that the caller may reuse the buffer', () => {
  const h = new Files()
  const file = h.file(h.one, '/a', { size: 2 * PAGE })
  const epoch = h.own(file, 0, h.one)
  const request = { session: h.one, seq: 400, settled: 0, at: 1 }
  const data = encodeCommand({ type: 'truncate', ...request, file, size: 100, tail: tailOf(file, 0, epoch, 8) })
  h.machine.apply(h.index + 1, 'normal', data)
  data.fill(255)
  expect(h.bytes(file, 0).subarray(0, 100)).toEqual(filled(8, 100))
})
