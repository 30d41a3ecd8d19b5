import { describe, expect, it } from 'vitest'
import { encode, MAX_FILE_BYTES, VersionMismatchError, type PageWrite } from '@quire/protocol'
import {
  clusterConfig,
  createStateMachine,
  DamagedPageError,
  encodeCommand,
  MAX_RELEASED,
  MAX_UNSETTLED_REQUESTS,
  NOTHING_CHANGED
} from '../src/state/index.js'
import { COMMAND_VERSION } from '../src/state/commands.js'
import { filled, Harness, memoryStore, PAGE } from './state-helpers.js'

const failure = (applied: { type: string }) => {
  expect(applied.type).toBe('failed')
  return (applied as unknown as { error: Error }).error.name
}

describe('StateMachine.apply', () => {
  it('the state machine takes the configuration from a config entry, and keeps it through config entries without context', () => {
    const machine = createStateMachine(memoryStore())
    const config = {
      clusterId: 'c',
      members: [{ peerId: 'p', incarnation: '', addresses: ['/ip4/1'] }],
      admins: ['p'],
      clients: undefined,
      roundTripMs: 32,
      ...NOTHING_CHANGED
    }
    expect(machine.apply(1, 'config', encode(clusterConfig, config))).toEqual({ type: 'config' })
    machine.apply(2, 'config', new Uint8Array(0))
    expect(machine.config).toEqual(config)
  })

  it('the state machine counts a no-op as applied, and returns undefined for it', () => {
    const machine = createStateMachine(memoryStore())
    expect(machine.apply(1, 'noop', new Uint8Array(0))).toBeUndefined()
    expect(machine.appliedIndex).toBe(1)
  })

  it('the state machine refuses an entry out of order', () => {
    expect(() => createStateMachine(memoryStore()).apply(2, 'noop', new Uint8Array(0))).toThrow(
      'entry 2 applied after 0'
    )
  })

  it('the state machine throws at a command of a later format, names both formats, and changes nothing', () => {
    const machine = createStateMachine(memoryStore())
    const data = encodeCommand({ type: 'openSession', clientId: 'c', ttlMs: 1, at: 1 })
    data[0] = COMMAND_VERSION + 1
    const refusal = new VersionMismatchError('log command', COMMAND_VERSION + 1, COMMAND_VERSION)
    expect(() => machine.apply(1, 'normal', data)).toThrow(refusal)
    expect(machine.appliedIndex).toBe(0)
  })
})

describe('sessions', () => {
  it('a session is named by the index of its entry', () => {
    const h = new Harness()
    expect([h.session('a'), h.session('b')]).toEqual([1, 2])
    expect(h.machine.session(2)).toMatchObject({ clientId: 'b', ttlMs: 10_000 })
  })

  it('the end of a session releases its pages under a higher epoch, and forgets its mappings', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    expect(h.own(file, 3, session)).toBe(1)
    expect(h.machine.ownedPages()).toBe(1)
    expect(h.end(session)).toMatchObject({ existed: true, expired: false })
    expect(h.machine.owner(file, 3)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.machine.ownedPages()).toBe(0)
    expect(h.machine.session(session)).toBeUndefined()
    expect(h.machine.file(file)?.sessions.size).toBe(0)
  })

  it('the end of a session that has already ended reports existed: false', () => {
    const h = new Harness()
    expect(h.apply({ type: 'expireSession', session: 9, at: 1 })).toMatchObject({ existed: false, expired: true })
  })

  it('a request of an ended session fails with SessionExpiredError', () => {
    const h = new Harness()
    const session = h.session()
    h.end(session)
    expect(failure(h.open(session, '/a'))).toBe('SessionExpiredError')
  })
})

describe('requests', () => {
  it('a repeated request is applied once, and its answer is repeated', () => {
    const h = new Harness()
    const session = h.session()
    const first = h.open(session, '/a', { seq: 4, exclusive: true })
    const digest = h.machine.digest().length
    h.file(session, '/b', { seq: 5 })
    expect(h.open(session, '/a', { seq: 4, exclusive: true })).toEqual(first)
    expect(h.machine.list('', '', 10).length).toBe(2)
    expect(digest).toBe(16)
  })

  it('a refusal is repeated, even if the request would succeed by now', () => {
    const h = new Harness()
    const session = h.session()
    expect(failure(h.open(session, '/a', { seq: 1, create: false }))).toBe('NoSuchFileError')
    h.file(session, '/a', { seq: 2 })
    expect(failure(h.open(session, '/a', { seq: 1, create: false }))).toBe('NoSuchFileError')
  })

  it('the state machine forgets the answers below `settled`, and refuses a late copy of such a request', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/a', { seq: 1 })
    h.apply({ type: 'close', session, seq: 2, settled: 2, at: 1, file })
    expect(failure(h.open(session, '/a', { seq: 1 }))).toBe('InvalidArgumentError')
    expect(h.machine.session(session)?.files.size).toBe(0)
  })

  it('the state machine limits the answers of a client that settles nothing to MAX_UNSETTLED_REQUESTS', () => {
    const h = new Harness()
    const session = h.session()
    expect(failure(h.open(session, '/a', { seq: MAX_UNSETTLED_REQUESTS }))).toBe('InvalidArgumentError')
    expect(h.open(session, '/a', { seq: MAX_UNSETTLED_REQUESTS - 1 }).type).toBe('opened')
  })
})

describe('open', () => {
  it('an open creates a file with the index of its entry as id and version, and with the time of its proposer', () => {
    const h = new Harness()
    const session = h.session()
    expect(h.open(session, '/a', { size: 5, at: 77 })).toMatchObject({
      stat: { id: 2, path: '/a', size: 5, pageSize: 4096, unit: 'page', version: 2, createdAt: 77, modifiedAt: 77 }
    })
    expect(h.machine.file(2)?.sessions).toEqual(new Set([session]))
    expect(h.machine.session(session)?.files).toEqual(new Set([2]))
  })

  it('an open of an existing file changes nothing, even twice in one session', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/a', { size: 5 })
    expect(h.file(session, '/a', { size: 99 })).toBe(file)
    expect(h.machine.file(file)).toMatchObject({ size: 5, version: file })
  })

  it('an open refuses a missing file without `create`, and an existing file with `exclusive`', () => {
    const h = new Harness()
    const session = h.session()
    expect(failure(h.open(session, '/a', { create: false }))).toBe('NoSuchFileError')
    h.file(session, '/a')
    expect(failure(h.open(session, '/a', { exclusive: true }))).toBe('FileExistsError')
  })

  it.each([1, 2048, 4097, 6000, 131_072])('an open refuses a page size of %i', (pageSize) => {
    const h = new Harness()
    expect(failure(h.open(h.session(), '/a', { pageSize }))).toBe('InvalidArgumentError')
  })

  it("an open refuses a page size other than the file's, and accepts 0 for the file's", () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/a', { pageSize: 16_384 })
    expect(failure(h.open(session, '/a', { pageSize: 4096 }))).toBe('InvalidArgumentError')
    expect(h.file(session, '/a')).toBe(file)
  })

  it('an open refuses to create a file above MAX_FILE_BYTES', () => {
    const h = new Harness()
    expect(failure(h.open(h.session(), '/a', { size: MAX_FILE_BYTES + 1 }))).toBe('InvalidArgumentError')
  })

  it.each(['', 'a', '/', '/a/', '//a', '/a//b', '/.', '/a/../b', '/a\0', '/e\u0301', '/' + 'x'.repeat(1024)])(
    'an open refuses the path %j',
    (path) => {
      const h = new Harness()
      // The codec of commands has the same limit, so no log has a longer path.
      const open = () => h.open(h.session(), path)
      if (path.length > 1024) expect(open).toThrow('1025 bytes')
      else expect(failure(open())).toBe('InvalidArgumentError')
    }
  )

  it.each(['/a', '/a.b/..c', '/\u00e9', '/' + 'é'.repeat(511), '/a b\n'])('an open accepts the path %j', (path) => {
    const h = new Harness()
    expect(h.open(h.session(), path).type).toBe('opened')
  })
})

describe('list', () => {
  it('a list returns files by prefix, in order of code units, after a path, up to a limit', () => {
    const h = new Harness()
    const session = h.session()
    for (const path of ['/b/2', '/a', '/b/1', '/c', '/b', '/b/3', '/B']) h.file(session, path)
    const paths = (prefix: string, after: string, limit: number) =>
      h.machine.list(prefix, after, limit).map(({ path }) => path)
    expect(paths('', '', 99)).toEqual(['/B', '/a', '/b', '/b/1', '/b/2', '/b/3', '/c'])
    expect(paths('/b/', '', 2)).toEqual(['/b/1', '/b/2'])
    expect(paths('/b/', '/b/2', 2)).toEqual(['/b/3'])
    expect(paths('/b/', '/b/25', 2)).toEqual(['/b/3'])
    expect(paths('/b/', '/z', 2)).toEqual([])
    expect(paths('/x', '', 2)).toEqual([])
    expect(paths('', '', 0)).toEqual([])
  })
})

describe('close', () => {
  it('a close ends the mapping, and releases only the pages of that file that the session owns', () => {
    const h = new Harness()
    const [one, two] = [h.session(), h.session()]
    const [a, b] = [h.file(one, '/a'), h.file(one, '/b')]
    h.file(two, '/a')
    h.own(a, 0, one)
    h.own(a, 1, two)
    h.own(b, 0, one)
    expect(h.request({ type: 'close', session: one, file: a })).toMatchObject({ type: 'closed', file: a })
    expect(h.machine.owner(a, 0)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.machine.owner(a, 1).session).toBe(two)
    expect(h.machine.owner(b, 0).session).toBe(one)
    expect(h.machine.file(a)?.sessions).toEqual(new Set([two]))
  })
})

describe('extend', () => {
  it('an extend grows a file but never shrinks it, and raises its version only if it grows', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/a', { size: 10 })
    expect(h.request({ type: 'extend', session, file, size: 20 })).toMatchObject({ size: 20 })
    expect(h.machine.file(file)).toMatchObject({ size: 20, version: h.index, modifiedAt: 7 })
    const version = h.index
    expect(h.request({ type: 'extend', session, file, size: 5 })).toMatchObject({ size: 20 })
    expect(h.machine.file(file)?.version).toBe(version)
  })

  it('an extend refuses a file that the session does not map, and a size above MAX_FILE_BYTES', () => {
    const h = new Harness()
    const [one, two] = [h.session(), h.session()]
    const file = h.file(one)
    expect(failure(h.request({ type: 'extend', session: two, file, size: 1 }))).toBe('InvalidArgumentError')
    expect(failure(h.request({ type: 'extend', session: one, file, size: MAX_FILE_BYTES + 1 }))).toBe(
      'InvalidArgumentError'
    )
  })

  it('an extend shows zeros, not bytes that a writeback had beyond the old end', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/a', { size: PAGE + 10 })
    h.writeback(session, file, 1, h.own(file, 1, session), 1, filled(7))
    h.request({ type: 'extend', session, file, size: 2 * PAGE })
    const { bytes } = h.machine.page(file, 1)
    expect(bytes?.subarray(0, 10)).toEqual(filled(7, 10))
    expect(bytes?.subarray(10)).toEqual(filled(0, PAGE - 10))
  })
})

describe('handover (architecture, rules 8 and 11)', () => {
  it('rules 8 and 11: a handover gives a page without an owner to a session that maps the file', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    expect(h.handover(file, 2, 0, 0, session)).toEqual({ done: true })
    expect(h.machine.owner(file, 2)).toEqual({ session, epoch: 1, seq: 0 })
  })

  it('rules 8 and 11: a handover stores the bytes and transfers the ownership in one entry', () => {
    const h = new Harness()
    const [one, two] = [h.session(), h.session()]
    const file = h.file(one)
    h.file(two)
    h.own(file, 0, one)
    expect(h.handover(file, 0, one, 1, two, filled(9), 1)).toEqual({ done: true })
    expect(h.machine.owner(file, 0)).toEqual({ session: two, epoch: 2, seq: 0 })
    expect(h.machine.page(file, 0)).toEqual({ version: h.index, bytes: filled(9) })
    expect(h.machine.file(file)).toMatchObject({ version: h.index, modifiedAt: 8 })
  })

  it('rules 8 and 11: a handover does not store bytes that are older than a writeback', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    h.own(file, 0, session)
    h.writeback(session, file, 0, 1, 5, filled(5))
    const version = h.index
    expect(h.handover(file, 0, session, 1, 0, filled(4), 4)).toMatchObject({ done: true })
    expect(h.machine.version(file, 0)).toBe(version)
    expect(h.machine.page(file, 0).bytes).toEqual(filled(5))
  })

  it.each([
    ['a session that is not the owner', (h: Harness, f: number, s: number) => h.handover(f, 0, 99, 1, s)],
    ['an epoch that is not the current one', (h: Harness, f: number, s: number) => h.handover(f, 0, s, 2, s)],
    ['nobody as the owner of an owned page', (h: Harness, f: number, s: number) => h.handover(f, 0, 0, 1, s)],
    ['a page beyond the end', (h: Harness, f: number, s: number) => h.handover(f, 10, 0, 0, s)],
    ['a file that does not exist', (h: Harness, _f: number, s: number) => h.handover(99, 0, 0, 0, s)],
    ['a receiving session that has ended', (h: Harness, f: number, s: number) => h.handover(f, 0, s, 1, 99)],
    [
      'a receiving session that does not map the file',
      (h: Harness, f: number, s: number) => h.handover(f, 0, s, 1, h.session())
    ],
    ['bytes of a page without an owner', (h: Harness, f: number, s: number) => h.handover(f, 1, 0, 0, s, filled(1))],
    [
      'bytes that are not as long as a page',
      (h: Harness, f: number, s: number) => h.handover(f, 0, s, 1, 0, filled(1, 100))
    ]
  ])('rules 8 and 11: a handover changes nothing with %s', (_what, handover) => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    h.own(file, 0, session)
    expect(handover(h, file, session)).toMatchObject({ done: false })
    expect(h.machine.owner(file, 0)).toEqual({ session, epoch: 1, seq: 0 })
    expect(h.machine.owner(file, 1)).toEqual({ session: 0, epoch: 0, seq: 0 })
    expect(h.machine.version(file, 0)).toBe(0)
    expect(h.machine.version(file, 1)).toBe(0)
  })

  it('rules 8 and 11: a handover from nobody is not applied twice, even after a release of the page', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    h.handover(file, 0, 0, 0, session)
    h.handover(file, 0, session, 1, 0)
    expect(h.handover(file, 0, 0, 0, session)).toEqual({ done: false })
    expect(h.machine.owner(file, 0)).toEqual({ session: 0, epoch: 2, seq: 0 })
  })
})

describe('writeback (architecture, rule 11)', () => {
  it('rule 11: a writeback stores the bytes of the owner, which keeps the page', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 1, session)
    expect(h.writeback(session, file, 1, epoch, 1, filled(3))).toEqual({
      file,
      page: 1,
      epoch,
      seq: 1,
      result: 'stored'
    })
    expect(h.machine.owner(file, 1)).toEqual({ session, epoch, seq: 1 })
    expect(h.machine.page(file, 1)).toEqual({ version: h.index, bytes: filled(3) })
  })

  it('rule 11: a repeated writeback is acknowledged without a change', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 1, session)
    h.writeback(session, file, 1, epoch, 2, filled(3))
    const version = h.index
    expect(h.writeback(session, file, 1, epoch, 2, filled(4))).toMatchObject({ result: 'stored' })
    expect(h.writeback(session, file, 1, epoch, 1, filled(4))).toMatchObject({ result: 'stored' })
    expect(h.machine.page(file, 1)).toEqual({ version, bytes: filled(3) })
  })

  it.each([
    ['a session that is not the owner', (h: Harness, f: number) => h.writeback(h.session(), f, 0, 1, 1, filled(1))],
    ['an earlier epoch', (h: Harness, f: number, s: number) => h.writeback(s, f, 0, 0, 1, filled(1))],
    ['a later epoch', (h: Harness, f: number, s: number) => h.writeback(s, f, 0, 2, 1, filled(1))],
    ['session 0', (h: Harness, f: number) => h.writeback(0, f, 1, 0, 1, filled(1))],
    ['a file that does not exist', (h: Harness, _f: number, s: number) => h.writeback(s, 99, 0, 1, 1, filled(1))],
    [
      'bytes that are not as long as a page',
      (h: Harness, f: number, s: number) => h.writeback(s, f, 0, 1, 1, filled(1, 10))
    ]
  ])('rule 11: a writeback is stale and changes nothing for %s', (_what, writeback) => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    h.own(file, 0, session)
    expect(writeback(h, file, session)).toMatchObject({ result: 'stale' })
    expect(h.machine.version(file, 0)).toBe(0)
  })

  it('rule 11: a writeback is stale after the end of the session', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 0, session)
    h.end(session)
    expect(h.writeback(session, file, 0, epoch, 1, filled(1))).toMatchObject({ result: 'stale' })
  })

  it('rule 11: a writeback decides about each page separately', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 0, session)
    const pages = [0, 1].map((page) => ({ file, page, epoch, seq: 1, bytes: filled(1) }))
    const { outcomes } = h.apply<'writeback'>({ type: 'writeback', session, pages, at: 1 })
    expect(outcomes.map(({ result }) => result)).toEqual(['stored', 'stale'])
  })

  it('rule 11: a writeback copies the bytes, so that the caller may reuse the entry', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 0, session)
    const pages = [{ file, page: 0, epoch, seq: 1, bytes: filled(1) }]
    // Noise decrypts large messages into Buffers, whose `slice` does not copy.
    const data = Buffer.from(encodeCommand({ type: 'writeback', session, pages, at: 1 }))
    h.machine.apply(h.index + 1, 'normal', data)
    data.fill(255)
    expect(h.machine.page(file, 0).bytes).toEqual(filled(1))
  })
})

describe('a diff', () => {
  const change = (value: number, offset: number) => ({
    ranges: [
      { offset, length: 2 },
      { offset: 4000, length: 1 }
    ],
    bytes: Uint8Array.of(value, value, value)
  })
  const patched = (before: Uint8Array, value: number, offset: number): Uint8Array => {
    const bytes = before.slice()
    bytes.fill(value, offset, offset + 2)
    bytes[4000] = value
    return bytes
  }
  const owned = () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 1, session)
    const write = (seq: number, diff: Partial<PageWrite>) => {
      const pages = [{ file, page: 1, epoch, seq, bytes: filled(0), ...diff }]
      return h.apply<'writeback'>({ type: 'writeback', session, at: 1, pages }).outcomes[0]!.result
    }
    return { h, session, file, write, bytes: () => h.machine.page(file, 1).bytes }
  }

  it('a diff changes its ranges of the bytes of the writeback before, and of zeros where there are none', () => {
    const { write, bytes } = owned()
    expect(write(1, change(5, 9))).toBe('stored')
    expect(bytes()).toEqual(patched(filled(0), 5, 9))
    expect(write(2, { bytes: filled(3) })).toBe('stored')
    expect(write(3, change(7, 100))).toBe('stored')
    expect(write(4, { ranges: [], bytes: new Uint8Array(0) })).toBe('stored')
    expect(bytes()).toEqual(patched(filled(3), 7, 100))
  })

  it('a diff in a handover changes its ranges, and the page has its new owner', () => {
    const { h, session, file, write, bytes } = owned()
    const give = (seq: number, value: number) => {
      const { epoch } = h.machine.owner(file, 1)
      const pages = [{ seq, ...change(value, 9) }]
      const command = { type: 'handover', file, page: 1, from: session, fromEpoch: epoch, to: session, pages } as const
      return h.apply<'handover'>({ ...command, at: 2 }).outcomes[0]!.done
    }
    write(1, { bytes: filled(3) })
    expect(give(2, 5)).toBe(true)
    expect(bytes()).toEqual(patched(filled(3), 5, 9))
    // The next owner's writebacks count from the beginning.
    const before = h.machine.owner(file, 1)
    expect(before).toMatchObject({ session, seq: 0 })
    expect(give(2, 6)).toBe(false)
    expect(h.machine.owner(file, 1)).toEqual(before)
    expect(bytes()).toEqual(patched(filled(3), 5, 9))
    expect(give(1, 7)).toBe(true)
    expect(bytes()).toEqual(patched(filled(3), 7, 9))
  })

  it('a diff in a handover whose bytes a writeback has brought already needs no base', () => {
    const { h, session, file, write, bytes } = owned()
    for (const seq of [1, 2, 3]) write(seq, { bytes: filled(seq) })
    const { epoch } = h.machine.owner(file, 1)
    const pages = [{ seq: 2, ...change(9, 9) }]
    const command = { type: 'handover', file, page: 1, from: session, fromEpoch: epoch, to: 0, pages } as const
    expect(h.apply<'handover'>({ ...command, at: 2 }).outcomes[0]).toMatchObject({ done: true })
    expect(bytes()).toEqual(filled(3))
  })

  it('a diff whose base is not there changes nothing, and says so', () => {
    const { h, write, bytes } = owned()
    write(1, { bytes: filled(3) })
    const version = h.index
    expect(write(3, change(7, 100))).toBe('base')
    expect(h.machine.page(2, 1)).toEqual({ version, bytes: filled(3) })
    expect(write(3, { bytes: filled(4) })).toBe('stored')
    expect(write(4, change(8, 0))).toBe('stored')
    expect(bytes()).toEqual(patched(filled(4), 8, 0))
  })

  it('a diff of a page whose rows have gone is not applied to zeros', () => {
    const store = memoryStore()
    const h = new Harness(store)
    const session = h.session()
    const file = h.file(session)
    const epoch = h.own(file, 1, session)
    h.writeback(session, file, 1, epoch, 1, filled(3))
    store.remove(file, 1, 2)
    const pages = [{ file, page: 1, epoch, seq: 2, ...change(1, 0) }]
    const { outcomes } = h.apply<'writeback'>({ type: 'writeback', session, at: 1, pages })
    expect(outcomes[0]).toMatchObject({ result: 'stored', isLost: true })
    expect(() => h.machine.page(file, 1)).toThrow(DamagedPageError)
    expect(h.machine.owner(file, 1)).toMatchObject({ seq: 2 })
  })

  it('a diff that comes again changes nothing', () => {
    const { h, write } = owned()
    write(1, change(1, 0))
    write(2, change(2, 8))
    const version = h.index
    expect([write(1, change(1, 0)), write(2, change(2, 8))]).toEqual(['stored', 'stored'])
    expect(h.machine.page(2, 1).version).toBe(version)
  })

  it('a diff leaves the bytes alone that an earlier version shares', () => {
    const { h, write, bytes } = owned()
    write(1, { bytes: filled(3) })
    const before = bytes()
    write(2, change(9, 0))
    expect(before).toEqual(filled(3))
    expect(h.machine.page(2, 1).bytes).not.toEqual(before)
  })

  it.each([
    ['beyond the page', { ranges: [{ offset: PAGE, length: 1 }], bytes: Uint8Array.of(1) }],
    ['with too few bytes', { ranges: [{ offset: 0, length: 2 }], bytes: Uint8Array.of(1) }]
  ])('a diff %s is stale and changes nothing', (_, diff) => {
    const { h, file, write } = owned()
    expect(write(1, diff)).toBe('stale')
    expect(h.machine.version(file, 1)).toBe(0)
  })

  it('a diff of a page in a file that is owned as a whole is stale, because its base is unknown', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/whole', { unit: 'file' })
    const epoch = h.own(file, 0, session)
    const pages = [{ file, page: 0, epoch, seq: 1, ...change(1, 0) }]
    expect(h.apply<'writeback'>({ type: 'writeback', session, at: 1, pages }).outcomes[0]!.result).toBe('stale')
  })

  it('a diff of a page that the file ends in leaves zeros behind the end', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/short', { size: PAGE + 10 })
    const epoch = h.own(file, 1, session)
    const pages = [{ file, page: 1, epoch, seq: 1, ranges: [{ offset: 8, length: 4 }], bytes: filled(5, 4) }]
    h.apply({ type: 'writeback', session, at: 1, pages })
    expect(h.machine.page(file, 1).bytes!.subarray(6, 14)).toEqual(Uint8Array.of(0, 0, 5, 5, 0, 0, 0, 0))
  })
})

describe('epochs', () => {
  it('epochs never fall and never repeat, even after the state machine forgets released pages', () => {
    const h = new Harness()
    const session = h.session()
    const file = h.file(session, '/a', { size: 2 * (MAX_RELEASED + 10) * PAGE })
    const used = h.own(file, 0, session)
    h.handover(file, 0, session, used, 0)
    // Neighbors would share one record.
    for (let page = 2; page <= 2 * MAX_RELEASED; page += 2) {
      const epoch = h.own(file, page, session)
      h.handover(file, page, session, epoch, 0)
    }
    // The state machine has forgotten all of them, and each page has the highest epoch among them.
    expect(h.machine.owner(file, 0)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.machine.owner(file, 2 * MAX_RELEASED + 5)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.handover(file, 2 * MAX_RELEASED + 5, 0, 0, session)).toEqual({ done: false })
    expect(h.machine.owner(file, 2 * MAX_RELEASED + 5)).toEqual({ session: 0, epoch: 2, seq: 0 })
    expect(h.own(file, 0, session)).toBe(3)
    expect(h.writeback(session, file, 0, used, 9, filled(1))).toMatchObject({ result: 'stale' })
  })
})
