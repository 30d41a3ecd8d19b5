/** Small files that survive a power failure: written beside, flushed, renamed, and the folder flushed too. */
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

/** Flushes a folder's entries: a file that was created or renamed in it is only then sure to be found again. */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Makes a folder and its missing parents, each one flushed into its parent. Returns those that it made, the innermost
 * first. Throws the system's error, whose `path` is the folder that cannot be made.
 */
export function makeFolder(path: string): string[] {
  const missing: string[] = []
  for (let folder = path; !isFolder(folder); folder = dirname(folder)) missing.push(folder)
  const made: string[] = []
  // One at a time. Node's recursive mkdir never returns where a parent exists but takes no folders, as /proc does.
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

/** False when another process has made it meanwhile. */
function makeOne(folder: string): boolean {
  try {
    mkdirSync(folder, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isFolder(folder)) throw error
    return false
  }
}

/** Removes folders, the innermost first, up to one that holds something: that one is in use. */
export function removeEmptyFolders(folders: readonly string[]): void {
  try {
    for (const folder of folders) rmdirSync(folder)
  } catch {
    // It was to be undone because of an error, which is the one that is reported.
  }
}

/** Why `makeFolder(path)` failed, for people. */
export function folderProblem(path: string, error: unknown): string {
  const { code, path: at = path } = error as NodeJS.ErrnoException
  if (code === 'EEXIST' || code === 'ENOTDIR') return `cannot be made: ${at} is there and is not a folder`
  return at === path ? `cannot be made (${code})` : `cannot be made (${code} at ${at})`
}

/** False also for what cannot be seen: making it tells why. */
function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/**
 * A name in the same folder that nobody has used before. It is random, because process ids repeat (a container's first
 * is always 1) and the leftover of a killed process must block nobody; and short, because the name of `path` may be as
 * long as names can be.
 */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.quire-${randomBytes(8).toString('hex')}.part`)
}

/** The file cannot be written. Names it, which the system's error for a write does not. */
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

/** Replaces `path` as a whole: after a crash it holds either the old content or the new. Throws FileWriteError. */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): void {
  const temporary = `${path}.new`
  // Left by a crash, and on a full disk in the way of the next attempt.
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

/** Creates `path`, which must not exist (EEXIST): never half written. */
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
    // It is gone already, or was never made.
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
