/** The effect of an aborted signal on each public call. */
import { describe, expect, it } from 'vitest'
import {
  PAGE,
  SIZE,
  world,
  client,
  file,
  mapping,
  sentBefore,
  expectNothingLeft,
  refused,
  bytes,
  bad,
  setUpClient
} from './support/api.js'
import { failure, outcome, view } from './support/client.js'

setUpClient()

describe('signals', () => {
  const reason = new Error('changed my mind')

  it('an already aborted signal rejects every call with its reason, and the call has no effect', async () => {
    const signal = AbortSignal.abort(reason)
    const calls = [
      () => client.open('/new', { create: true, signal }),
      () => client.stat('/f', { signal }),
      () => client.list('/', { signal })[Symbol.asyncIterator]().next(),
      () => client.rename('/f', '/g', { signal }),
      () => client.unlink('/f', { signal }),
      () => file.truncate(0, { signal }),
      () => file.punchHole(0, PAGE, { signal }),
      () => file.punchHole(1, 1, { signal }),
      () => file.punchHole(0, 0, { signal }),
      () => file.addressSpace.writeMappingRange(0, 0, { signal }),
      () => file.addressSpace.evictMappingRange(0, 0, { signal }),
      () => file.stat({ signal }),
      () => file.read(0, 1, { signal }),
      () => file.read(0, 0, { signal }),
      () => file.write(0, bytes(1), { signal }),
      () => file.write(0, bytes(0), { signal }),
      () => file.sync({ signal }),
      () => file.mmap({ signal }),
      () => file.mmap({ length: 1, signal }),
      () => mapping.read(0, 1, { signal }),
      () => mapping.read(0, 0, { signal }),
      () => mapping.readInto(0, bytes(1), { signal }),
      () => mapping.write(0, bytes(1), { signal }),
      () => mapping.pin(0, 1, 'write', { signal }),
      () => mapping.msync(0, 1, { signal }),
      () => mapping.msync(0, 0, { signal }),
      () => mapping.munmap({ signal }),
      () => file.close({ signal }),
      () => client.close({ signal })
    ]
    for (const call of calls) expect(await failure(call())).toBe(reason)
    await world.clock.advance(1)
    expect(world.leader.received.length).toBe(sentBefore)
    expect(world.cluster.files.has('/new')).toBe(false)
    expectNothingLeft()
    expect(await mapping.read(0, 1)).toEqual(bytes(1, 0))
  })

  it('an already aborted signal rejects calls on a private mapping even if its copy is present', async () => {
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, bytes(1))
    const signal = AbortSignal.abort(reason)
    const calls = [
      () => copy.read(0, 1, { signal }),
      () => copy.readInto(0, bytes(1), { signal }),
      () => copy.write(0, bytes(1, 8), { signal }),
      () => copy.pin(0, 1, 'read', { signal }),
      () => copy.pin(0, 1, 'write', { signal }),
      () => copy.msync(0, 1, { signal }),
      () => copy.munmap({ signal })
    ]
    for (const call of calls) expect(await failure(call())).toBe(reason)
    expect(await copy.read(0, 1)).toEqual(bytes(1))
    expectNothingLeft()
  })

  it('an already aborted signal rejects close of the client, which stays open and loses no byte', async () => {
    await mapping.write(0, bytes(1))
    expect(await failure(client.close({ signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(await mapping.read(0, 1)).toEqual(bytes(1))
    await client.close()
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
    expect(world.cluster.sessions.size).toBe(0)
  })

  it.each<[string, unknown]>([
    ['AbortController', new AbortController()],
    ['Object', {}],
    ['null', null]
  ])('every call refuses the non-signal %s before it waits', async (named, value) => {
    const signal = bad(value)
    world.leader.holding.add('fault')
    await refused(() => client.stat('/f', { signal }), 'signal', named)
    await refused(() => client.open('/f', { signal }), 'signal', named)
    await refused(() => file.read(0, 1, { signal }), 'signal', named)
    await refused(() => file.truncate(0, { signal }), 'signal', named)
    await refused(() => mapping.read(0, 1, { signal }), 'signal', named)
    await refused(() => mapping.pin(0, 1, 'read', { signal }), 'signal', named)
    await refused(() => mapping.msync(0, 1, { signal }), 'signal', named)
    await refused(() => file.addressSpace.evictMappingRange(0, 0, { signal }), 'signal', named)
    await refused(() => mapping.munmap({ signal }), 'signal', named)
    await refused(() => file.close({ signal }), 'signal', named)
    await refused(() => client.close({ signal }), 'signal', named)
  })

  it('aborting a call during a private page copy frees its frame and leaves other calls waiting', async () => {
    const copy = await file.mmap({ flags: 'private' })
    world.leader.holding.add('fault')
    const controller = new AbortController()
    const { signal } = controller
    const gone = [copy.write(0, bytes(1), { signal }), copy.pin(0, PAGE + 1, 'write', { signal })]
    const errors = gone.map((call) => failure(call))
    const staying = [copy.write(1, bytes(1)), mapping.read(0, 1)]
    await world.clock.advance(1)
    controller.abort(reason)
    for (const error of errors) expect(await error).toBe(reason)
    for (const call of staying) expect(await outcome(call)).toBe('waiting')
    world.leader.release('fault')
    await Promise.all(staying)
    expect(await copy.read(0, 2)).toEqual(new Uint8Array([0, 7]))
    await copy.munmap()
    await file.addressSpace.evictMappingRange(0, 0)
    expectNothingLeft()
    expect(client.stats().frameBytesUsed).toBe(0)
  })

  it('aborting an eviction leaves its pages usable', async () => {
    const pin = await mapping.pin(0, 1, 'write')
    const controller = new AbortController()
    const evicting = failure(file.addressSpace.evictMappingRange(0, 0, { signal: controller.signal }))
    const reading = mapping.read(0, 1)
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await evicting).toBe(reason)
    expect(await world.until(reading)).toEqual(bytes(1, 0))
    pin.release()
    expectNothingLeft()
  })

  it('a signal whose reason is not an Error rejects the call with AbortError', async () => {
    expect(await failure(file.stat({ signal: AbortSignal.abort('enough') }))).toMatchObject({ name: 'AbortError' })
    expect(await failure(file.stat({ signal: AbortSignal.abort() }))).toMatchObject({ name: 'AbortError' })
  })

  it('aborting calls during a fault leaves the other waiters of the page waiting', async () => {
    world.leader.holding.add('fault')
    const controller = new AbortController()
    const { signal } = controller
    const gone = [mapping.read(0, 1, { signal }), mapping.pin(0, 1, 'read', { signal }), file.read(0, SIZE, { signal })]
    const staying = [mapping.read(0, 1), file.read(0, 1)]
    const errors = gone.map((call) => failure(call))
    await world.clock.advance(1)
    controller.abort(reason)
    for (const error of errors) expect(await error).toBe(reason)
    for (const call of staying) expect(await outcome(call)).toBe('waiting')
    world.leader.release('fault')
    expect(await Promise.all(staying)).toEqual([bytes(1, 0), bytes(1, 0)])
    expectNothingLeft()
  })

  it('aborting the only waiter of a fault leaves the fault outstanding and the page usable', async () => {
    world.leader.holding.add('fault')
    for (let round = 0; round < 30; round++) {
      const controller = new AbortController()
      const call = failure(mapping.write((round % 2) * PAGE, bytes(1), { signal: controller.signal }))
      await world.clock.advance(1)
      controller.abort(reason)
      expect(await call).toBe(reason)
    }
    expect(world.leader.of('fault')).toHaveLength(2)
    world.leader.release('fault')
    await world.clock.advance(1)
    await mapping.write(0, bytes(1))
    expect(await mapping.read(0, 1)).toEqual(bytes(1))
    expectNothingLeft()
  })

  it('aborting msync does not cancel the flush', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const controller = new AbortController()
    const call = failure(mapping.msync(0, 1, { signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await call).toBe(reason)
    world.leader.release('writeback')
    await world.clock.advance(1)
    expect(world.cluster.pages.get(`${file.id}:0`)!.bytes[0]).toBe(7)
    expectNothingLeft()
  })

  it('aborting open makes the client close the file if the cluster opens it', async () => {
    world.leader.holding.add('open')
    const controller = new AbortController()
    const opening = failure(client.open('/g', { create: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await opening).toBe(reason)
    world.leader.release('open')
    await world.clock.advance(1)
    expect(world.cluster.files.has('/g')).toBe(true)
    expect([...world.cluster.mapped]).toEqual([Number(file.id)])
    expectNothingLeft()
  })

  it('aborting open does not close the file for the next open of the same path', async () => {
    world.leader.holding.add('open')
    const controller = new AbortController()
    const opening = failure(client.open('/g', { create: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    await opening
    const next = client.open('/g', { create: true })
    await world.clock.advance(1)
    world.leader.release('open')
    const other = await next
    await world.clock.advance(1)
    expect(world.cluster.mapped.has(Number(other.id))).toBe(true)
    expect(world.leader.of('close')).toEqual([])
  })

  it('aborting an open that waits for a close rejects at once, and the client never sends the open', async () => {
    world.leader.holding.add('open')
    // The close waits for this open, which may be an open of the same file.
    const first = client.open('/g', { create: true })
    const closing = file.close()
    await world.clock.advance(1)
    const controller = new AbortController()
    const second = failure(client.open('/h', { create: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await second).toBe(reason)
    expect(await outcome(first)).toBe('waiting')
    world.leader.release('open')
    expect((await first).path).toBe('/g')
    await closing
    await world.clock.advance(1)
    expect(world.cluster.files.has('/h')).toBe(false)
  })

  it('aborting open at any step after the answer of the leader leaks no handle', async () => {
    let givenUp = 0
    for (let steps = 0; steps < 15; steps++) {
      world.leader.holding.add('open')
      const controller = new AbortController()
      const opening = client.open('/g', { create: true, signal: controller.signal })
      await world.clock.advance(1)
      world.leader.release('open')
      for (let step = 0; step < steps; step++) await Promise.resolve()
      controller.abort(reason)
      const opened = await opening.catch((error: unknown) => {
        expect(error).toBe(reason)
        givenUp++
      })
      await opened?.close()
      await world.clock.advance(1)
      expect(world.cluster.mapped.size).toBe(1)
      expect([...view(client).spaces].map(({ path }) => path)).toEqual(['/f'])
    }
    expect(givenUp).toBeGreaterThan(2)
    expect(givenUp).toBeLessThan(15)
  })

  it('aborting an open during its truncation releases the file, even if another handle cannot be flushed', async () => {
    world.leader.holding.add('truncate')
    const other = await client.open('/g', { create: true, size: PAGE })
    await other.write(0, bytes(1))
    world.leader.refuses = () => true
    const controller = new AbortController()
    const opening = failure(client.open('/g', { truncate: true, signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await opening).toBe(reason)
    world.leader.refuses = () => false
    await world.until(other.close())
    expect(world.cluster.mapped.size).toBe(1)
    expect([...view(client).spaces].map(({ path }) => path)).toEqual(['/f'])
  })

  it('aborting a close that waits for an open leaves the file open, and a later close succeeds', async () => {
    world.leader.holding.add('open')
    const opening = client.open('/g', { create: true })
    const controller = new AbortController()
    const closing = failure(file.close({ signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await closing).toBe(reason)
    expect(world.cluster.mapped.size).toBe(1)
    world.leader.release('open')
    const other = await opening
    await file.close()
    expect(world.leader.of('close')).toHaveLength(1)
    expect([...view(client).spaces].map(({ path }) => path)).toEqual(['/g'])
    expect(world.cluster.mapped.size).toBe(1)
    await other.close()
  })

  it('aborting the close of a file does not keep it open at the cluster', async () => {
    world.leader.holding.add('close')
    const controller = new AbortController()
    const closing = failure(file.close({ signal: controller.signal }))
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await closing).toBe(reason)
    // The connection loses the request, and the client repeats it although no caller waits.
    world.leader.holding.clear()
    world.leader.cut()
    await world.clock.advance(100)
    expect(world.cluster.mapped.size).toBe(0)
    expectNothingLeft()
  })

  it('aborting one munmap does not abort a concurrent one', async () => {
    await mapping.write(0, bytes(1))
    world.leader.holding.add('writeback')
    const controller = new AbortController()
    const gone = failure(mapping.munmap({ signal: controller.signal }))
    const staying = mapping.munmap()
    staying.catch(() => {})
    await world.clock.advance(1)
    controller.abort(reason)
    expect(await gone).toBe(reason)
    const others = await outcome(staying)
    world.leader.release('writeback')
    await world.clock.advance(1)
    expect(others).toBe('waiting')
    expect(await outcome(staying)).toBe('resolved')
  })

  it('a completed call leaves no listener on its signal', async () => {
    const { signal } = new AbortController()
    const listeners = new Set<unknown>()
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners.add(args[1])
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners.delete(args[1])
      remove(...args)
    }
    const other = await client.open('/g', { create: true, size: SIZE, signal })
    await other.read(0, SIZE, { signal })
    await other.write(SIZE, bytes(1), { signal })
    const map = await other.mmap({ signal })
    ;(await map.pin(0, 1, 'write', { signal })).release()
    await map.msync(0, 1, { signal })
    await other.close({ signal })
    await world.clock.advance(1)
    expect(listeners.size).toBe(0)
  })
})
