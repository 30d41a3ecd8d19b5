import { decode, MAX_ENTRY_BYTES, raftConfiguration } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  createMemoryDisk,
  createSegmentedLog,
  LogFailedError,
  LogNotInitializedError,
  SECTOR_BYTES,
  type MemoryDisk,
  type RaftLog
} from '../src/index.js'
import { contentOf, entries, entry } from './support/log-model.js'
import { big, bootstrap, create, openLog, segmentsOf } from './support/log-on-disk.js'
import { seededRandom } from './support/seeded-random.js'

let disk: MemoryDisk
beforeEach(() => {
  disk = createMemoryDisk()
})

describe('logs', () => {
  it('a log rejects a first configuration whose members form no valid cluster', async () => {
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

  it('a log keeps copies of its last entries in memory after a restart, not whole segments', async () => {
    const log = await openLog(disk)
    for (let i = 2; i < 50; i++) await log.append({ entries: entries(i, i, 1) })
    await log.close()
    const again = await openLog(disk)
    for (const { data } of again.entries(2, 50, 1e6)) expect(data.buffer.byteLength).toBe(data.length)
    await again.close()
  })
})

describe('disks that are almost full', () => {
  it('a log on a disk that is almost full reports that the next file finds no space, tries again, and goes on when there is room', async () => {
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

describe('new logs', () => {
  it('a new log starts with the first configuration as entry 1 of term 1, committed', async () => {
    const log = await openLog(disk)
    expect(log.hardState).toEqual({ term: 1, vote: undefined, commit: 1 })
    expect(log.configurations).toHaveLength(1)
    expect(decode(raftConfiguration, log.entries(1, 2, 1000)[0]!.data)).toEqual({
      ...bootstrap,
      outgoing: [],
      learnersNext: []
    })
  })

  it('a new log is made only if a first configuration is given', async () => {
    await expect(createSegmentedLog({ disk })).rejects.toThrow(LogNotInitializedError)
    await openLog(disk)
    await expect(createSegmentedLog({ disk })).resolves.toBeDefined()
  })

  it('22 a wiped voter rejoining under its old id is refused, even if files without content remain', async () => {
    const log = await openLog(disk)
    await log.append(big(2, 100))
    await log.close()
    for (const name of await segmentsOf(disk)) await disk.remove(name)
    expect(await disk.list()).toEqual(['hard-state', 'spare.tmp'])
    await expect(createSegmentedLog({ disk })).rejects.toThrow(LogNotInitializedError)
  })

  it('a new log exists as a whole or not at all after a power loss', async () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = seededRandom(seed)
      const clock = new FakeClock()
      disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
      void openLog(disk)
      await clock.advance(random.next() * 12)
      disk = disk.crash(() => random.next())
      let log: RaftLog | undefined
      void openLog(disk).then((opened) => (log = opened))
      await clock.until(() => log !== undefined, 1000)
      expect(log!.lastIndex).toBe(1)
    }
  })

  it('a new log is made by the start after one or two that lost power, each after any number of operations', async () => {
    const clock = new FakeClock()
    /** Runs a start for that many operations, or until it is done. */
    const start = async (operations: number): Promise<RaftLog | Error | undefined> => {
      let outcome: RaftLog | Error | undefined
      openLog(disk).then(
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

  it('a new log refuses files that belong to another log', async () => {
    await openLog(disk, { identity: 'cluster x, node a' })
    await expect(openLog(disk, { identity: 'cluster x, node b' })).rejects.toThrow(/belongs to another log/)
  })
})

describe('appends', () => {
  it('a log keeps entries and hard state over a restart', async () => {
    const log = await openLog(disk)
    await log.append({ hardState: { term: 2, vote: 'b', commit: 1 }, entries: entries(2, 9, 2) })
    await log.close()
    const again = await openLog(disk)
    expect(contentOf(again)).toEqual(contentOf(log))
    expect(again.hardState).toEqual({ term: 2, vote: 'b', commit: 1 })
    expect([again.term(0), again.term(1), again.term(9), again.term(10)]).toEqual([0, 1, 2, undefined])
  })

  it('a log replaces a conflicting suffix, also over a restart (§5.3)', async () => {
    const log = await openLog(disk, { cacheBytes: 0 })
    await log.append({ entries: entries(2, 6, 1) })
    await log.append({ entries: entries(4, 5, 2) })
    const texts = ['2@1', '3@1', '4@2', '5@2']
    expect(contentOf(log).entries.slice(1)).toEqual([...entries(2, 3, 1), ...entries(4, 5, 2)])
    const again = contentOf(await openLog(disk)).entries.slice(1)
    expect(again.map(({ data }) => String.fromCharCode(...data))).toEqual(texts)
  })

  it('a log puts appends that wait for a flush into the next one (group commit)', async () => {
    const clock = new FakeClock()
    let writes = 0
    disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => (writes++, 1) })
    let log: RaftLog | undefined
    void openLog(disk).then((opened) => (log = opened))
    await clock.until(() => log !== undefined)
    writes = 0
    const order: number[] = []
    for (let i = 2; i < 102; i++) void log!.append({ entries: [entry(i, 1)] }).then(() => order.push(i))
    await clock.advance(1000)
    expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i + 2))
    expect(writes).toBe(2)
  })

  it('a log continues in new segments, and makes larger ones for larger batches', async () => {
    const log = await openLog(disk, { segmentBytes: 4096, cacheBytes: 100 })
    for (let i = 2; i <= 60; i++) await log.append({ entries: [entry(i, 1)] })
    await log.append({
      entries: [{ index: 61, term: 1, kind: 'normal', data: new Uint8Array(MAX_ENTRY_BYTES).fill(3) }]
    })
    await log.append({ entries: [entry(62, 1)] })
    await log.close()
    expect((await disk.list()).filter((name) => name.endsWith('.log')).length).toBeGreaterThan(8)
    const again = await openLog(disk, { segmentBytes: 4096, cacheBytes: 100 })
    expect(again.lastIndex).toBe(62)
    expect(again.entries(61, 62, 1)[0]!.data).toHaveLength(MAX_ENTRY_BYTES)
    await again.append({ entries: [entry(63, 1)] })
    expect(again.entries(63, 64, 1)).toEqual([entry(63, 1)])
  })

  it('a log returns as many entries as fit, but at least one', async () => {
    const log = await openLog(disk, { cacheBytes: 200 })
    await log.append({ entries: entries(2, 50, 1) })
    expect(log.entries(2, 51, 1)).toHaveLength(1)
    expect(log.entries(2, 51, 100)).toHaveLength(4)
    expect(log.entries(40, 51, 1e9).map(({ index }) => index)).toEqual([40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50])
  })
})

describe('failing disks', () => {
  it('a failing disk makes the log reject everything, because a failed flush is never repeated', async () => {
    const log = await openLog(disk)
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

describe('disks that were full for a while', () => {
  it('a disk that was full for a while does no harm if there is room again before the segment ends', async () => {
    const log = await openLog(disk, { segmentBytes: 4096 })
    disk.setCapacity(disk.usedBytes)
    for (let i = 2; i <= 6; i++) await log.append({ entries: [entry(i, 1)] })
    disk.setCapacity(Infinity)
    for (let i = 7; i <= 30; i++) await log.append({ entries: [entry(i, 1)] })
    expect((await openLog(disk, { segmentBytes: 4096 })).lastIndex).toBe(30)
  })
})
