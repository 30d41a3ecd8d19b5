import type { Disk, DiskFile } from '@quire/raft'
import type { Stages } from '../observability/stages.js'

/** Wraps a disk to record the duration of each durable write. */
export function timedDisk(disk: Disk, stages: Stages): Disk {
  const timed = (file: DiskFile): DiskFile => ({
    bytes: file.bytes,
    write: (offset, data) => stages.time('log.flush', () => file.write(offset, data)),
    read: (offset, length) => file.read(offset, length),
    close: () => file.close()
  })
  return {
    list: () => disk.list(),
    create: async (name, bytes) => timed(await disk.create(name, bytes)),
    open: async (name) => timed(await disk.open(name)),
    openForReading: (name) => disk.openForReading(name),
    rename: (from, to) => disk.rename(from, to),
    remove: (name) => disk.remove(name),
    flushDirectory: () => disk.flushDirectory()
  }
}
