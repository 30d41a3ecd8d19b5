/**
 * @packageDocumentation
 *
 * The real disk: a directory of the file system, through `node:fs`.
 */
import { closeSync, constants, fsync, mkdirSync, openSync, readSync, write as writeAt } from 'node:fs'
import { open, readdir, rename, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { NoDescriptorsError, NoSpaceError } from '@quire/protocol'
import type { Disk, DiskFile, ReadFile } from './log/disk.js'
import { irregular, refuseIrregular } from './regular-file.js'
import { syncFolder } from './sync-folder.js'

export { irregular, refuseIrregular, syncFolder }

// One system call makes an append durable. The file is allocated and filled with zeros, so O_DSYNC has no metadata to
// write. A write followed by fdatasync would be slower: two trips to the thread pool instead of one.
const READ_WRITE_DSYNC = constants.O_RDWR | constants.O_DSYNC
const FILL_BYTES = 1024 * 1024
const flush = promisify(fsync)

/** Makes `directory` if it is missing, and uses it for one log and nothing else. */
export function createNodeDisk(directory: string): Disk {
  mkdirSync(directory, { recursive: true })
  return new NodeDisk(directory)
}

/** Stores a log's files in one directory of the file system. */
class NodeDisk implements Disk {
  constructor(private readonly directory: string) {}

  list(): Promise<string[]> {
    return attempt(this.directory, () => readdir(this.directory))
  }

  async create(name: string, bytes: number): Promise<DiskFile> {
    const path = join(this.directory, name)
    const handle = await attempt(path, () => open(path, 'wx'))
    try {
      const zeros = new Uint8Array(Math.min(bytes, FILL_BYTES))
      for (let offset = 0; offset < bytes;) {
        const { bytesWritten } = await handle.write(zeros, 0, Math.min(zeros.length, bytes - offset), offset)
        offset += bytesWritten
      }
      await handle.sync()
    } catch (error) {
      await handle.close()
      // A half-filled file would take up the space that is missing.
      await unlink(path).catch(() => {})
      throw typed(error, path)
    }
    await handle.close()
    try {
      return await this.open(name)
    } catch (error) {
      // Something else took the descriptor meanwhile. The file must not block the next attempt.
      await unlink(path).catch(() => {})
      throw error
    }
  }

  async open(name: string): Promise<DiskFile> {
    const path = join(this.directory, name)
    refuseIrregular(path)
    const handle = await attempt(path, () => open(path, READ_WRITE_DSYNC))
    return new NodeDiskFile(path, handle, (await handle.stat()).size)
  }

  openForReading(name: string): ReadFile {
    const path = join(this.directory, name)
    try {
      refuseIrregular(path)
      return new NodeReadFile(openSync(path, constants.O_RDONLY))
    } catch (error) {
      throw typed(error, path)
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await attempt(this.directory, () => rename(join(this.directory, from), join(this.directory, to)))
  }

  async remove(name: string): Promise<void> {
    const path = join(this.directory, name)
    try {
      await unlink(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      refuseIrregular(path)
      throw error
    }
  }

  async flushDirectory(): Promise<void> {
    const handle = await attempt(this.directory, () => open(this.directory, 'r'))
    try {
      await flush(handle.fd)
    } catch (error) {
      throw typed(error, this.directory)
    } finally {
      await handle.close()
    }
  }
}

/** A file that is open for durable writes. */
class NodeDiskFile implements DiskFile {
  constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    readonly bytes: number
  ) {}

  write(offset: number, data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const { fd } = this.handle
      let written = 0
      const next = (): void => {
        writeAt(fd, data, written, data.length - written, offset + written, (error, count) => {
          if (error !== null) return reject(typed(error, this.path))
          written += count
          // The kernel may write less than asked, for example near a limit. Without any progress the loop would never
          // end.
          if (written >= data.length) resolve()
          else if (count === 0) reject(new NoSpaceError(this.path))
          else next()
        })
      }
      next()
    })
  }

  read(offset: number, length: number): Uint8Array {
    return readFrom(this.handle.fd, offset, length)
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

/** A file that is open for reading only. */
class NodeReadFile implements ReadFile {
  constructor(private readonly fd: number) {}

  read(offset: number, length: number): Uint8Array {
    return readFrom(this.fd, offset, length)
  }

  close(): void {
    closeSync(this.fd)
  }
}

function readFrom(fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let read = 0
  while (read < length) {
    const count = readSync(fd, bytes, read, length - read, offset + read)
    // The file ends early. Its reader's checksums will reject the zeros.
    if (count === 0) break
    read += count
  }
  return bytes
}

async function attempt<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw typed(error, path)
  }
}

function typed(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOSPC' || code === 'EDQUOT') return new NoSpaceError(path)
  if (code === 'EMFILE' || code === 'ENFILE') return new NoDescriptorsError(path, code)
  return error
}
