import { CorruptionError, decode, MAX_ENTRY_BYTES, raftConfiguration } from '@quire/protocol'
import { crc32c } from '@node-rs/crc32'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  createMemoryDisk,
  createSegmentedLog,
  LogFailedError,
  LogNotInitializedError,
  SECTOR_BYTES,
  type LogWrite,
  type MemoryDisk,
  type RaftLog
} from '../src/index.js'
import { encodeSegmentHeader } from '../src/log/segment.js'
import { contentOf, entries, entry } from './support/log-model.js'
import { FakeClock } from '@quire/testing'
import { seededRandom } from './support/seeded-random.js'

const bootstrap = { voters: ['a', 'b', 'c'], learners: ['d'], context: Uint8Array.of(1, 2, 3) }
const create = { bootstrap }
const SNAPSHOT = { index: 100, term: 2, configuration: { ...entry(90, 2), kind: 'config' as const } }
const FIRST_SEGMENT = '0000000001-00000000000001.log'
/** Offset of a log's second batch: after the segment's header and the batch of entry 1. */
const SECOND_BATCH = 2 * SECTOR_BYTES

let disk: MemoryDisk
beforeEach(() => {
  disk = createMemoryDisk()
})

function open(options: { segmentBytes?: number; cacheBytes?: number; identity?: string } = {}): Promise<RaftLog> {
  return createSegmentedLog({ disk, segmentBytes: 64 * 1024, ...options, create })
}

function big(index: number, sectors: number): LogWrite {
  return { entries: [{ index, term: 1, kind: 'normal', data: new Uint8Array(sectors * SECTOR_BYTES).fill(7) }] }
}

async function zeroSector(offset: number): Promise<void> {
  for (let i = 0; i < SECTOR_BYTES; i++) disk.damage(FIRST_SEGMENT, offset + i, () => 0)
}

describe('a log', () => {
  it('rejects a first configuration whose members form no valid cluster', async () => {
    const context = new Uint8Array(0)
    const wrong: [string[], string[]][] = [
      [[], []],
      [[], ['a']],
      [['a', 'a'], []],
      [['a', 'b'], ['b']],
      [Array.from({ length: 65 }, (_, i) => `n${i}`), []]
    ]
    for (const [voters, learners] of wrong) {
      const creating = createSegmentedLog({
        disk: createMemoryDisk(),
        create: { bootstrap: { voters, learners, context } }
      })
      await expect(creating).rejects.toMatchObject({ name: 'InvalidArgumentError', argument: 'bootstrap' })
    }
  })

  it('keeps copies of its last entries in memory after a restart, not whole segments', async () => {
    const log = await open()
    for (let i = 2; i < 50; i++) await log.append({ entries: entries(i, i, 1) })
    await log.close()
    const again = await open()
    for (const { data } of again.entries(2, 50, 1e6)) expect(data.buffer.byteLength).toBe(data.length)
    await again.close()
  })
})

describe('a log on a disk that is almost full', () => {
  it('reports that the next file finds no space, tries again, and goes on when there is room', async () => {
    const clock = new FakeClock()
    disk = createMemoryDisk({ schedule: clock.schedule.bind(clock) })
    const spaces: (string | undefined)[] = []
    const opening = createSegmentedLog({
      disk,
      segmentBytes: 16 * SECTOR_BYTES,
      create,
      clock,
      onSpace: (fault) => spaces.push(fault?.name)
    })
    await clock.advance(100)
    const log = await opening
    disk.setCapacity(disk.usedBytes)
    const half = log.append(big(2, 10))
    await clock.advance(100)
    await half
    expect(spaces).toEqual(['NoSpaceError'])
    await clock.advance(5000)
    expect(spaces).toEqual(['NoSpaceError'])
    disk.setCapacity(Infinity)
    await clock.advance(1100)
    expect(spaces).toEqual(['NoSpaceError', undefined])
    const rest = log.append(big(3, 10))
    await clock.advance(100)
    await rest
    expect(log.lastIndex).toBe(3)
    const closing = log.close()
    await clock.advance(100)
    await closing
  })
})

describe('a new log', () => {
  it('starts with the first configuration as entry 1 of term 1, committed', async () => {
    const log = await open()
    expect(log.hardState).toEqual({ term: 1, vote: undefined, commit: 1 })
    expect(log.configurations).toHaveLength(1)
    expect(decode(raftConfiguration, log.entries(1, 2, 1000)[0]!.data)).toEqual({
      ...bootstrap,
      outgoing: [],
      learnersNext: []
    })
  })

  it('is made only if a first configuration is given', async () => {
    await expect(createSegmentedLog({ disk })).rejects.toThrow(LogNotInitializedError)
    await open()
    await expect(createSegmentedLog({ disk })).resolves.toBeDefined()
  })

  it('22 a wiped voter rejoining under its old id is refused, even if files without content remain', async () => {
    const log = await open()
    await log.append(big(2, 100))
    await log.close()
    for (const name of await segments()) await disk.remove(name)
    expect(await disk.list()).toEqual(['hard-state', 'spare.tmp'])
    await expect(createSegmentedLog({ disk })).rejects.toThrow(LogNotInitializedError)
  })

  it('exists as a whole or not at all after a power loss', async () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = seededRandom(seed)
      const clock = new FakeClock()
      disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
      void open()
      await clock.advance(random.next() * 12)
      disk = disk.crash(() => random.next())
      let log: RaftLog | undefined
      void open().then((opened) => (log = opened))
      await clock.until(() => log !== undefined, 1000)
      expect(log!.lastIndex).toBe(1)
    }
  })

  it('is made by the start after one or two that lost power, each after any number of operations', async () => {
    const clock = new FakeClock()
    /** Runs a start for that many operations, or until it is done. */
    const start = async (operations: number): Promise<RaftLog | Error | undefined> => {
      let outcome: RaftLog | Error | undefined
      open().then(
        (log) => (outcome = log),
        (error: Error) => (outcome = error)
      )
      await clock.until(() => outcome !== undefined, operations)
      return outcome
    }
    // A power loss may leave nothing of a file that is being made, an empty file, a part, or all of it.
    for (const kept of [0, 0.34, 0.5, 0.99]) {
      for (let first = 0.5; first < 10; first++) {
        for (let second = 0.5; second < 14; second++) {
          disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
          for (const operations of [first, second]) {
            const outcome = await start(operations)
            expect(outcome, `kept ${kept} after ${first} operations`).not.toBeInstanceOf(Error)
            disk = disk.crash(() => kept)
          }
          expect(await start(1000), `kept ${kept} after ${first} and ${second}`).toMatchObject({ lastIndex: 1 })
        }
      }
    }
  })

  it('refuses files that belong to another log', async () => {
    await open({ identity: 'cluster x, node a' })
    await expect(open({ identity: 'cluster x, node b' })).rejects.toThrow(/belongs to another log/)
  })
})

describe('appending', () => {
  it('keeps entries and hard state over a restart', async () => {
    const log = await open()
    await log.append({ hardState: { term: 2, vote: 'b', commit: 1 }, entries: entries(2, 9, 2) })
    await log.close()
    const again = await open()
    expect(contentOf(again)).toEqual(contentOf(log))
    expect(again.hardState).toEqual({ term: 2, vote: 'b', commit: 1 })
    expect([again.term(0), again.term(1), again.term(9), again.term(10)]).toEqual([0, 1, 2, undefined])
  })

  it('replaces a conflicting suffix, also over a restart (§5.3)', async () => {
    const log = await open({ cacheBytes: 0 })
    await log.append({ entries: entries(2, 6, 1) })
    await log.append({ entries: entries(4, 5, 2) })
    const texts = ['2@1', '3@1', '4@2', '5@2']
    expect(contentOf(log).entries.slice(1)).toEqual([...entries(2, 3, 1), ...entries(4, 5, 2)])
    const again = contentOf(await open()).entries.slice(1)
    expect(again.map(({ data }) => String.fromCharCode(...data))).toEqual(texts)
  })

  it('puts appends that wait for a flush into the next one (group commit)', async () => {
    const clock = new FakeClock()
    let writes = 0
    disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => (writes++, 1) })
    let log: RaftLog | undefined
    void open().then((opened) => (log = opened))
    await clock.until(() => log !== undefined)
    writes = 0
    const order: number[] = []
    for (let i = 2; i < 102; i++) void log!.append({ entries: [entry(i, 1)] }).then(() => order.push(i))
    await clock.advance(1000)
    expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i + 2))
    expect(writes).toBe(2)
  })

  it('continues in new segments, and makes larger ones for larger batches', async () => {
    const log = await open({ segmentBytes: 4096, cacheBytes: 100 })
    for (let i = 2; i <= 60; i++) await log.append({ entries: [entry(i, 1)] })
    await log.append({
      entries: [{ index: 61, term: 1, kind: 'normal', data: new Uint8Array(MAX_ENTRY_BYTES).fill(3) }]
    })
    await log.append({ entries: [entry(62, 1)] })
    await log.close()
    expect((await disk.list()).filter((name) => name.endsWith('.log')).length).toBeGreaterThan(8)
    const again = await open({ segmentBytes: 4096, cacheBytes: 100 })
    expect(again.lastIndex).toBe(62)
    expect(again.entries(61, 62, 1)[0]!.data).toHaveLength(MAX_ENTRY_BYTES)
    await again.append({ entries: [entry(63, 1)] })
    expect(again.entries(63, 64, 1)).toEqual([entry(63, 1)])
  })

  it('returns as many entries as fit, but at least one', async () => {
    const log = await open({ cacheBytes: 200 })
    await log.append({ entries: entries(2, 50, 1) })
    expect(log.entries(2, 51, 1)).toHaveLength(1)
    expect(log.entries(2, 51, 100)).toHaveLength(4)
    expect(log.entries(40, 51, 1e9).map(({ index }) => index)).toEqual([40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50])
  })
})

describe('a failing disk', () => {
  it('makes the log reject everything, because a failed flush is never repeated', async () => {
    const log = await open()
    disk.fail('write', new Error('EIO'))
    const results = await Promise.allSettled([
      log.append({ entries: [entry(2, 1)] }),
      log.append({ entries: [entry(3, 1)] }),
      log.append({ entries: [entry(4, 1)] })
    ])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    await expect(log.append({ entries: [entry(2, 1)] })).rejects.toThrow(LogFailedError)
    expect(log.lastIndex).toBe(1)
  })
})

describe('a disk that was full for a while', () => {
  it('does no harm if there is room again before the segment ends', async () => {
    const log = await open({ segmentBytes: 4096 })
    disk.setCapacity(disk.usedBytes)
    for (let i = 2; i <= 6; i++) await log.append({ entries: [entry(i, 1)] })
    disk.setCapacity(Infinity)
    for (let i = 7; i <= 30; i++) await log.append({ entries: [entry(i, 1)] })
    expect((await open({ segmentBytes: 4096 })).lastIndex).toBe(30)
  })
})

describe('recovery', () => {
  it('cuts off a last batch that lacks sectors, and its place can be written again', async () => {
    const log = await open()
    await log.append(big(2, 4))
    await zeroSector(SECOND_BATCH + 2 * SECTOR_BYTES)
    const again = await open()
    expect(again.lastIndex).toBe(1)
    await again.append({ entries: [entry(2, 1)] })
    expect(contentOf(await open()).entries).toHaveLength(2)
  })

  it('cuts off a last batch that lacks its first sector', async () => {
    const log = await open()
    await log.append(big(2, 4))
    await zeroSector(SECOND_BATCH)
    expect((await open()).lastIndex).toBe(1)
  })

  it('does not take zeros in the data for missing sectors', async () => {
    const log = await open()
    await log.append({ entries: [{ index: 2, term: 1, kind: 'normal', data: new Uint8Array(8192) }] })
    disk.damage(FIRST_SEGMENT, SECOND_BATCH + 100, (byte) => byte ^ 1)
    await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', offset: SECOND_BATCH })
  })

  it.each([0, 5, 17, 30, 700])(
    'refuses a last batch with a flipped bit at %i, because no torn write leaves that',
    async (at) => {
      const log = await open()
      await log.append(big(2, 4))
      disk.damage(FIRST_SEGMENT, SECOND_BATCH + at, (byte) => byte ^ 4)
      await expect(open()).rejects.toMatchObject({
        name: 'CorruptionError',
        where: FIRST_SEGMENT,
        offset: SECOND_BATCH
      })
    }
  )

  it.each([0, 1, 2])(
    'refuses a missing sector (%i) before a later batch, because the sector was acknowledged',
    async (sector) => {
      const log = await open()
      await log.append(big(2, 4))
      await log.append({ entries: [entry(3, 1)] })
      await zeroSector(SECOND_BATCH + sector * SECTOR_BYTES)
      await expect(open()).rejects.toThrow(CorruptionError)
    }
  )

  it('refuses a missing sector before a later segment', async () => {
    const log = await open({ segmentBytes: 4096 })
    for (let i = 2; i < 20; i++) await log.append({ entries: [entry(i, 1)] })
    await zeroSector(7 * SECTOR_BYTES)
    await expect(open({ segmentBytes: 4096 })).rejects.toThrow(/a batch is missing|starts with batch/)
  })

  it.each([0, 8, 13, 21])('refuses a segment with a damaged header (%i)', async (at) => {
    await open()
    disk.damage(FIRST_SEGMENT, at, (byte) => byte ^ 1)
    await expect(open()).rejects.toThrow(CorruptionError)
  })

  it('refuses a log that lacks a segment', async () => {
    const log = await open({ segmentBytes: 4096 })
    for (let i = 2; i < 40; i++) await log.append({ entries: [entry(i, 1)] })
    const names = (await disk.list()).filter((name) => name.endsWith('.log'))
    await disk.remove(names[1]!)
    await expect(open({ segmentBytes: 4096 })).rejects.toThrow(/segment 2 is missing/)
  })

  it('refuses a log that ends below its commit index', async () => {
    const log = await open()
    await log.append({ entries: entries(2, 9, 1) })
    await log.append({ hardState: { term: 1, vote: undefined, commit: 9 }, entries: [entry(5, 2)] })
    await log.close()
    await expect(open()).rejects.toThrow(/ends at 5, 9 was committed/)
  })

  it('finds damage of an old entry when it reads that entry', async () => {
    const log = await open({ cacheBytes: 0 })
    await log.append(big(2, 4))
    await log.append({ entries: [entry(3, 1)] })
    disk.damage(FIRST_SEGMENT, SECOND_BATCH + 1000, (byte) => byte ^ 1)
    expect(() => log.entries(2, 3, 1)).toThrow(CorruptionError)
  })

  it('39 damage to a committed entry is not a torn tail: the error names file and offset', async () => {
    const log = await open()
    await log.append(big(2, 4))
    await log.append(big(3, 4))
    for (const batch of [SECOND_BATCH, SECOND_BATCH + 5 * SECTOR_BYTES]) {
      // All of the header and the bitmap, and samples of the payload. The last batch was acknowledged as well.
      const places = [...Array(64).keys(), ...Array.from({ length: 60 }, (_, i) => 64 + 32 * i)]
      for (const at of places) {
        for (const bit of [1, 128]) {
          disk.damage(FIRST_SEGMENT, batch + at, (byte) => byte ^ bit)
          await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', where: FIRST_SEGMENT, offset: batch })
          disk.damage(FIRST_SEGMENT, batch + at, (byte) => byte ^ bit)
        }
      }
    }
    expect((await open()).lastIndex).toBe(3)
  })

  it('refuses a segment without its first batch, which was durable before the segment had its name', async () => {
    const log = await open({ segmentBytes: 4096 })
    for (let i = 2; i <= 8; i++) await log.append({ entries: [entry(i, 1)] })
    const last = (await segments()).at(-1)!
    for (let i = 0; i < SECTOR_BYTES; i++) disk.damage(last, SECTOR_BYTES + i, () => 0)
    await expect(open({ segmentBytes: 4096 })).rejects.toMatchObject({
      where: last,
      reason: 'the first batch is missing'
    })
  })

  it('refuses a log that lacks a batch before a reset, unless the later segment says that it is a reset', async () => {
    const log = await open()
    await log.append({ entries: [entry(2, 1)] })
    // The segments before a reset stay until they can be removed.
    disk.fail('remove', new Error('EBUSY'))
    await log.append({ reset: SNAPSHOT, entries: [entry(101, 2)] })
    expect(await segments()).toHaveLength(2)
    await zeroSector(SECOND_BATCH)
    await expect(open()).rejects.toThrow(/starts with batch 3, 2 is next/)
  })

  it('makes the name of a segment durable that a killed process left behind', async () => {
    const log = await open({ segmentBytes: 4096 })
    disk.fail('flushDirectory', new Error('killed'))
    const append = async (): Promise<void> => {
      for (let i = 2; ; i++) await log.append({ entries: [entry(i, 1)] })
    }
    await expect(append()).rejects.toThrow(LogFailedError)
    const { lastIndex } = await open({ segmentBytes: 4096 })
    expect(lastIndex).toBe(log.lastIndex + 1)
    disk = disk.crash(() => 0)
    expect((await open({ segmentBytes: 4096 })).lastIndex).toBe(lastIndex)
  })

  it('refuses segments of another format', async () => {
    await open()
    const header = encodeSegmentHeader({ number: 1, firstIndex: 1, firstBatch: 1, identity: 0 })
    // These bytes are the version and the checksum over it.
    header[12] = 1
    new DataView(header.buffer).setUint32(8, crc32c(header.subarray(12)), true)
    for (const [at, byte] of header.entries()) disk.damage(FIRST_SEGMENT, at, () => byte)
    await expect(open()).rejects.toMatchObject({ name: 'VersionMismatchError', found: 1, supported: 2 })
  })
})

async function segments(): Promise<string[]> {
  return (await disk.list()).filter((name) => name.endsWith('.log'))
}
