import { MAX_FILE_BYTES } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { ClosedError, InvalidArgumentError, PastEndError, UnavailableError } from '../src/index.js'
import type { PageFault } from '../src/local-types.js'
import type { MmapOptions } from '../src/types.js'
import { bytes, gate, localSpace, PAGE, turns } from './support/local.js'

describe('hooks of an address space', () => {
  it('hooks fill a page at its first read, and make it writable at its first write', async () => {
    const { ops, space } = localSpace()
    ops.stored.set([7, 8], PAGE)
    const mapping = space.mmap()
    expect(await mapping.read(PAGE, 2)).toEqual(bytes(7, 8))
    await mapping.write(PAGE, bytes(9))
    await mapping.write(2 * PAGE, bytes(1))
    expect(await mapping.read(PAGE, 2)).toEqual(bytes(9, 8))
    expect(ops.takeCalls()).toEqual(['noPage 1 read', 'wpPage 1', 'noPage 2 write'])
  })

  it('hooks run once for all waiters of a page, even if one of the waiters aborts', async () => {
    const { ops, space } = localSpace()
    const { promise, open } = gate()
    ops.hold = promise
    const mapping = space.mmap()
    const abort = new AbortController()
    const first = mapping.read(0, 1, { signal: abort.signal })
    const second = mapping.read(0, 1)
    abort.abort()
    await expect(first).rejects.toThrow('aborted')
    open()
    expect(await second).toEqual(bytes(0))
    expect(ops.takeCalls()).toEqual(['noPage 0 read'])
  })

  it('hooks reject the access with their error, and run again at the next access', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    ops.failure = new Error('no such block')
    await expect(mapping.read(0, 1)).rejects.toThrow('no such block')
    ops.failure = undefined
    expect(await mapping.read(0, 1)).toEqual(bytes(0))
  })

  it('hooks may throw synchronously', async () => {
    const { space } = localSpace(1, {
      ops: {
        noPage: () => {
          throw new Error('at once')
        },
        wpPage: () => Promise.resolve(),
        writePages: () => Promise.resolve()
      }
    })
    await expect(space.mmap().read(0, 1)).rejects.toThrow('at once')
  })

  it('hooks receive dirty bytes on msync, and a failed write rejects it and keeps the page dirty', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1))
    ops.failure = new Error('EIO')
    await expect(mapping.msync()).rejects.toThrow('EIO')
    ops.failure = undefined
    await mapping.msync()
    expect(ops.stored[0]).toBe(1)
    ops.takeCalls()
    await mapping.msync()
    expect(ops.takeCalls()).toEqual([])
  })

  it('hooks make room in the cache for more pages than it has frames', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap()
    for (let page = 0; page < 64; page++) await mapping.write(page * PAGE, bytes(page))
    for (let page = 0; page < 64; page++) expect(await mapping.read(page * PAGE, 1)).toEqual(bytes(page))
  })

  it('hooks fill a separate buffer, so that a late hook writes into no page', async () => {
    const late: PageFault[] = []
    const { promise, open } = gate()
    const { space, ops } = localSpace(8, { faultTimeoutMs: 20 })
    ops.onNoPage = (fault) => {
      late.push(fault)
      return promise
    }
    const mapping = space.mmap()
    await expect(mapping.read(0, 1)).rejects.toThrow(UnavailableError)
    ops.onNoPage = undefined
    await mapping.write(0, bytes(1, 9))
    late[0]!.frames[0]!.fill(0)
    open()
    await turns()
    expect(await mapping.read(0, 2)).toEqual(bytes(1, 9))
    // A hook that keeps its buffer cannot change the page later either.
    await space.evictMappingRange(0, 0)
    await mapping.read(0, 1)
    late[0]!.frames[0]!.fill(3)
    expect(await mapping.read(0, 2)).toEqual(bytes(1, 9))
  })

  it('hooks fill a page that a pin moves to another frame in the meantime', async () => {
    const { ops, space } = localSpace()
    ops.stored.fill(7)
    const { promise, open } = gate()
    ops.hold = promise
    const mapping = space.mmap()
    await space.truncate(8 * PAGE)
    const both = [mapping.read(0, 1), mapping.pin(0, 2 * PAGE, 'read')] as const
    open()
    expect(await both[0]).toEqual(bytes(7))
    const pinned = await both[1]
    expect(new Set(pinned.bytes)).toEqual(new Set([7]))
    pinned.release()
    expect(await mapping.read(0, 2)).toEqual(bytes(7, 7))
  })

  it('hooks see a copy of the page in wpPage, and cannot change the page', async () => {
    const { ops, space } = localSpace()
    ops.stored.set([5, 6], 0)
    const seen: number[] = []
    ops.onWpPage = ({ frames: [frame] }) => {
      seen.push(frame![0]!, frame![1]!)
      frame!.fill(0)
    }
    const mapping = space.mmap()
    await mapping.read(0, 1)
    await mapping.write(0, bytes(8))
    expect(seen).toEqual([5, 6])
    expect(await mapping.read(0, 2)).toEqual(bytes(8, 6))
  })

  it('hooks get an aborted signal when the last waiter aborts, and not before', async () => {
    const { ops, space } = localSpace()
    const signals: AbortSignal[] = []
    ops.onNoPage = ({ signal }) => {
      signals.push(signal)
      return new Promise(() => {})
    }
    const mapping = space.mmap()
    const one = new AbortController()
    const other = new AbortController()
    const reading = [mapping.read(0, 1, { signal: one.signal }), mapping.read(0, 1, { signal: other.signal })]
    one.abort()
    await expect(reading[0]).rejects.toThrow('aborted')
    expect(signals[0]!.aborted).toBe(false)
    other.abort()
    await expect(reading[1]).rejects.toThrow('aborted')
    expect(signals[0]!.aborted).toBe(true)
  })

  it('hooks that hang do not delay other accesses once their waiters have aborted', async () => {
    const { ops, space } = localSpace(300, { faultTimeoutMs: 200 })
    ops.onNoPage = ({ index }) => (index < 256 ? new Promise(() => {}) : Promise.resolve())
    const mapping = space.mmap()
    const abort = new AbortController()
    const hung = mapping.read(0, 256 * PAGE, { signal: abort.signal })
    const waiting = mapping.read(256 * PAGE, 1)
    await turns()
    abort.abort()
    await expect(hung).rejects.toThrow('aborted')
    expect(await waiting).toEqual(bytes(0))
  })

  it('hooks may reject with PastEndError, which does not change the size of the address space', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    ops.failure = new PastEndError('/elsewhere', 10, 5)
    await expect(mapping.read(0, 1)).rejects.toBe(ops.failure)
    await expect(mapping.pin(0, 1, 'read')).rejects.toBe(ops.failure)
    ops.failure = undefined
    expect(space.size).toBe(8 * PAGE)
    expect(await mapping.read(7 * PAGE, 1)).toEqual(bytes(0))
  })

  it('waiting calls reject with UnavailableError if writePages hangs, because no pin causes the wait', async () => {
    const { ops, space } = localSpace(64, { cacheBytes: 16 * PAGE, faultTimeoutMs: 50 })
    const mapping = space.mmap()
    ops.onWrite = () => new Promise(() => {})
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, page) => mapping.write(page * PAGE, bytes(1)))
    )
    const rejected = outcomes.filter((outcome) => outcome.status === 'rejected')
    expect(rejected.length).toBeGreaterThan(0)
    for (const { reason } of rejected) expect(reason).toBeInstanceOf(UnavailableError)
  })
})

describe('close of an address space', () => {
  it('close rejects calls whose bytes the last flush could miss', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1))
    const { promise, open } = gate()
    ops.hold = promise
    const reading = mapping.read(PAGE, 1)
    const refused = expect(reading).rejects.toThrow(ClosedError)
    const closing = space.close()
    await refused
    await expect(mapping.write(0, bytes(2))).rejects.toThrow(ClosedError)
    expect(() => mapping.tryWrite(0, bytes(2))).toThrow(ClosedError)
    expect(() => space.mmap()).toThrow(ClosedError)
    open()
    await closing
    expect(ops.stored[0]).toBe(1)
  })

  it('close leaves the address space open if a write fails, and continues if the caller aborts', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1))
    ops.failure = new Error('EIO')
    await expect(space.close()).rejects.toThrow('EIO')
    ops.failure = undefined
    await mapping.write(0, bytes(2))
    const { promise, open } = gate()
    ops.hold = promise
    const abort = new AbortController()
    const closing = space.close({ signal: abort.signal })
    abort.abort()
    await expect(closing).rejects.toThrow('aborted')
    await expect(mapping.write(0, bytes(3))).rejects.toThrow(ClosedError)
    open()
    await space.close()
    expect(ops.stored[0]).toBe(2)
  })

  it('every call except close and munmap rejects with ClosedError once the address space is closed', async () => {
    const { space } = localSpace()
    const maps = [space.mmap(), space.mmap({ flags: 'private' })]
    await space.close()
    await space.close()
    const at = async (call: () => unknown): Promise<unknown> => call()
    const calls = [
      () => at(() => space.mmap()),
      () => space.truncate(0),
      () => at(() => space.unmapMappingRange(0, 0)),
      () => space.writeMappingRange(0, 0),
      () => space.evictMappingRange(0, 0),
      ...maps.flatMap((map) => [
        () => map.read(0, 1),
        () => map.readInto(0, bytes(0)),
        () => map.write(0, bytes(1)),
        () => map.pin(0, 1, 'write'),
        () => map.msync(),
        () => at(() => map.tryRead(0, bytes(0))),
        () => at(() => map.tryWrite(0, bytes(1)))
      ])
    ]
    for (const call of calls) {
      await expect(call()).rejects.toBeInstanceOf(ClosedError)
      await expect(call()).rejects.toMatchObject({ code: 'ERR_CLOSED', what: 'the address space' })
    }
    for (const map of maps) await map.munmap()
    expect(space.size).toBe(8 * PAGE)
  })
})

function thrown(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

describe('invalid arguments', () => {
  it.each([
    ['a negative start', { start: -1, length: 1 }],
    ['a fraction', { start: 0.5, length: 1 }],
    ['an overflow', { start: Number.MAX_SAFE_INTEGER, length: 2 }]
  ])('the range calls throw InvalidArgumentError with the value for %s', async (_, { start, length }) => {
    const { space, ops } = localSpace()
    const [argument, value] = length === 2 ? ['length', 2] : ['start', start]
    const named = { name: 'InvalidArgumentError', code: 'ERR_INVALID_ARGUMENT', argument, value }
    expect(thrown(() => space.unmapMappingRange(start, length))).toMatchObject(named)
    await expect(space.writeMappingRange(start, length)).rejects.toMatchObject(named)
    await expect(space.evictMappingRange(start, length)).rejects.toMatchObject(named)
    expect(ops.calls).toEqual([])
  })

  it.each<[string, unknown, unknown]>([
    ['pageSize', 0, 0],
    ['pageSize', 2048, 2048],
    ['pageSize', 5000, 5000],
    ['pageSize', 131_072, 131_072],
    ['pageSize', -4096, -4096],
    ['pageSize', 4096 + 1e-12, 4096 + 1e-12],
    ['pageSize', Number.NaN, Number.NaN],
    ['pageSize', '4096', '4096'],
    ['pageSize', 4096n, '4096'],
    ['pageSize', null, 'null'],
    ['size', -1, -1],
    ['size', 0.5, 0.5],
    ['size', MAX_FILE_BYTES + 1, MAX_FILE_BYTES + 1],
    ['size', undefined, 'undefined'],
    ['cacheBytes', 65_535, 65_535],
    ['cacheBytes', 1e5 + 0.5, 1e5 + 0.5],
    ['faultTimeoutMs', 0, 0],
    ['faultTimeoutMs', Infinity, Infinity],
    ['ops', undefined, 'undefined']
  ])('createAddressSpace throws InvalidArgumentError for %s = %s', (argument, given, value) => {
    const error = thrown(() => localSpace(1, { [argument]: given }))
    expect(error).toBeInstanceOf(InvalidArgumentError)
    expect(error).toMatchObject({ argument: argument === 'ops' ? 'ops.noPage' : argument, value })
  })

  it.each<[string, MmapOptions, string, unknown]>([
    ['an offset inside a page', { offset: 5 }, 'offset', 5],
    ['a negative offset', { offset: -PAGE }, 'offset', -PAGE],
    ['an offset of another type', { offset: 1n as never }, 'offset', '1'],
    ['a length of zero', { length: 0 }, 'length', 0],
    ['an offset beyond the end', { offset: 9 * PAGE }, 'length', 0],
    ['more bytes than a file can have', { offset: PAGE, length: MAX_FILE_BYTES }, 'length', MAX_FILE_BYTES],
    ['an unknown protection', { prot: 'write' as never }, 'prot', 'write'],
    ['unknown flags', { flags: 'other' as never }, 'flags', 'other'],
    ['an unknown option', { signal: AbortSignal.abort() }, 'mmap: signal', 'AbortSignal']
  ])('mmap throws InvalidArgumentError for %s', (_, options, argument, value) => {
    const { space } = localSpace()
    const error = thrown(() => space.mmap(options))
    expect(error).toBeInstanceOf(InvalidArgumentError)
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument, value })
  })

  it('InvalidArgumentError of createAddressSpace and mmap names the argument or its value in its message', () => {
    expect(() => localSpace(1, { pageSize: 5000 })).toThrow(/5000/)
    expect(() => localSpace(1, { size: -1 })).toThrow(/-1/)
    expect(() => localSpace(1, { size: MAX_FILE_BYTES + 1 })).toThrow(/size/)
    expect(() => localSpace(1, { cacheBytes: 10 })).toThrow(/10/)
    expect(() => localSpace(1, { ops: undefined as never })).toThrow(/ops.noPage/)
    expect(() => localSpace(1, { ops: { noPage: () => {}, wpPage: () => {} } as never })).toThrow(/ops.writePages/)
    expect(() => localSpace(1, { pagesize: 4096 } as never)).toThrow(/pagesize/)
    const { space } = localSpace()
    expect(() => space.mmap({ offset: 5 })).toThrow(/5/)
    expect(() => space.mmap({ length: 0 })).toThrow(InvalidArgumentError)
    expect(() => space.mmap({ offset: PAGE, length: Number.MAX_SAFE_INTEGER })).toThrow(InvalidArgumentError)
    expect(() => space.mmap({ flags: 'other' as never })).toThrow(/other/)
  })

  it('truncate rejects an invalid size with InvalidArgumentError, and changes nothing', async () => {
    const { space } = localSpace()
    for (const size of [-1, 0.5, MAX_FILE_BYTES + 1]) {
      await expect(space.truncate(size)).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
        argument: 'size',
        value: size
      })
    }
    await expect(space.truncate(0, { signal: AbortSignal.abort() })).rejects.toThrow('aborted')
    expect(space.size).toBe(8 * PAGE)
  })
})
