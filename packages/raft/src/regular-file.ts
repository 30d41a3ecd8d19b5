import { lstatSync, statSync, type Stats } from 'node:fs'
import { CorruptionError } from '@quire/protocol'

/**
 * Describes in words what is at `path` instead of a regular file; undefined for a regular file, a link to one, or
 * nothing. Opening anything else may block forever, as with a pipe that has no writer, or may swallow what is written.
 */
export function irregular(path: string): string | undefined {
  const found = find(path)
  if (found === 'dangling') return 'a symbolic link that leads nowhere'
  if (found === undefined || found.isFile()) return undefined
  if (found.isDirectory()) return 'a folder'
  if (found.isFIFO()) return 'a named pipe'
  return found.isSocket() ? 'a socket' : 'a device'
}

/** Throws CorruptionError if `path` is something else than a regular file. */
export function refuseIrregular(path: string): void {
  const what = irregular(path)
  if (what === undefined) return
  throw new CorruptionError(path, undefined, `${what} stands in place of the file; put the peer's own file back`)
}

function find(path: string): Stats | 'dangling' | undefined {
  try {
    return statSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ELOOP') return 'dangling'
    if (code !== 'ENOENT') throw error
  }
  return lstatSync(path, { throwIfNoEntry: false }) === undefined ? undefined : 'dangling'
}
