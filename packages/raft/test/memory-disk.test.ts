import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { SECTOR_BYTES } from '../src/log/disk.js'
import { createMemoryDisk, type MemoryDisk } from '../src/log/memory-disk.js'
import { seededRandom } from './support/seeded-random.js'

const SECTORS = 4
const never = (): void => {}

/** A disk whose operations complete only when `clock` advances. */
function slowDisk(clock: FakeClock): MemoryDisk {
  return createMemoryDisk({ schedule: clock.schedule.bind(clock), latencyMs: () => 1 })
}

async function made(clock: FakeClock, disk: MemoryDisk, ...names: string[]): Promise<void> {
  for (const name of names) void disk.create(name, SECTORS * SECTOR_BYTES)
  await clock.advance(2)
  void disk.flushDirectory()
  await clock.advance(2)
}

async function listOf(clock: FakeClock, disk: MemoryDisk): Promise<string[]> {
  const listing = disk.list()
  await clock.advance(2)
  return listing
}

describe('power losses', () => {
  it('a power loss may bring back a file whose removal was not flushed', async () => {
    const found = new Set<string>()
    for (let seed = 0; seed < 50; seed++) {
      const clock = new FakeClock()
      const disk = slowDisk(clock)
      await made(clock, disk, 'a', 'b')
      void disk.remove('a')
      void disk.remove('b')
      await clock.advance(2)
      expect(await listOf(clock, disk)).toEqual([])
      found.add(
        (
          await listOf(
            clock,
            disk.crash(() => seededRandom(seed).next())
          )
        ).join()
      )
    }
    // A crash keeps any number of the first changes, so it never keeps b without a.
    expect([...found].sort()).toEqual(['', 'a,b', 'b'])
  })

  it('a power loss keeps any sectors of several writes under way, in any order', async () => {
    const found = new Set<string>()
    for (let seed = 0; seed < 2000; seed++) {
      const clock = new FakeClock()
      const disk = slowDisk(clock)
      await made(clock, disk, 'a')
      const opening = disk.open('a')
      await clock.advance(2)
      const file = await opening
      for (const byte of [1, 2]) {
        file.write(0, new Uint8Array(2 * SECTOR_BYTES).fill(byte)).then(() => expect.unreachable(), never)
      }
      const random = seededRandom(seed)
      const reopening = disk.crash(() => random.next()).open('a')
      await clock.advance(2)
      const bytes = (await reopening).read(0, 2 * SECTOR_BYTES)
      found.add(`${bytes[0]}${bytes[SECTOR_BYTES]}`)
    }
    expect([...found].sort()).toEqual(['00', '01', '02', '10', '11', '12', '20', '21', '22'])
  })
})

describe('power losses while a file is made', () => {
  it('a power loss while a file is made leaves no file, an empty one, or any part of it', async () => {
    const found = new Set<number | undefined>()
    for (let seed = 0; seed < 200; seed++) {
      const clock = new FakeClock()
      const disk = slowDisk(clock)
      disk.create('a', SECTORS * SECTOR_BYTES).then(() => expect.unreachable(), never)
      await clock.advance(0.5)
      const random = seededRandom(seed)
      const left = disk.crash(() => random.next())
      if (!(await listOf(clock, left)).includes('a')) {
        found.add(undefined)
        continue
      }
      const opening = left.open('a')
      await clock.advance(2)
      found.add((await opening).bytes / SECTOR_BYTES)
    }
    expect(found).toEqual(new Set([undefined, 0, 1, 2, 3, 4]))
  })
})

describe('injected failures', () => {
  it('an injected failure hits the next operations of its kind, and no later ones', async () => {
    const disk = createMemoryDisk()
    const file = await disk.create('a', SECTOR_BYTES)
    disk.fail('remove', new Error('EBUSY'))
    disk.fail('write', new Error('EIO'), 2)
    disk.fail('flushDirectory', new Error('EIO'))
    await expect(disk.remove('a')).rejects.toThrow('EBUSY')
    await expect(file.write(0, new Uint8Array(SECTOR_BYTES))).rejects.toThrow('EIO')
    await expect(file.write(0, new Uint8Array(SECTOR_BYTES))).rejects.toThrow('EIO')
    await file.write(0, new Uint8Array(SECTOR_BYTES))
    await expect(disk.flushDirectory()).rejects.toThrow('EIO')
    expect(await disk.list()).toEqual(['a'])
    await disk.remove('a')
    expect(await disk.list()).toEqual([])
  })
})
