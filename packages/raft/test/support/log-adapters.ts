/** Adapters of this package's logs for the compliance suite: with small limits, on storages that fail on demand. */
import { mkdtemp, open as openFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NoDescriptorsError, NoSpaceError } from '@quire/protocol'
import { LogNotInitializedError } from '../../src/errors.js'
import type { LogAdapter } from '../../src/log-compliance/index.js'
import type { Disk, DiskFile, ReadFile } from '../../src/log/disk.js'
import { createMemoryDisk, type MemoryDisk } from '../../src/log/memory-disk.js'
import { createMemoryLog, type MemoryLog } from '../../src/log/memory-log.js'
import { createSegmentedLog } from '../../src/log/segmented-log.js'
import { createNodeDisk } from '../../src/node-disk.js'
import { seededRandom } from './seeded-random.js'

const clock = {
  schedule: (delayMs: number, callback: () => void): (() => void) => {
    let isWanted = true
    afterTurns(delayMs / 100, () => {
      if (isWanted) callback()
    })
    return () => {
      isWanted = false
    }
  }
}

const LIMITS = { segmentBytes: 8 * 1024, cacheBytes: 1024, identity: 'compliance', clock }

/** Latency in turns of the event loop. */
export function afterTurns(turns: number, callback: () => void): void {
  setImmediate(() => (turns >= 1 ? afterTurns(turns - 1, callback) : callback()))
}

function fewTurns(): () => number {
  const random = seededRandom(1)
  return () => Math.floor(random.next() * 3)
}

export const memoryLog: LogAdapter<{ log?: MemoryLog }> = {
  name: 'createMemoryLog',
  createStorage: () => ({}),
  open: async (storage, create) => {
    if (storage.log === undefined) {
      if (create === undefined) throw new LogNotInitializedError()
      storage.log = createMemoryLog({ create, schedule: afterTurns, latencyMs: fewTurns() })
    } else {
      storage.log = storage.log.crash(() => 0)
    }
    return storage.log
  },
  powerLoss: (storage, random) => {
    storage.log = storage.log?.crash(random)
  },
  failNextWrite: ({ log }) => log!.failNextWrite(new Error('EIO'))
}

interface Memory {
  disk: MemoryDisk
  bytesRead: number
  mostOpen: number
}

export const segmentedLogInMemory: LogAdapter<Memory> = {
  name: 'createSegmentedLog on createMemoryDisk',
  createStorage: () => ({
    disk: createMemoryDisk({ schedule: afterTurns, latencyMs: fewTurns() }),
    bytesRead: 0,
    mostOpen: 0
  }),
  open: (storage, create) =>
    createSegmentedLog({
      disk: watched(storage.disk, {
        onRead: (bytes) => (storage.bytesRead += bytes),
        onOpened: () => (storage.mostOpen = Math.max(storage.mostOpen, storage.disk.openFiles))
      }),
      create,
      ...LIMITS
    }),
  powerLoss: (storage, random) => {
    storage.disk = storage.disk.crash(random)
  },
  failNextWrite: ({ disk }) => disk.fail('write', new Error('EIO')),
  setFull: ({ disk }, isFull) => disk.setCapacity(isFull ? disk.usedBytes : Infinity),
  flipBit: async ({ disk }, random) => {
    const names = (await disk.list()).filter((name) => name.endsWith('.log'))
    const name = names[Math.floor(random() * names.length)]!
    const bit = 1 << Math.floor(random() * 8)
    disk.damage(name, Math.floor(random() * LIMITS.segmentBytes), (byte) => byte ^ bit)
  },
  bytesRead: (storage) => storage.bytesRead,
  openFiles: ({ disk, mostOpen }) => ({ now: disk.openFiles, most: mostOpen }),
  setDescriptors: ({ disk }, isShort) => disk.setDescriptors(isShort ? 0 : Infinity)
}

interface Files {
  readonly directory: string
  isFull: boolean
  isShort: boolean
  open: number
  mostOpen: number
  failsNext: boolean
  bytesRead: number
}

export const segmentedLogOnFiles: LogAdapter<Files> = {
  name: 'createSegmentedLog on createNodeDisk',
  createStorage: async () => ({
    directory: await mkdtemp(join(tmpdir(), 'quire-log-')),
    isFull: false,
    isShort: false,
    open: 0,
    mostOpen: 0,
    failsNext: false,
    bytesRead: 0
  }),
  open: (storage, create) => {
    const disk = watched(createNodeDisk(storage.directory), {
      onRead: (bytes) => (storage.bytesRead += bytes),
      onCreate: (name) => {
        if (storage.isFull) throw new NoSpaceError(name)
      },
      onOpen: (name) => {
        if (storage.isShort) throw new NoDescriptorsError(name, 'EMFILE')
      },
      onOpened: () => (storage.mostOpen = Math.max(storage.mostOpen, ++storage.open)),
      onClosed: () => storage.open--,
      onWrite: () => {
        if (!storage.failsNext) return
        storage.failsNext = false
        throw new Error('EIO')
      }
    })
    return createSegmentedLog({ disk, create, ...LIMITS })
  },
  removeStorage: ({ directory }) => rm(directory, { recursive: true }),
  setFull: (storage, isFull) => {
    storage.isFull = isFull
  },
  failNextWrite: (storage) => {
    storage.failsNext = true
  },
  flipBit: async ({ directory }, random) => {
    const names = (await readdir(directory)).filter((name) => name.endsWith('.log')).sort()
    const file = await openFile(join(directory, names[Math.floor(random() * names.length)]!), 'r+')
    const { size } = await file.stat()
    const at = Math.floor(random() * size)
    const byte = new Uint8Array(1)
    await file.read(byte, 0, 1, at)
    byte[0]! ^= 1 << Math.floor(random() * 8)
    await file.write(byte, 0, 1, at)
    await file.close()
  },
  bytesRead: (storage) => storage.bytesRead,
  openFiles: ({ open, mostOpen }) => ({ now: open, most: mostOpen }),
  setDescriptors: (storage, isShort) => {
    storage.isShort = isShort
  }
}

/** A wrapper around a disk that calls back before each operation. */
export function watched(
  disk: Disk,
  watch: {
    /** `name` is that of the file when it was opened. */
    readonly onRead?: (bytes: number, name: string) => void
    readonly onCreate?: (name: string) => void
    readonly onWrite?: () => void
    /** Called before a file, or the directory for its flush, is opened. */
    readonly onOpen?: (name: string) => void
    readonly onOpened?: () => void
    readonly onClosed?: () => void
  }
): Disk {
  const file = (real: DiskFile, name: string): DiskFile => {
    watch.onOpened?.()
    return opened(real, name)
  }
  const opened = (real: DiskFile, name: string): DiskFile => ({
    bytes: real.bytes,
    write: async (offset, data) => {
      watch.onWrite?.()
      await real.write(offset, data)
    },
    read: (offset, length) => {
      watch.onRead?.(length, name)
      return real.read(offset, length)
    },
    close: async () => {
      await real.close()
      watch.onClosed?.()
    }
  })
  const readFile = (real: ReadFile, name: string): ReadFile => {
    watch.onOpened?.()
    return {
      read: (offset, length) => {
        watch.onRead?.(length, name)
        return real.read(offset, length)
      },
      close: () => {
        real.close()
        watch.onClosed?.()
      }
    }
  }
  return {
    list: () => disk.list(),
    create: async (name, bytes) => {
      watch.onOpen?.(name)
      watch.onCreate?.(name)
      return file(await disk.create(name, bytes), name)
    },
    open: async (name) => {
      watch.onOpen?.(name)
      return file(await disk.open(name), name)
    },
    openForReading: (name) => {
      watch.onOpen?.(name)
      return readFile(disk.openForReading(name), name)
    },
    rename: (from, to) => disk.rename(from, to),
    remove: (name) => disk.remove(name),
    flushDirectory: async () => {
      watch.onOpen?.('.')
      await disk.flushDirectory()
    }
  }
}
