/**
 * A lock of a data directory, which one process holds for as long as it lives. The kernel releases it at the process's
 * death, even after `kill -9`.
 *
 * The lock is a listening Unix socket in the directory. Each process binds a socket with a name of its own, listens,
 * and only then looks at the other sockets. A process that finds a socket that answers gives way. A socket that refuses
 * belongs to a dead process and is removed. The directory must be on a local disk, because the sockets of another
 * machine look dead. Two processes that start at the same moment may both give way. They never both go on, because the
 * one that listens later sees the other one.
 *
 * A socket needs an inode, which a full file system may not have. So on Linux a process first locks the directory
 * itself (`flock`), and goes on without a socket if none can be made. The kernel keeps this lock on the directory's
 * inode: it follows a directory that is moved, and it is the same under every mount and in every container. Node.js
 * cannot lock, so the program `flock` of util-linux or busybox locks a descriptor of this process. The lock belongs to
 * the open directory and outlives that program. Without such a program, the socket is the whole lock.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, constants, existsSync, openSync, readdirSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'

export interface FolderLock {
  release(): Promise<void>
}

/** Another process uses the folder. */
export class FolderInUseError extends Error {
  override readonly name = 'FolderInUseError'
  readonly code = 'ERR_IN_USE'
  constructor(readonly path: string) {
    super(`${path}: in use by another process`)
  }
}

const PREFIX = 'lock-'
/** A path of this length fits into a socket address on every system (sun_path has 104 bytes on macOS, 108 on Linux). */
const MAX_SOCKET_PATH_BYTES = 100

export async function lockFolder(path: string): Promise<FolderLock> {
  const held = lockInode(path)
  try {
    const socket = await lockBySocket(path, held !== undefined)
    return {
      release: async () => {
        await socket.release()
        held?.release()
      }
    }
  } catch (error) {
    held?.release()
    throw error
  }
}

const FLOCK_TIMEOUT_MS = 10_000

/**
 * Locks the directory itself. Returns undefined on a system where that is impossible. Throws FolderInUseError if
 * another process has the lock.
 */
function lockInode(path: string): { release(): void } | undefined {
  if (process.platform !== 'linux') return undefined
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  // Descriptor 3 of the program is a copy of `fd`, for the same open directory.
  const { status, stderr } = spawnSync('flock', ['-x', '-n', '3'], {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe', fd],
    timeout: FLOCK_TIMEOUT_MS
  })
  if (status === 0) return { release: closeOnce(fd) }
  closeSync(fd)
  // Both programs print nothing if another process has the lock, and print any other error.
  if (status === 1 && stderr === '') throw new FolderInUseError(path)
  return undefined
}

/** Locks by a socket. If the directory is `locked` itself, a socket that finds no room on the disk is not needed. */
async function lockBySocket(path: string, locked: boolean): Promise<FolderLock> {
  const folder = openShortcut(path)
  // Random, because process ids repeat after a reboot and in containers that share the directory.
  const name = `${PREFIX}${process.pid}-${randomBytes(4).toString('hex')}`
  try {
    const server = await listen(join(folder.path, name)).catch((error: unknown) => {
      if (locked && isFull(error)) return undefined
      throw error
    })
    try {
      for (const other of readdirSync(path)) {
        if (!other.startsWith(PREFIX) || other === name) continue
        if (await answers(join(folder.path, other))) throw new FolderInUseError(path)
        removeDead(join(path, other))
      }
      // Another process took this socket for dead between bind and listen, and removed it. That process goes on.
      if (server !== undefined && !existsSync(join(path, name))) throw new FolderInUseError(path)
    } catch (error) {
      await closed(server)
      throw error
    }
    return {
      release: async () => {
        await closed(server)
        folder.close()
      }
    }
  } catch (error) {
    folder.close()
    throw error
  }
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** Returns a short path of the folder for socket addresses: the path itself, or its file descriptor under /proc. */
function openShortcut(path: string): { readonly path: string; close(): void } {
  if (Buffer.byteLength(path) + 1 + PREFIX.length + 24 <= MAX_SOCKET_PATH_BYTES) return { path, close: () => {} }
  if (!existsSync('/proc/self/fd')) throw new Error(`${path}: the path is too long for a lock, at most 70 bytes here`)
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  return { path: `/proc/self/fd/${fd}`, close: closeOnce(fd) }
}

/** Closes the descriptor once, because another file may soon have its number. */
function closeOnce(fd: number): () => void {
  let isOpen = true
  return () => {
    if (isOpen) closeSync(fd)
    isOpen = false
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    // This handler stays for later errors, such as a lack of descriptors. An unhandled error would end the process.
    server.on('error', reject)
    server.listen(path, () => {
      server.unref()
      resolve(server)
    })
  })
}

/** Returns false only if the kernel says that no process listens. Any doubt counts as a living owner. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT')
    })
  })
}

function removeDead(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** Closes the server, which also removes the socket file. */
function closed(server: Server | undefined): Promise<void> {
  if (server === undefined) return Promise.resolve()
  return new Promise((resolve) => server.close(() => resolve()))
}
