/** Rename and unlink in the state machine: docs/coherence.md, 'Names'. */
import { describe, expect, it } from 'vitest'
import { createPageStore } from '../src/pages/index.js'
import { createStateMachine, MAX_RELEASED } from '../src/state/index.js'
import { filled, memoryStorage, PAGE } from './state-helpers.js'
import { Files, errorName } from './support/state-requests.js'

describe('rename', () => {
  it('a rename changes the path of a file, and leaves open files usable', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    expect(h.ask({ type: 'rename', from: '/a', to: '/b/c' })).toMatchObject({ type: 'renamed', file })
    expect(h.machine.fileByPath('/a')).toBeUndefined()
    expect(h.machine.fileByPath('/b/c')).toMatchObject({ id: file, version: file })
    expect(h.machine.list('', '', 9).map(({ path }) => path)).toEqual(['/b/c'])
    expect(h.own(file, 0, h.one)).toBe(1)
  })

  it('a rename replaces the file at the new path, which lives on in the sessions that map it (POSIX)', () => {
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

  it('a rename to the same path changes nothing', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    expect(h.ask({ type: 'rename', from: '/a', to: '/a' })).toMatchObject({ type: 'renamed', file })
    expect(h.machine.fileByPath('/a')).toMatchObject({ id: file, linked: true })
  })

  it('a rename refuses an old path without a file, and invalid paths', () => {
    const h = new Files()
    h.file(h.one, '/a')
    expect(errorName(h.ask({ type: 'rename', from: '/x', to: '/y' }))).toBe('NoSuchFileError')
    expect(errorName(h.ask({ type: 'rename', from: '/x', to: '/x' }))).toBe('NoSuchFileError')
    expect(errorName(h.ask({ type: 'rename', from: '/a', to: '/a/../b' }))).toBe('InvalidArgumentError')
    expect(errorName(h.ask({ type: 'rename', from: 'a', to: '/b' }))).toBe('InvalidArgumentError')
  })

  it('a repeated rename is applied once, even if another file has the old path by then', () => {
    const h = new Files()
    const file = h.file(h.one, '/a')
    h.ask({ type: 'rename', from: '/a', to: '/b' }, h.one, 500)
    const other = h.file(h.one, '/a')
    h.ask({ type: 'rename', from: '/a', to: '/b' }, h.one, 500)
    expect([h.machine.fileByPath('/a')?.id, h.machine.fileByPath('/b')?.id]).toEqual([other, file])
  })
})

describe('unlink', () => {
  it('an unlink removes a file that no session maps, with its pages and the records of their owners', () => {
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

  it('an unlink leaves a mapped file without a path until the last session closes it', () => {
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

  it('an unlink frees the path at once, even while a session has the file open', () => {
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

  it('an unlink leaves neither records nor pages of the file in a checkpoint', async () => {
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

  it('the state machine does not count the pages of a removed file as released ones', () => {
    const h = new Files()
    for (let i = 0; i < 3; i++) {
      const file = h.file(h.one, `/${i}`, { size: MAX_RELEASED * PAGE })
      // Neighbors would share one record.
      for (let page = 0; page < MAX_RELEASED; page += 2) h.own(file, page, h.one)
      h.ask({ type: 'close', file })
      h.ask({ type: 'unlink', path: `/${i}` })
    }
    // A floor above 0 would show that the state machine forgot released pages.
    expect(h.machine.owner(h.file(h.one, '/x'), 0).epoch).toBe(0)
  })
})
