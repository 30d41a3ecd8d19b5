/**
 * Small files that survive a power failure. A new content is written beside the file and flushed, then renamed; then
 * the folder is flushed.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { syncFolder } from '@quire/raft/node-disk'

/**
 * Makes a folder and its missing parents, and flushes each into its parent. Returns the folders that it made, the
 * innermost first. Throws the system's error, whose `path` is the folder that cannot be made.
 */
export function makeFolder(path: string): string[] {
  const missing: string[] = []
  for (let folder = path; !isFolder(folder); folder = dirname(folder)) missing.push(folder)
  const made: string[] = []
  // One at a time, because the recursive mkdir of Node.js never returns if a parent accepts no folders, such as /proc.
  for (const folder of missing.toReversed()) {
    try {
      if (makeOne(folder)) made.unshift(folder)
      syncFolder(dirname(folder))
    } catch (error) {
      removeEmptyFolders(made)
      throw error
    }
  }
  return made
}

/** Returns false if another process has made the folder meanwhile. */
function makeOne(folder: string): boolean {
  try {
    mkdirSync(folder, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isFolder(folder)) throw error
    return false
  }
}

/** Removes folders, the innermost first, up to the first that is not empty. */
export function removeEmptyFolders(folders: readonly string[]): void {
  try {
    for (const folder of folders) rmdirSync(folder)
  } catch {
    // The caller undoes its work because of another error, which it reports.
  }
}

/** Describes for an operator why `makeFolder(path)` failed. */
export function folderProblem(path: string, error: unknown): string {
  const { code, path: at = path } = error as NodeJS.ErrnoException
  if (code === 'EEXIST' || code === 'ENOTDIR') return `cannot be made: ${at} is there and is not a folder`
  return at === path ? `cannot be made (${code})` : `cannot be made (${code} at ${at})`
}

/** Returns false also if the path cannot be read; the error of making the folder then tells why. */
function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/**
 * Returns an unused name in the same folder. The name is random, because process ids repeat (the first one in a
 * container is always 1), and a leftover of a killed process must not be in the way. It is short, because the name of
 * `path` may have the greatest length of a name.
 */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.quire-${randomBytes(8).toString('hex')}.part`)
}

/** The file cannot be written. It names the file, which the system's error for a write does not. */
export class FileWriteError extends Error {
  override readonly name = 'FileWriteError'
  readonly code: string | undefined
  constructor(
    readonly path: string,
    cause: unknown
  ) {
    const { code, message } = cause as NodeJS.ErrnoException
    super(`${path}: cannot be written (${code ?? message})`, { cause })
    this.code = code
  }
}

/**
 * Replaces the content of `path`. After a crash the file has either the old or the new content. Throws FileWriteError.
 */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): void {
  const temporary = `${path}.new`
  // A leftover of a crash. On a full disk it would take the room of this attempt.
  unlinkQuietly(temporary)
  try {
    writeFlushed(temporary, content, mode, 'w')
    renameSync(temporary, path)
    syncFolder(dirname(path))
  } catch (error) {
    unlinkQuietly(temporary)
    throw new FileWriteError(path, error)
  }
}

/** Creates `path` with its whole content. Throws EEXIST if it exists. */
export function createFile(path: string, text: string, mode = 0o600): void {
  const temporary = temporaryBeside(path)
  try {
    writeFlushed(temporary, text, mode, 'wx')
    linkSync(temporary, path)
  } finally {
    unlinkQuietly(temporary)
  }
  syncFolder(dirname(path))
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // The file does not exist.
  }
}

function writeFlushed(path: string, content: string | Uint8Array, mode: number, flags: string): void {
  const fd = openSync(path, flags, mode)
  try {
    const bytes = Buffer.from(content as string)
    let done = 0
    while (done < bytes.length) done += writeSync(fd, bytes, done)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
