import { FakeClock } from '@quire/testing'
import pino from 'pino'
import { describe, expect, it } from 'vitest'
import { DiskWatch, type DiskSpace } from '../src/peer/disk-watch.js'
import { LonePeer } from './support/lone-peer.js'

const MIB = 2 ** 20
const GIB = 2 ** 30

/** Watches a disk whose free space a test sets. */
function watched(totalBytes: number) {
  const clock = new FakeClock()
  const disk: { space: DiskSpace | undefined } = { space: { freeBytes: totalBytes, totalBytes } }
  const changes: boolean[] = []
  const lines: { readonly msg: string; readonly level: number }[] = []
  const logger = pino({}, { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[number]) })
  const watch = new DiskWatch({ space: () => disk.space, clock, onChange: (isLow) => changes.push(isLow), logger })
  watch.start()
  const free = async (freeBytes: number): Promise<boolean> => {
    disk.space = { freeBytes, totalBytes }
    await clock.advance(10_000)
    return watch.status()!.low
  }
  return { clock, disk, changes, lines, watch, free }
}

describe('the watch of a disk', () => {
  it.each([
    ['a small file system', GIB, 256 * MIB],
    ['one of usual size', 20 * GIB, 2 * GIB],
    ['a large one', 1000 * GIB, 4 * GIB]
  ])('space is low below a limit that follows the size: %s', async (_, totalBytes, limit) => {
    const { free } = watched(totalBytes)
    expect(await free(limit)).toBe(false)
    expect(await free(limit - 1)).toBe(true)
  })

  it('space is enough again a quarter above the limit, and each change is told and logged once', async () => {
    const { free, changes, lines } = watched(20 * GIB)
    expect(await free(GIB)).toBe(true)
    expect(await free(GIB / 2)).toBe(true)
    expect(await free(2.4 * GIB)).toBe(true)
    expect(await free(2.5 * GIB)).toBe(false)
    expect(await free(2.4 * GIB)).toBe(false)
    expect(changes).toEqual([true, false])
    expect(lines.map(({ msg, level }) => [level, msg])).toEqual([
      [40, 'the disk is almost full: the log keeps less for other peers'],
      [30, 'the disk has enough space again']
    ])
  })

  it('nothing changes while the space is unknown, and the watch ends', async () => {
    const { free, disk, watch, clock } = watched(20 * GIB)
    await free(GIB)
    disk.space = undefined
    await clock.advance(20_000)
    expect(watch.status()).toBeUndefined()
    expect(await free(GIB)).toBe(true)
    watch.stop()
    expect(clock.pending).toBe(0)
  })
})

it('a peer whose disk is almost full drops what its log retained for others, and retains nothing until there is space', async () => {
  const totalBytes = 20 * GIB
  let freeBytes = totalBytes
  const peer = new LonePeer({
    replicaLimits: { segmentBytes: 8192, checkpointIntervalMs: 100 },
    diskSpace: () => ({ freeBytes, totalBytes })
  })
  await peer.start()
  const { log } = peer.peers[0]!
  await peer.store(60)
  const { lastIndex } = log
  await peer.clock.advance(10_000)
  expect(log.firstIndex).toBe(1)
  expect(peer.core.status().disk).toEqual({ freeBytes, totalBytes, low: false })
  freeBytes = GIB
  await peer.until(() => log.firstIndex > lastIndex - 40)
  expect(peer.core.status().disk).toMatchObject({ low: true })
  await peer.store(60)
  await peer.until(() => log.firstIndex > log.lastIndex - 40)
  freeBytes = totalBytes
  await peer.until(() => peer.core.status().disk?.low === false)
  const { firstIndex } = log
  await peer.store(60)
  await peer.clock.advance(1_000)
  expect(log.firstIndex).toBe(firstIndex)
  await peer.stop()
})

it('a new peer starts on a disk that is almost full', async () => {
  const peer = new LonePeer({ diskSpace: () => ({ freeBytes: GIB, totalBytes: 20 * GIB }) })
  await peer.start()
  expect(peer.core.status().disk).toMatchObject({ low: true })
  await peer.store(1)
  expect(peer.fatal).toEqual([])
  await peer.stop()
})
