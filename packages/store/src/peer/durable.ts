/** Small files that survive a power failure: written beside, flushed, renamed, and the folder flushed too. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, openSync, closeSync, fsyncSync, writeSync, renameSync, linkSync, unlinkSync } from 'node:fs'
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

/** Makes a folder and its missing parents, each one flushed into its parent. */
export function makeFolder(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = path; ; made = dirname(made)) {
    syncFolder(dirname(made))
    if (made === first || made === dirname(made)) return
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

/** Replaces `path` as a whole: after a crash it holds either the old content or the new. */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): void {
  const temporary = `${path}.new`
  writeFlushed(temporary, content, mode, 'w')
  renameSync(temporary, path)
  syncFolder(dirname(path))
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
