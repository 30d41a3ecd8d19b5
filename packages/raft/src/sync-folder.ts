import { closeSync, fsyncSync, openSync } from 'node:fs'

/**
 * Flushes the entries of a folder. Only then is a file that was created or renamed in it certain to survive. A flush of
 * the file itself does not promise that.
 */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
