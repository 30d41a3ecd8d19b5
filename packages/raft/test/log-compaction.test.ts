import { FakeClock } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { createMemoryDisk, createSegmentedLog, type MemoryDisk, type RaftLog } from '../src/index.js'
import { contentOf, entry } from './support/log-model.js'

const create = { bootstrap: { voters: ['a', 'b', 'c'], learners: [], context: new Uint8Array(0) } }
const SNAPSHOT = { index: 100, term: 2, configuration: { ...entry(90, 2), kind: 'config' as const } }

let disk: MemoryDisk
beforeEach(() => {
  disk = createMemoryDisk()
})

function open(): Promise<RaftLog> {
  return createSegmentedLog({ disk, segmentBytes: 4096, create })
}

describe('compaction', () => {
  it('compaction removes whole segments, so that files and configurations depend on the remaining entries', async () => {
    const log = await open()
    for (let i = 2; i <= 500; i++) {
      await log.append({ entries: [entry(i, i)] })
      await log.compact(i - 10)
    }
    expect((await segments()).length).toBeLessThan(4)
    expect(log.firstIndex).toBeGreaterThan(480)
    expect(log.configurations).toHaveLength(1)
    expect(contentOf(log)).toEqual(contentOf(await open()))
  })

  it('compaction leaves a file that cannot be removed, and all later ones, to the next call', async () => {
    const log = await open()
    for (let i = 2; i <= 40; i++) await log.append({ entries: [entry(i, 1)] })
    const before = await segments()
    disk.fail('remove', new Error('EBUSY'))
    await log.compact(39)
    expect(await segments()).toEqual(before)
    expect(log.firstIndex).toBeGreaterThan(30)
    await log.append({ entries: [entry(41, 1)] })
    await log.compact(39)
    expect((await segments()).length).toBeLessThan(3)
    expect((await open()).lastIndex).toBe(41)
  })

  it('an interrupted compaction is continued by the next start', async () => {
    const log = await open()
    disk.fail('remove', new Error('EBUSY'))
    await log.append({ reset: SNAPSHOT, entries: [entry(101, 2)] })
    await log.close()
    expect(await segments()).toHaveLength(2)
    const again = await open()
    expect(await segments()).toHaveLength(1)
    expect([again.firstIndex, again.lastIndex, again.term(100)]).toEqual([101, 101, 2])
  })

  it('compaction makes room on a full disk', async () => {
    const log = await open()
    for (let i = 2; i <= 40; i++) await log.append({ entries: [entry(i, 1)] })
    disk.setCapacity(disk.usedBytes)
    for (let i = 41; i <= 200; i++) {
      await log.compact(i - 5)
      await log.append({ entries: [entry(i, 1)] })
    }
    expect((await open()).lastIndex).toBe(200)
  })

  it('compaction does not make appends and reads wait for a slow disk', async () => {
    const clock = new FakeClock()
    disk = createMemoryDisk({
      schedule: clock.schedule.bind(clock),
      latencyMs: (operation) => (operation === 'remove' ? 1000 : 1)
    })
    const log = await settled(clock, open())
    for (let i = 2; i <= 40; i++) await settled(clock, log.append({ entries: [entry(i, 1)] }))
    const start = clock.now()
    const compacting = log.compact(39)
    await settled(clock, log.append({ entries: [entry(41, 1)] }))
    expect(log.entries(log.firstIndex, 42, 1e6).at(-1)).toEqual(entry(41, 1))
    expect(clock.now() - start).toBeLessThan(10)
    await settled(clock, compacting)
    expect(clock.now() - start).toBeGreaterThan(1000)
  })
})

async function segments(): Promise<string[]> {
  return (await disk.list()).filter((name) => name.endsWith('.log'))
}

async function settled<T>(clock: FakeClock, promise: Promise<T>): Promise<T> {
  let isDone = false
  void promise.finally(() => (isDone = true))
  await clock.until(() => isDone)
  return promise
}
