import { CorruptionError, NoSpaceError } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  createMemoryDisk,
  createSegmentedLog,
  SECTOR_BYTES,
  type LogFullError,
  type LogWrite,
  type MemoryDisk,
  type RaftLog
} from '../src/index.js'
import { entry } from './support/log-model.js'
import { seededRandom } from './support/seeded-random.js'

const create = { bootstrap: { voters: ['a', 'b', 'c'], learners: [], context: new Uint8Array(0) } }
const RESERVE = 'hard-state'
const SNAPSHOT = { index: 100, term: 2, configuration: { ...entry(90, 2), kind: 'config' as const } }
const SEGMENT_SECTORS = 16

let clock: FakeClock
let disk: MemoryDisk
let slowWriteMs = 1
beforeEach(() => {
  clock = new FakeClock()
  slowWriteMs = 1
  disk = createMemoryDisk({
    schedule: clock.schedule.bind(clock),
    latencyMs: (operation) => (operation === 'write' ? slowWriteMs : 1)
  })
})

async function within<T>(promise: Promise<T>): Promise<T> {
  let isSettled = false
  promise.then(
    () => (isSettled = true),
    () => (isSettled = true)
  )
  await clock.until(() => isSettled)
  return promise
}

function open(sectors = SEGMENT_SECTORS): Promise<RaftLog> {
  return within(createSegmentedLog({ disk, segmentBytes: sectors * SECTOR_BYTES, create, clock }))
}

/** An entry that fills that many sectors. */
function big(index: number, sectors: number, term = 1): LogWrite['entries'][number] {
  return { index, term, kind: 'normal', data: new Uint8Array(sectors * SECTOR_BYTES - 100).fill(7) }
}

/** A log on a full disk, with its last segment used up. */
async function full(): Promise<RaftLog> {
  const log = await open()
  disk.setCapacity(disk.usedBytes)
  for (let index = 2; index <= SEGMENT_SECTORS - 1; index++) await within(append(log, { entries: [big(index, 1)] }))
  return log
}

/** Lets the test look at a rejection later. */
function append(log: RaftLog, write: LogWrite): Promise<void> {
  const appended = log.append(write)
  appended.catch(() => {})
  return appended
}

const givenBack = async (appending: Promise<void>): Promise<LogFullError> => {
  const error = await within(appending.catch((reason: unknown) => reason))
  expect(error).toMatchObject({ name: 'LogFullError', code: 'ERR_LOG_FULL', cause: expect.any(NoSpaceError) })
  return error as LogFullError
}

describe('disks without room for another file', () => {
  it('a log whose disk is full gives entries back, stores hard states, and stores the entries when there is room', async () => {
    const log = await full()
    const { lastIndex } = log
    const entries = append(log, {
      hardState: { term: 2, vote: undefined, commit: 1 },
      entries: [big(lastIndex + 1, 1, 2)]
    })
    const vote = append(log, { hardState: { term: 3, vote: 'b', commit: 1 }, entries: [] })
    const more = append(log, { entries: [big(lastIndex + 2, 1, 2)] })
    const { stored, room } = await givenBack(entries)
    expect(stored).toBe(lastIndex)
    await within(vote)
    expect((await givenBack(more)).stored).toBe(lastIndex)
    expect(log).toMatchObject({ lastIndex, hardState: { term: 3, vote: 'b', commit: 1 } })
    let hasRoom = false
    void room.then(() => (hasRoom = true))
    await clock.advance(5000)
    expect(hasRoom).toBe(false)
    disk.setCapacity(Infinity)
    expect(await clock.until(() => hasRoom, 1100)).toBe(true)
    await within(append(log, { entries: [big(lastIndex + 1, 1, 3)] }))
    const again = await open()
    expect(again).toMatchObject({ lastIndex: lastIndex + 1, hardState: { term: 3, vote: 'b', commit: 1 } })
  })

  it('a log gives back entries that follow a refused one, even if they were appended before the caller knew', async () => {
    const log = await full()
    const { lastIndex } = log
    const first = append(log, { entries: [big(lastIndex + 1, 1)] })
    let behind: Promise<void> | undefined
    first.catch(() => {
      behind = append(log, { entries: [big(lastIndex + 2, 1)] })
    })
    await givenBack(first)
    expect((await givenBack(behind!)).stored).toBe(lastIndex)
    expect(log.lastIndex).toBe(lastIndex)
  })

  it('a log gives back entries that follow a refused one, even if there is room before the caller knows', async () => {
    const log = await full()
    const { lastIndex } = log
    await givenBack(append(log, { entries: [big(lastIndex + 1, 1)] }))
    slowWriteMs = 3000
    const first = append(log, { hardState: { term: 3, vote: 'b', commit: 1 }, entries: [big(lastIndex + 1, 1)] })
    await clock.advance(100)
    disk.setCapacity(Infinity)
    await clock.advance(1500)
    const behind = append(log, { entries: [big(lastIndex + 2, 1)] })
    expect((await givenBack(first)).stored).toBe(lastIndex)
    const later = append(log, { entries: [big(lastIndex + 2, 1)] })
    expect((await givenBack(behind)).stored).toBe(lastIndex)
    expect((await givenBack(later)).stored).toBe(lastIndex)
    await within(append(log, { entries: [big(lastIndex + 1, 1), big(lastIndex + 2, 1)] }))
    expect(log).toMatchObject({ lastIndex: lastIndex + 2, hardState: { term: 3, vote: 'b' } })
  })

  it('a log stores nothing that follows a refused entry, however much is appended before the caller knows', async () => {
    const log = await full()
    const { lastIndex } = log
    await givenBack(append(log, { entries: [big(lastIndex + 1, 1)] }))
    slowWriteMs = 3000
    const first = append(log, { hardState: { term: 3, vote: 'b', commit: 1 }, entries: [big(lastIndex + 1, 1)] })
    await clock.advance(100)
    disk.setCapacity(Infinity)
    await clock.advance(1500)
    const behind = [lastIndex + 2, lastIndex + 3, lastIndex].map((index) => append(log, { entries: [big(index, 1)] }))
    for (const each of [first, ...behind.slice(0, 2)]) expect((await givenBack(each)).stored).toBe(lastIndex)
    expect((await givenBack(behind[2]!)).stored).toBe(lastIndex - 1)
    await within(append(log, { entries: [big(lastIndex, 1), big(lastIndex + 1, 1)] }))
    expect(log.lastIndex).toBe(lastIndex + 1)
  })

  it('the creation of a log on a full disk fails with NoSpaceError, and is not tried again', async () => {
    disk.setCapacity(2 * SECTOR_BYTES)
    await expect(open()).rejects.toThrow(NoSpaceError)
    disk.setCapacity(Infinity)
    await clock.advance(5000)
    expect(await within(disk.list())).toEqual([RESERVE])
    expect((await open()).lastIndex).toBe(1)
  })

  it('a log keeps the part of an append that still fits, and says how much that is', async () => {
    const sectors = 3000
    const log = await open(sectors)
    disk.setCapacity(disk.usedBytes)
    // A batch holds a megabyte. The second batch does not fit.
    const appended = append(log, { entries: [big(2, 1500), big(3, 1500), big(4, 1)] })
    expect((await givenBack(appended)).stored).toBe(2)
    expect(log.lastIndex).toBe(2)
    expect((await open(sectors)).lastIndex).toBe(2)
  })

  it('a log on a full disk does not take old entries for those that should replace them', async () => {
    const log = await full()
    const { lastIndex } = log
    const { stored } = await givenBack(append(log, { entries: [big(lastIndex - 1, 1, 2), big(lastIndex, 1, 2)] }))
    expect(stored).toBe(lastIndex - 2)
  })

  it('a log on a full disk gives a reset back, and keeps its content', async () => {
    const log = await full()
    const { lastIndex } = log
    const reset = append(log, { hardState: { term: 2, vote: undefined, commit: 100 }, reset: SNAPSHOT, entries: [] })
    const vote = append(log, { hardState: { term: 3, vote: 'c', commit: 100 }, entries: [] })
    expect((await givenBack(reset)).stored).toBe(0)
    await within(vote)
    expect(log).toMatchObject({ firstIndex: 1, lastIndex })
    // The commit index must not name an entry that only exists after the reset.
    const again = await open()
    expect(again).toMatchObject({ firstIndex: 1, lastIndex, hardState: { term: 3, vote: 'c', commit: lastIndex } })
  })

  it('a log goes on in segments whose bases agree with each other after it used the reserve', async () => {
    const log = await full()
    const { lastIndex } = log
    await givenBack(append(log, { hardState: { term: 4, vote: 'a', commit: 1 }, entries: [big(lastIndex + 1, 1, 4)] }))
    disk.setCapacity(Infinity)
    await clock.advance(1100)
    for (let index = lastIndex + 1; index < lastIndex + 40; index++) {
      await within(append(log, { entries: [big(index, 1, 4)] }))
    }
    await within(append(log, { hardState: { term: 5, vote: undefined, commit: 1 }, entries: [] }))
    expect(await open()).toMatchObject({ lastIndex: lastIndex + 39, hardState: { term: 5, vote: undefined } })
  })

  it('a log has the old hard state or the new one after a power loss in the middle of a write to the reserve', async () => {
    const found = new Set<number>()
    for (let seed = 0; seed < 40; seed++) {
      const random = seededRandom(seed)
      clock = new FakeClock()
      disk = createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
      const log = await full()
      await givenBack(
        append(log, { hardState: { term: 7, vote: 'a', commit: 1 }, entries: [big(log.lastIndex + 1, 1)] })
      )
      void append(log, { hardState: { term: 8, vote: 'b', commit: 1 }, entries: [big(log.lastIndex + 1, 1)] }).catch(
        () => {}
      )
      await clock.advance(random.next() * 2)
      disk = disk.crash(() => random.next())
      const { term, vote } = (await open()).hardState
      expect([
        [7, 'a'],
        [8, 'b']
      ]).toContainEqual([term, vote])
      found.add(term)
    }
    expect(found.size).toBe(2)
  })
})

describe('the reserve for the hard state', () => {
  it('the reserve for the hard state is written again by the start that reads it, because it may not be durable', async () => {
    const log = await full()
    await givenBack(append(log, { hardState: { term: 4, vote: 'a', commit: 1 }, entries: [big(log.lastIndex + 1, 1)] }))
    disk.fail('write', new Error('EIO'))
    await expect(within(append(log, { hardState: { term: 5, vote: 'b', commit: 1 }, entries: [] }))).rejects.toThrow(
      'EIO'
    )
    const found = (await open()).hardState
    expect(found).toMatchObject({ term: 5, vote: 'b' })
    disk = disk.crash(() => 0)
    expect((await open()).hardState).toEqual(found)
  })

  it('the reserve for the hard state is refused if it is damaged, missing, or of another log', async () => {
    const log = await full()
    await givenBack(append(log, { hardState: { term: 4, vote: 'a', commit: 1 }, entries: [big(log.lastIndex + 1, 1)] }))
    for (const at of [0, 9, 13, 20, 40, 400]) {
      disk.damage(RESERVE, at, (byte) => byte ^ 4)
      await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', where: RESERVE })
      disk.damage(RESERVE, at, (byte) => byte ^ 4)
    }
    await open()
    await within(disk.remove(RESERVE))
    await expect(open()).rejects.toThrow(CorruptionError)
    await expect(open()).rejects.toThrow(/hard-state.*missing/)
  })

  it('the error about the reserve names the vote that contradicts the log', async () => {
    const log = await full()
    await givenBack(append(log, { hardState: { term: 4, vote: 'a', commit: 1 }, entries: [big(log.lastIndex + 1, 1)] }))
    disk.setCapacity(Infinity)
    await clock.advance(1100)
    await within(append(log, { hardState: { term: 4, vote: 'b', commit: 1 }, entries: [] }))
    await expect(open()).rejects.toThrow(/a vote for a in term 4, the log has one for b/)
  })
})
