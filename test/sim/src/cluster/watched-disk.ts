import type { Disk, DiskFile } from '@quire/raft'

interface DiskWatch {
  readonly created: (bytes: number) => void
  /** Calls `write` at once, and resolves with it. */
  readonly write: (offset: number, data: Uint8Array, write: () => Promise<void>) => Promise<void>
}

/** Returns a view of the disk that reports its new files and its writes. */
export function watchDisk(disk: Disk, watch: DiskWatch): Disk {
  const file = (real: DiskFile): DiskFile => ({
    bytes: real.bytes,
    read: (offset, length) => real.read(offset, length),
    close: () => real.close(),
    write: (offset, data) => watch.write(offset, data, () => real.write(offset, data))
  })
  return {
    list: () => disk.list(),
    create: async (name, bytes) => {
      watch.created(bytes)
      return file(await disk.create(name, bytes))
    },
    open: async (name) => file(await disk.open(name)),
    openForReading: (name) => disk.openForReading(name),
    rename: (from, to) => disk.rename(from, to),
    remove: (name) => disk.remove(name),
    flushDirectory: () => disk.flushDirectory()
  }
}
