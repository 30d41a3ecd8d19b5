/** The start of a log with many segments: docs/raft.md, "The log on disk", Start. */
import { beforeEach, describe, expect, it } from 'vitest'
import {
  createMemoryDisk,
  createSegmentedLog,
  SECTOR_BYTES,
  type Entry,
  type LogWrite,
  type MemoryDisk,
  type RaftLog
} from '../src/index.js'
import { encodeBatch, readBatchHeader } from '../src/log/batch.js'
import { readSegmentHeader, segmentHeaderBytes } from '../src/log/segment.js'
import { watched } from './support/log-adapters.js'
import { contentOf, entries, entry } from './support/log-model.js'
import { create, segmentsOf } from './support/log-on-disk.js'
import { seededRandom } from './support/seeded-random.js'

const SEGMENT_BYTES = 64 * 1024
/** Has room for several extents that one read takes. */
const LARGE_SEGMENT_BYTES = 1024 * 1024
/** What a start reads of each segment, if its header fits. */
const HEADER_READ_BYTES = 4096
const SNAPSHOT = { index: 5000, term: 9, configuration: { ...entry(4990, 9), kind: 'config' as const } }

let disk: MemoryDisk
/** Bytes that were read since `open`, by file. */
let read: Map<string, number>

beforeEach(() => {
  disk = createMemoryDisk()
})

function open(segmentBytes = SEGMENT_BYTES): Promise<RaftLog> {
  read = new Map()
  const counted = watched(disk, { onRead: (bytes, name) => read.set(name, (read.get(name) ?? 0) + bytes) })
  return createSegmentedLog({ disk: counted, segmentBytes, cacheBytes: 1024, create })
}

async function reopen(log: RaftLog): Promise<RaftLog> {
  await log.close()
  return open()
}

/** A write of one entry with all earlier ones committed. A segment has room for about 15 of them. */
function write(index: number, term: number, change: Partial<Entry> = {}): LogWrite {
  const data = new Uint8Array(4000).fill(index % 251)
  return {
    hardState: { term, vote: 'a', commit: index - 1 },
    entries: [{ index, term, kind: 'normal', data, ...change }]
  }
}

/** Appends up to `last`, with a new term at each 40th entry, and at each 50th one two configurations in a row. */
async function fill(log: RaftLog, last: number): Promise<void> {
  for (let index = log.lastIndex + 1; index <= last; index++) {
    const kind = index % 50 < 2 ? ('config' as const) : ('normal' as const)
    const data = new Uint8Array(kind === 'config' ? 100 : 4000).fill(index % 251)
    await log.append(write(index, 1 + Math.floor(index / 40), { kind, data }))
  }
}

/** A log with entries up to `last`. */
async function filled(last: number): Promise<RaftLog> {
  const log = await open()
  await fill(log, last)
  return log
}

/** Everything that a log knows without its disk. */
function facts(log: RaftLog): unknown {
  const { firstIndex, lastIndex, hardState, bytes, configurations } = log
  const terms = Array.from({ length: lastIndex - firstIndex + 2 }, (_, i) => log.term(firstIndex - 1 + i))
  return { firstIndex, lastIndex, hardState, bytes, configurations, terms }
}

function bytesRead(): number {
  return [...read.values()].reduce((sum, bytes) => sum + bytes, 0)
}

function contentOfFile(name: string): Uint8Array {
  const file = disk.openForReading(name)
  // Zeros follow the end of a smaller file.
  const bytes = file.read(0, LARGE_SEGMENT_BYTES)
  file.close()
  return bytes
}

type Batches = readonly { readonly number: number; readonly offset: number; readonly bytes: number }[]

/** The first entry of a segment, and the batches in it. */
function batchesIn(name: string): { readonly firstIndex: number; readonly batches: Batches } {
  const file = contentOfFile(name)
  const { base } = readSegmentHeader(name, file)
  const batches = []
  for (let offset = segmentHeaderBytes(name, file); ;) {
    const header = readBatchHeader(file.subarray(offset))
    if (header === undefined) return { firstIndex: base.prevIndex + 1, batches }
    const bytes = header.sectors * SECTOR_BYTES
    batches.push({ number: header.number, offset, bytes })
    offset += bytes
  }
}

describe('the start of a log with many segments', () => {
  it.each([100, 400, 1600])(
    'a start reads the headers of old segments and all of the last one: %i entries',
    async (last) => {
      await (await filled(last)).close()
      const names = await segmentsOf(disk)
      const log = await open()
      expect(log.lastIndex).toBe(last)
      expect(names.length).toBeGreaterThan(last / 18)
      const old = names.slice(0, -1).map((name) => read.get(name))
      expect(old).toEqual(old.map(() => HEADER_READ_BYTES))
      // The last segment's header, all of it, and the last batch, which is written once more. Then the reserve.
      const rewritten = batchesIn(names.at(-1)!).batches.at(-1)!.bytes
      const rest = HEADER_READ_BYTES + SEGMENT_BYTES + rewritten + SECTOR_BYTES
      expect(bytesRead()).toBe(old.length * HEADER_READ_BYTES + rest)
    }
  )

  it('a start reads as much of old segments with many small batches as of those with few large ones', async () => {
    const totals: number[] = []
    for (const [size, count] of [
      [10, 1500],
      [30_000, 30]
    ] as const) {
      disk = createMemoryDisk()
      const log = await open()
      for (let index = 2; index <= count; index++) await log.append(write(index, 1, { data: new Uint8Array(size) }))
      await log.close()
      await (await open()).close()
      const old = (await segmentsOf(disk)).slice(0, -1)
      expect(old.length).toBeGreaterThan(5)
      totals.push(Math.max(...old.map((name) => read.get(name)!)))
    }
    expect(totals).toEqual([HEADER_READ_BYTES, HEADER_READ_BYTES])
  })

  it('a start reads a header that is larger than usual as a whole', async () => {
    let log = await open()
    for (let index = 2; index <= 40; index++) await log.append(write(index, index, { kind: 'config' }))
    const before = facts(log)
    log = await reopen(log)
    expect(facts(log)).toEqual(before)
    expect(log.configurations).toHaveLength(40)
  })

  it('a log knows its terms, configurations and size after a start without reading old segments', async () => {
    let log = await filled(400)
    const before = facts(log)
    log = await reopen(log)
    const atStart = bytesRead()
    expect(facts(log)).toEqual(before)
    expect(bytesRead()).toBe(atStart)
  })

  it('a read of an old entry reads batches of 256 KiB at most, and nothing else', async () => {
    let log = await open(LARGE_SEGMENT_BYTES)
    for (let index = 2; index <= 2000; index++) await log.append(write(index, 1))
    await log.close()
    log = await open(LARGE_SEGMENT_BYTES)
    read.clear()
    expect(log.entries(1000, 1001, 1)).toEqual(write(1000, 1).entries)
    const [[name, bytes]] = [...read] as [[string, number]]
    expect(name).toBe((await segmentsOf(disk)).findLast((each) => batchesIn(each).firstIndex <= 1000))
    expect(bytes).toBeGreaterThan(200 * 1024)
    expect(bytes).toBeLessThanOrEqual(256 * 1024)
    // A follower that catches up reads each byte once.
    read.clear()
    for (let next = 1; next < 1500; next += log.entries(next, 1500, 50_000).length);
    expect(bytesRead()).toBeGreaterThan(1500 * 4096 - 10_000)
    expect(bytesRead()).toBeLessThan(1600 * 4096)
  })

  it('a read of an old entry in a batch of more than 256 KiB reads that batch', async () => {
    let log = await open(LARGE_SEGMENT_BYTES)
    for (let index = 2; index <= 20; index++) await log.append(write(index, 1, { data: new Uint8Array(300_000) }))
    await log.close()
    log = await open(LARGE_SEGMENT_BYTES)
    read.clear()
    expect(log.entries(7, 8, 1)).toHaveLength(1)
    expect(bytesRead()).toBe(Math.ceil(300_200 / SECTOR_BYTES) * SECTOR_BYTES)
  })

  it('entries that are needed from some index on are read without the segments before', async () => {
    const log = await reopen(await filled(400))
    read.clear()
    for (let next = 300; next <= 400; next += log.entries(next, 401, 20_000).length);
    const names = await segmentsOf(disk)
    const holder = names.findLastIndex((name) => batchesIn(name).firstIndex <= 300)
    // The last entries are in memory.
    expect([...read.keys()]).toEqual(names.slice(holder, holder + read.size))
    expect(read.size).toBeGreaterThan(5)
  })

  it('a start reads the segments with entries that are not known to be committed', async () => {
    const log = await filled(200)
    const { hardState } = log
    for (let index = 201; index <= 260; index++) await log.append({ ...write(index, 6), hardState })
    await log.close()
    await open()
    const names = await segmentsOf(disk)
    const whole = names.filter((name) => read.get(name)! >= SEGMENT_BYTES)
    const firsts = names.map((name) => batchesIn(name).firstIndex)
    const holder = firsts.findLastIndex((first) => first <= hardState.commit + 1)
    expect(whole).toEqual(names.slice(holder))
    expect(whole.length).toBeGreaterThan(3)
  })

  it('a log that cannot open an old segment after a start returns nothing, and the entries later', async () => {
    const log = await reopen(await filled(200))
    disk.setDescriptors(0)
    expect(log.entries(50, 52, 1e6)).toEqual([])
    expect(log.term(50)).toBe(2)
    disk.setDescriptors(Infinity)
    expect(log.entries(50, 52, 1e6).map(({ index }) => index)).toEqual([50, 51])
  })
})

/** A log of 200 entries, and its fourth segment, in which each batch holds one entry. */
async function damaged(damage: (name: string, batches: Batches) => void) {
  const log = await open()
  for (let index = 2; index <= 200; index++) await log.append(write(index, 1))
  await log.close()
  const name = (await segmentsOf(disk))[3]!
  const { firstIndex, batches } = batchesIn(name)
  damage(name, batches)
  return { log: await open(), name, firstIndex, batches }
}

/** Puts another whole batch in the place of the last one. Its entry replaces the one before. */
function replaceLast(name: string, batches: Batches): void {
  const { firstIndex } = batchesIn(name)
  const { number, offset, bytes } = batches.at(-1)!
  const other = encodeBatch(number, {
    hardState: undefined,
    entries: write(firstIndex + batches.length - 2, 6).entries
  })
  expect(other).toHaveLength(bytes)
  for (const [i, byte] of other.entries()) disk.damage(name, offset + i, () => byte)
}

function zero(name: string, from: number, to: number): void {
  for (let at = from; at < to; at++) disk.damage(name, at, () => 0)
}

describe('damage in old segments', () => {
  /** Expects that a start succeeds, and that a read of any entry of the segment names it and batch `found`. */
  async function expectFound(damage: Parameters<typeof damaged>[0], found: number): Promise<void> {
    const { log, name, firstIndex, batches } = await damaged(damage)
    expect(log.lastIndex).toBe(200)
    const error = expect.objectContaining({ name: 'CorruptionError', where: name, offset: batches[found]!.offset })
    // Entries before the damage as well, and each time.
    for (const at of [0, 4, 12, 0]) {
      expect(() => log.entries(firstIndex + at, firstIndex + at + 1, 1)).toThrow(error)
    }
    expect(() => log.entries(firstIndex - 1, firstIndex + 1, 1e6)).toThrow(error)
    expect(log.entries(firstIndex - 1, firstIndex, 1)).toHaveLength(1)
    expect(log.entries(firstIndex + batches.length, firstIndex + batches.length + 1, 1)).toHaveLength(1)
  }

  it.each([0, 5, 17, 30, 1700])(
    'a flipped bit at %i of a batch is found when an entry of the segment is read',
    async (at) => {
      await expectFound((name, batches) => disk.damage(name, batches[4]!.offset + at, (byte) => byte ^ 4), 4)
    }
  )

  it.each([0, 1, 5])('a batch without sector %i is not taken for a torn one', async (sector) => {
    await expectFound((name, batches) => {
      const from = batches[4]!.offset + sector * SECTOR_BYTES
      zero(name, from, from + SECTOR_BYTES)
    }, 4)
  })

  it('a segment that lost its last batches, as an old copy of it has, is not taken for a shorter one', async () => {
    await expectFound((name, batches) => zero(name, batches[9]!.offset, SEGMENT_BYTES), 9)
  })

  it('a segment without any batch is not taken for an empty one', async () => {
    await expectFound((name, batches) => zero(name, batches[0]!.offset, SEGMENT_BYTES), 0)
  })

  it('a segment with whole batches that are not those of the log is refused', async () => {
    const { log, name, firstIndex } = await damaged(replaceLast)
    expect(() => log.entries(firstIndex, firstIndex + 1, 1)).toThrow(
      expect.objectContaining({ where: name, reason: expect.stringMatching(/^the entries before end below \d+$/) })
    )
  })

  it('damage is found when an entry near it is read; entries further away are read all the same', async () => {
    let log = await open(LARGE_SEGMENT_BYTES)
    for (let index = 2; index <= 1000; index++) await log.append(write(index, 1))
    await log.close()
    const name = (await segmentsOf(disk))[1]!
    const { firstIndex, batches } = batchesIn(name)
    const { offset } = batches[100]!
    disk.damage(name, offset + 1000, (byte) => byte ^ 1)
    log = await open(LARGE_SEGMENT_BYTES)
    const readable = (index: number): boolean => {
      try {
        return log.entries(index, index + 1, 1).length === 1
      } catch (error) {
        expect(error).toMatchObject({ name: 'CorruptionError', where: name, offset })
        return false
      }
    }
    const unreadable = batches.map((_, i) => i).filter((i) => !readable(firstIndex + i))
    expect(unreadable).toContain(100)
    expect(unreadable.length).toBeLessThan(70)
    expect(log.lastIndex).toBe(1000)
  })

  it.each<[string, RegExp, (name: string, batches: Batches) => void]>([
    [
      'a flipped bit',
      /^bad batch checksum$/,
      (name, batches) => disk.damage(name, batches[3]!.offset + 999, (byte) => byte ^ 1)
    ],
    [
      'a lost sector',
      /^batch \d+ is missing or torn/,
      (name, batches) => zero(name, batches[3]!.offset + SECTOR_BYTES, batches[3]!.offset + 2 * SECTOR_BYTES)
    ],
    [
      'its last batches lost',
      /^batch \d+ is missing or torn/,
      (name, batches) => zero(name, batches[9]!.offset, SEGMENT_BYTES)
    ],
    ['another last batch', /^its batches contradict/, replaceLast]
  ])(
    'a start refuses a segment with entries that are not known to be committed, and with %s',
    async (_, reason, damage) => {
      const log = await filled(200)
      const { hardState } = log
      for (let index = 201; index <= 260; index++) await log.append({ ...write(index, 6), hardState })
      await log.close()
      const name = (await segmentsOf(disk)).at(-3)!
      damage(name, batchesIn(name).batches)
      await expect(open()).rejects.toMatchObject({
        name: 'CorruptionError',
        where: name,
        reason: expect.stringMatching(reason)
      })
    }
  )

  it.each([0, 8, 13, 25, 60])('a start refuses an old segment with a damaged header (%i)', async (at) => {
    await (await filled(200)).close()
    const name = (await segmentsOf(disk))[3]!
    disk.damage(name, at, (byte) => byte ^ 1)
    await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', where: name })
  })

  it('a start refuses an old segment that lost its end', async () => {
    await (await filled(200)).close()
    const name = (await segmentsOf(disk))[3]!
    disk.cut(name, SEGMENT_BYTES - SECTOR_BYTES)
    await expect(open()).rejects.toMatchObject({ where: name, offset: SEGMENT_BYTES - SECTOR_BYTES })
  })

  it('a start refuses an old segment under the name of another', async () => {
    await (await filled(200)).close()
    const names = await segmentsOf(disk)
    await disk.rename(names[4]!, names[3]!)
    await disk.rename(names.at(-1)!, names[4]!)
    await expect(open()).rejects.toMatchObject({ where: names[3], reason: expect.stringMatching(/its header names/) })
  })
})

describe('changes of a log after its start', () => {
  it('the log is truncated to below the last segments, up to what is committed', async () => {
    for (const commit of [199, 150, 120]) {
      disk = createMemoryDisk()
      let log = await filled(commit + 1)
      const { hardState } = log
      for (let index = commit + 2; index <= 260; index++) await log.append({ ...write(index, 9), hardState })
      log = await reopen(log)
      await log.append({ hardState: { ...hardState, term: 10 }, entries: [entry(commit + 1, 10)] })
      const before = facts(log)
      expect(log.lastIndex).toBe(commit + 1)
      log = await reopen(log)
      expect(facts(log)).toEqual(before)
      expect(contentOf(log).entries.map(({ index }) => index)).toEqual(
        Array.from({ length: commit + 1 }, (_, i) => i + 1)
      )
      expect(log.entries(commit + 1, commit + 2, 1)).toEqual([entry(commit + 1, 10)])
    }
  })

  it('the log starts anew after a snapshot', async () => {
    let log = await reopen(await filled(200))
    const state = { term: 9, vote: undefined, commit: 5000 }
    await log.append({ reset: SNAPSHOT, hardState: state, entries: [entry(5001, 9)] })
    log = await reopen(log)
    expect(await segmentsOf(disk)).toHaveLength(1)
    expect([log.firstIndex, log.lastIndex, log.term(5000)]).toEqual([5001, 5001, 9])
    expect(log.configurations).toEqual([SNAPSHOT.configuration])
  })

  it('the log is compacted without reading old segments, and keeps the bytes that it must', async () => {
    let log = await reopen(await filled(400))
    const atStart = bytesRead()
    const { bytes } = log
    await log.compact(300, 0)
    expect(log.firstIndex).toBeGreaterThan(280)
    expect(log.firstIndex).toBeLessThan(302)
    await log.compact(390, 30 * 4096)
    const kept = 400 - log.firstIndex + 1
    expect(kept).toBeGreaterThanOrEqual(30)
    expect(kept).toBeLessThan(60)
    expect(bytesRead()).toBe(atStart)
    expect(log.bytes).toBeLessThan(bytes / 5)
    const before = facts(log)
    const content = contentOf(log)
    log = await reopen(log)
    expect(facts(log)).toEqual(before)
    expect(contentOf(log)).toEqual(content)
  })

  it('a log whose last segment holds only hard states is compacted, and goes on', async () => {
    let log = await filled(100)
    const segments = async (): Promise<number> => (await segmentsOf(disk)).length
    const before = await segments()
    for (let term = 10; (await segments()) === before; term++) {
      await log.append({ hardState: { term, vote: 'a', commit: 100 }, entries: [] })
    }
    log = await reopen(log)
    const known = facts(log)
    await log.compact(50)
    expect(log.firstIndex).toBeGreaterThan(30)
    await log.append(write(101, 900))
    expect(log.entries(99, 102, 1e6).map(({ index }) => index)).toEqual([99, 100, 101])
    expect(facts(log)).toMatchObject({ lastIndex: 101, configurations: (known as RaftLog).configurations.slice(-4) })
    await log.compact(100)
    expect([log.firstIndex, log.lastIndex, log.term(100)]).toEqual([101, 101, 3])
    expect(contentOf(await reopen(log)).entries).toEqual(write(101, 900).entries)
  })

  it('the configuration in force is known at each base to which the log is compacted', async () => {
    const configs = (await filled(400)).configurations
    const log = await open()
    for (let index = 20; index < 400; index += 13) {
      await log.compact(index)
      const inForce = configs.findLast((config) => config.index < log.firstIndex)
      expect(log.configurations).toEqual(configs.filter((config) => config.index >= inForce!.index))
    }
  })

  it('the log is what it would be without restarts, after any changes', async () => {
    for (let seed = 0; seed < 40; seed++) {
      disk = createMemoryDisk()
      const random = seededRandom(seed)
      const below = (limit: number): number => Math.floor(random.next() * limit)
      let log = await open(8 * 1024)
      let all: Entry[] = log.entries(1, 2, 1).slice()
      for (let step = 0; step < 60; step++) {
        const { term, commit } = log.hardState
        const first = below(3) === 0 ? commit + 1 + below(log.lastIndex - commit + 1) : log.lastIndex + 1
        const added = entries(first, first + below(20), term + 1).map((each) =>
          below(9) === 0 ? { ...each, kind: 'config' as const } : each
        )
        // Most of the time nearly everything is committed, so that a start reads little.
        const committed = below(4) === 0 ? commit : Math.max(commit, first - 1 - below(3))
        await log.append({ hardState: { term: term + 1, vote: 'b', commit: committed }, entries: added })
        all = [...all.filter(({ index }) => index < first), ...added]
        if (below(8) === 0) await log.compact(committed, below(2) * 2000)
        if (below(3) === 0) {
          const before = facts(log)
          await log.close()
          log = await open(8 * 1024)
          expect(facts(log)).toEqual(before)
        }
        if (below(3) === 0) {
          const from = log.firstIndex + below(log.lastIndex - log.firstIndex + 1)
          expect(log.entries(from, log.lastIndex + 1, 1e6)).toEqual(all.filter(({ index }) => index >= from))
        }
      }
      expect(contentOf(log).entries).toEqual(all.filter(({ index }) => index >= log.firstIndex))
      expect(log.configurations.filter(({ index }) => index >= log.firstIndex)).toEqual(
        all.filter(({ index, kind }) => index >= log.firstIndex && kind === 'config')
      )
      await log.close()
    }
  })
})
