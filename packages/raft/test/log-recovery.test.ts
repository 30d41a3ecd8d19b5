import { CorruptionError } from '@quire/protocol'
import { crc32c } from '@node-rs/crc32'
import { beforeEach, describe, expect, it } from 'vitest'
import { createMemoryDisk, LogFailedError, SECTOR_BYTES, type MemoryDisk } from '../src/index.js'
import { FIRST_BASE } from '../src/log/segment-base.js'
import { encodeSegmentHeader } from '../src/log/segment.js'
import { contentOf, entries, entry } from './support/log-model.js'
import { big, FIRST_SEGMENT, openLog, SECOND_BATCH, segmentsOf, zeroSector } from './support/log-on-disk.js'

const SNAPSHOT = { index: 100, term: 2, configuration: { ...entry(90, 2), kind: 'config' as const } }

let disk: MemoryDisk
beforeEach(() => {
  disk = createMemoryDisk()
})

describe('the recovery of a log', () => {
  it('recovery cuts off a last batch that lacks sectors, and its place can be written again', async () => {
    const log = await openLog(disk)
    await log.append(big(2, 4))
    await zeroSector(disk, SECOND_BATCH + 2 * SECTOR_BYTES)
    const again = await openLog(disk)
    expect(again.lastIndex).toBe(1)
    await again.append({ entries: [entry(2, 1)] })
    expect(contentOf(await openLog(disk)).entries).toHaveLength(2)
  })

  it('recovery cuts off a last batch that lacks its first sector', async () => {
    const log = await openLog(disk)
    await log.append(big(2, 4))
    await zeroSector(disk, SECOND_BATCH)
    expect((await openLog(disk)).lastIndex).toBe(1)
  })

  it('recovery does not take zeros in the data for missing sectors', async () => {
    const log = await openLog(disk)
    await log.append({ entries: [{ index: 2, term: 1, kind: 'normal', data: new Uint8Array(8192) }] })
    disk.damage(FIRST_SEGMENT, SECOND_BATCH + 100, (byte) => byte ^ 1)
    await expect(openLog(disk)).rejects.toMatchObject({ name: 'CorruptionError', offset: SECOND_BATCH })
  })

  it.each([0, 5, 17, 30, 700])(
    'recovery refuses a last batch with a flipped bit at %i, because no torn write leaves that',
    async (at) => {
      const log = await openLog(disk)
      await log.append(big(2, 4))
      disk.damage(FIRST_SEGMENT, SECOND_BATCH + at, (byte) => byte ^ 4)
      await expect(openLog(disk)).rejects.toMatchObject({
        name: 'CorruptionError',
        where: FIRST_SEGMENT,
        offset: SECOND_BATCH
      })
    }
  )

  it.each([0, 1, 2])(
    'recovery refuses a missing sector (%i) before a later batch, because the sector was acknowledged',
    async (sector) => {
      const log = await openLog(disk)
      await log.append(big(2, 4))
      await log.append({ entries: [entry(3, 1)] })
      await zeroSector(disk, SECOND_BATCH + sector * SECTOR_BYTES)
      await expect(openLog(disk)).rejects.toThrow(CorruptionError)
    }
  )

  it('recovery refuses a missing sector before a later segment', async () => {
    const log = await openLog(disk, { segmentBytes: 4096 })
    for (let i = 2; i < 20; i++) await log.append({ entries: [entry(i, 1)] })
    await zeroSector(disk, 7 * SECTOR_BYTES)
    await expect(openLog(disk, { segmentBytes: 4096 })).rejects.toThrow(
      /batch 7 is missing or torn, the next segment starts with 8/
    )
  })

  it.each([0, 8, 13, 21])('recovery refuses a segment with a damaged header (%i)', async (at) => {
    await openLog(disk)
    disk.damage(FIRST_SEGMENT, at, (byte) => byte ^ 1)
    await expect(openLog(disk)).rejects.toThrow(CorruptionError)
  })

  it('recovery refuses a log that lacks a segment', async () => {
    const log = await openLog(disk, { segmentBytes: 4096 })
    for (let i = 2; i < 40; i++) await log.append({ entries: [entry(i, 1)] })
    const names = (await disk.list()).filter((name) => name.endsWith('.log'))
    await disk.remove(names[1]!)
    await expect(openLog(disk, { segmentBytes: 4096 })).rejects.toThrow(/segment 2 is missing/)
  })

  it('recovery refuses a log that ends below its commit index', async () => {
    const log = await openLog(disk)
    await log.append({ entries: entries(2, 9, 1) })
    await log.append({ hardState: { term: 1, vote: undefined, commit: 9 }, entries: [entry(5, 2)] })
    await log.close()
    await expect(openLog(disk)).rejects.toThrow(/ends at 5, 9 was committed/)
  })

  it('a log finds damage of an old entry when it reads that entry', async () => {
    const log = await openLog(disk, { cacheBytes: 0 })
    await log.append(big(2, 4))
    await log.append({ entries: [entry(3, 1)] })
    disk.damage(FIRST_SEGMENT, SECOND_BATCH + 1000, (byte) => byte ^ 1)
    expect(() => log.entries(2, 3, 1)).toThrow(CorruptionError)
  })

  it('39 damage to a committed entry is not a torn tail: the error names file and offset', async () => {
    const log = await openLog(disk)
    await log.append(big(2, 4))
    await log.append(big(3, 4))
    for (const batch of [SECOND_BATCH, SECOND_BATCH + 5 * SECTOR_BYTES]) {
      // All of the header and the bitmap, and samples of the payload. The last batch was acknowledged as well.
      const places = [...Array(64).keys(), ...Array.from({ length: 60 }, (_, i) => 64 + 32 * i)]
      for (const at of places) {
        for (const bit of [1, 128]) {
          disk.damage(FIRST_SEGMENT, batch + at, (byte) => byte ^ bit)
          await expect(openLog(disk)).rejects.toMatchObject({
            name: 'CorruptionError',
            where: FIRST_SEGMENT,
            offset: batch
          })
          disk.damage(FIRST_SEGMENT, batch + at, (byte) => byte ^ bit)
        }
      }
    }
    expect((await openLog(disk)).lastIndex).toBe(3)
  })

  it('recovery refuses a segment without its first batch, which was durable before the segment had its name', async () => {
    const log = await openLog(disk, { segmentBytes: 4096 })
    for (let i = 2; i <= 8; i++) await log.append({ entries: [entry(i, 1)] })
    const last = (await segmentsOf(disk)).at(-1)!
    for (let i = 0; i < SECTOR_BYTES; i++) disk.damage(last, SECTOR_BYTES + i, () => 0)
    await expect(openLog(disk, { segmentBytes: 4096 })).rejects.toMatchObject({
      where: last,
      reason: 'the first batch is missing'
    })
  })

  it('recovery does not read a segment that a reset made obsolete, and removes it whatever it holds', async () => {
    const log = await openLog(disk)
    await log.append({ entries: [entry(2, 1)] })
    // The segments before a reset stay until they can be removed.
    disk.fail('remove', new Error('EBUSY'))
    await log.append({ reset: SNAPSHOT, entries: [entry(101, 2)] })
    expect(await segmentsOf(disk)).toHaveLength(2)
    await zeroSector(disk, SECOND_BATCH)
    const again = await openLog(disk)
    expect([again.firstIndex, again.lastIndex, again.term(100)]).toEqual([101, 101, 2])
    expect(await segmentsOf(disk)).toHaveLength(1)
  })

  it('recovery refuses a log that lacks its last segments before a reset, although these do not count', async () => {
    const log = await openLog(disk, { segmentBytes: 4096 })
    for (let i = 2; i < 20; i++) await log.append({ entries: [entry(i, 1)] })
    disk.fail('remove', new Error('EBUSY'))
    await log.append({ reset: SNAPSHOT, entries: [entry(101, 2)] })
    const names = await segmentsOf(disk)
    await disk.remove(names.at(-2)!)
    await expect(openLog(disk)).rejects.toThrow(/segment \d+ is missing/)
  })

  it('recovery makes the name of a segment durable that a killed process left behind', async () => {
    const log = await openLog(disk, { segmentBytes: 4096 })
    disk.fail('flushDirectory', new Error('killed'))
    const append = async (): Promise<void> => {
      for (let i = 2; ; i++) await log.append({ entries: [entry(i, 1)] })
    }
    await expect(append()).rejects.toThrow(LogFailedError)
    const { lastIndex } = await openLog(disk, { segmentBytes: 4096 })
    expect(lastIndex).toBe(log.lastIndex + 1)
    disk = disk.crash(() => 0)
    expect((await openLog(disk, { segmentBytes: 4096 })).lastIndex).toBe(lastIndex)
  })

  it('recovery refuses a segment that lost its end, even between two batches', async () => {
    const log = await openLog(disk)
    await log.append(big(2, 4))
    const copy = disk.copy()
    disk.cut(FIRST_SEGMENT, SECOND_BATCH)
    await expect(openLog(disk)).rejects.toMatchObject({ name: 'CorruptionError', where: FIRST_SEGMENT })
    copy.cut(FIRST_SEGMENT, SECOND_BATCH + 100)
    await expect(openLog(copy)).rejects.toMatchObject({ name: 'CorruptionError', where: FIRST_SEGMENT })
  })

  it('recovery refuses segments of another format', async () => {
    await openLog(disk)
    const header = encodeSegmentHeader({ number: 1, firstBatch: 1, identity: 0, bytes: 4096, base: FIRST_BASE })
    // These bytes are the version and the checksum over it.
    header[12] = 1
    new DataView(header.buffer).setUint32(8, crc32c(header.subarray(12)), true)
    for (const [at, byte] of header.entries()) disk.damage(FIRST_SEGMENT, at, () => byte)
    await expect(openLog(disk)).rejects.toMatchObject({ name: 'VersionMismatchError', found: 1, supported: 4 })
  })
})
