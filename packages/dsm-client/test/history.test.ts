/** The history that a client reports to a checker, and the client's independence of the checker. */
import { errorToWire, InvalidArgumentError, PastEndError, type LeaderMessage } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { DsmFile, HistoryEvent, Mapping } from '../src/types.js'
import { outcome } from './support/client.js'
import { client, connect, useWorld, world } from './support/session.js'

useWorld()

const PAGE = 4096
let file: DsmFile
let mapping: Mapping
let events: HistoryEvent[]

async function start(history: (event: HistoryEvent) => void = (event) => void events.push(event)): Promise<void> {
  events = []
  await connect(world.create({ history }))
  file = await client.open('/f', { create: true, size: 4 * PAGE })
  mapping = await file.mmap()
  events.length = 0
}

/** Returns the parts of each event that the tests compare. */
function told(): unknown[] {
  return events.map(({ op, offset, length, value, from, to, status }) => {
    const bytes = [value, from, to].filter((text) => text !== undefined)
    return [op, offset, length, ...bytes, status].join(' ')
  })
}

function pastEnd(req: number): LeaderMessage {
  const error = errorToWire(new PastEndError('/f', PAGE, PAGE + 1))
  return { type: 'faultFailed', term: 1, req, file: Number(file.id), page: 1, error }
}

const bytes = (...values: number[]) => new Uint8Array(values)

describe('a history', () => {
  it('a history has one event for each operation, with its bytes and its status', async () => {
    await start()
    await mapping.write(PAGE, bytes(1, 2))
    await mapping.read(PAGE, 3)
    expect(mapping.tryRead(PAGE, new Uint8Array(1))).toBe(true)
    const pin = await mapping.pin(PAGE, 2, 'write')
    pin.bytes[0] = 9
    pin.release()
    await world.until(file.sync())
    await file.stat()
    expect(told()).toEqual([
      'write 4096 2 0102 ok',
      'read 4096 3 010200 ok',
      'read 4096 1 01 ok',
      'exchange 4096 2 0102 0902 ok',
      'writeback 4096 4096 ok',
      'sync 0 0 ok',
      `size ${4 * PAGE} 0 ok`
    ])
    const times = events.map((event) => [event.call, event.return])
    for (const [call, end] of times) expect(call).toBeLessThanOrEqual(end!)
  })

  it('a history has the zeros of punchHole page by page, each up to the size of the file at that time', async () => {
    await start()
    world.leader.holding.add('fault')
    const punching = file.punchHole(PAGE - 2, 4)
    await world.clock.advance(1)
    world.leader.releaseNext('fault')
    await world.clock.advance(1)
    // Another client truncates the file within the second page.
    const { path } = file
    world.cluster.files.set(path, { ...world.cluster.files.get(path)!, size: PAGE + 1 })
    world.leader.send(pastEnd(world.leader.last('fault').req))
    await world.clock.advance(1)
    world.leader.release('fault')
    await punching
    expect(told()).toEqual(['write 4094 2 0000 ok', 'write 4096 2 00 ok'])
  })

  it('a history gives aborted operations the status fail if they had no effect, and info if they may have one', async () => {
    await start()
    await mapping.write(PAGE, bytes(1))
    events.length = 0
    world.leader.holding.add('fault').add('truncate')
    for (const act of [
      (signal: AbortSignal) => mapping.read(0, 1, { signal }),
      (signal: AbortSignal) => mapping.write(0, bytes(5), { signal }),
      // This call writes its first page before the abort.
      (signal: AbortSignal) => mapping.write(2 * PAGE - 1, bytes(5, 6), { signal }),
      (signal: AbortSignal) => file.truncate(PAGE, { signal })
    ]) {
      const controller = new AbortController()
      const call = act(controller.signal)
      expect(await outcome(call)).toBe('waiting')
      controller.abort()
      await outcome(call)
    }
    await world.clock.advance(1)
    expect(told()).toEqual(['read 0 1 fail', 'write 0 1 05 fail', 'write 8191 2 0506 info', 'truncate 4096 0 info'])
  })

  it('a history has no event for a call with invalid arguments', async () => {
    await start()
    const reading = await file.mmap({ prot: 'read' })
    events.length = 0
    const refused = [
      mapping.write(-1, bytes(1)),
      mapping.write('1' as never, bytes(1)),
      mapping.write(4 * PAGE, bytes(1)),
      mapping.write(0, [1] as never),
      mapping.read(4 * PAGE, 1),
      mapping.msync(4 * PAGE + 1),
      reading.write(0, bytes(1)),
      file.read(-1, 1),
      file.write(-1, bytes(1)),
      file.truncate(-1),
      file.punchHole(-1, 1)
    ]
    for (const { status } of await Promise.allSettled(refused)) expect(status).toBe('rejected')
    expect(told()).toEqual([])
  })

  it('a history drops unacknowledged writebacks of broken connections once newer bytes of the page are durable', async () => {
    await start()
    world.leader.holding.add('writeback')
    for (const value of [1, 2, 3]) {
      await mapping.write(0, bytes(value))
      mapping.msync().catch(() => {})
      await world.clock.advance(1)
      world.leader.cut()
      await world.clock.advance(1000)
    }
    world.leader.release('writeback')
    await world.until(mapping.msync())
    await mapping.write(0, bytes(4))
    world.leader.send({ type: 'expired', session: world.leader.session })
    await world.clock.advance(1)
    expect(told().filter((event) => /^(writeback|lost)/.test(String(event)))).toEqual([
      'writeback 0 4096 ok',
      'lost 0 4096 ok'
    ])
  })

  it('a history gives writes under a pin of a closed file the status info', async () => {
    await start()
    const pin = await mapping.pin(0, 2, 'write')
    await world.until(file.close())
    pin.bytes.fill(9)
    pin.release()
    expect(told().at(-1)).toBe('exchange 0 2 0000 0909 info')
  })

  it('a listener of the history that throws stops neither the client nor later events', async () => {
    const thrown: unknown[] = []
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => thrown.push(error))
    try {
      await start(() => {
        throw new Error('no room for events')
      })
      await mapping.write(0, bytes(1))
      await mapping.write(PAGE, bytes(1))
      // The client reports the acknowledgment in the middle of its work.
      await world.until(mapping.msync())
      expect(await mapping.read(0, 1)).toEqual(bytes(1))
      expect(thrown.length).toBeGreaterThan(4)
      expect(new Set(thrown.map(String))).toEqual(new Set(['Error: no room for events']))
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of others) process.on('uncaughtException', listener)
    }
  })
})

describe('bytes under a pin for reading', () => {
  it('bytes under a pin for reading must not change: release() throws InvalidArgumentError with the offset of a write', async () => {
    await start()
    await mapping.read(0, 2 * PAGE)
    const pin = await mapping.pin(100, PAGE, 'read')
    pin.bytes[PAGE - 50] = 1
    let error: unknown
    try {
      pin.release()
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(InvalidArgumentError)
    expect(error).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      argument: 'bytes',
      value: `written at ${100 + PAGE - 50}`
    })
    expect(() => pin.release()).not.toThrow()
    const another = await mapping.pin(0, PAGE, 'write')
    another.release()
  })

  it('bytes under a pin for reading may change through other calls of the same client', async () => {
    await start()
    for (const isFlushed of [false, true]) {
      const pin = await mapping.pin(0, 2, 'read')
      await mapping.write(0, bytes(isFlushed ? 2 : 1))
      if (isFlushed) await world.until(mapping.msync())
      pin.release()
    }
    const reading = await mapping.pin(0, 2, 'read')
    const writing = await mapping.pin(0, 2, 'write')
    writing.bytes[0] = 7
    reading.release()
    writing.release()
  })
})
