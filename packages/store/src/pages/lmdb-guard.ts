/** Checks of LMDB's files before LMDB opens them. Where LMDB meets damage itself, it may end the process. */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, fstatSync, fsyncSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CorruptionError } from '@quire/protocol'
import { irregular } from '@quire/raft/node-disk'
import { BACKEND_TABLES } from './backend.js'
import { damaged, lmdbError, PageStoreError } from './lmdb-errors.js'
import { inspectLmdbFile } from './lmdb-file.js'

/** The probe reads for this long once its process has started. */
const PROBE_MS = 100
/** A disk that hangs is not damaged, but a peer that cannot read its file for this long does not start. */
const PROBE_TIMEOUT_MS = 30_000
const PROBE = fileURLToPath(new URL('../../bin/probe-pages.js', import.meta.url))

/** Size of LMDB's lock file for its default number of readers, rounded up to pages of the system. */
const LOCK_BYTES = 12_288
/** `stat` counts blocks of this size on every file system. */
const BLOCK_BYTES = 512

/**
 * Throws CorruptionError if something other than a regular file stands in place of the file or the lock file. LMDB
 * would wait for the other end of a named pipe, and use a device as its file.
 */
export function refuseIrregular(path: string): void {
  const what = irregular(path)
  if (what !== undefined) throw damaged(path, `${what} stands in place of the file`)
  const lock = `${path}-lock`
  const problem = irregular(lock)
  if (problem === undefined) return
  const reason = `${problem} stands in place of the lock file; move it away and start the peer again`
  throw new CorruptionError(lock, undefined, reason)
}

/** Throws CorruptionError if the size or the trees of the file are damaged, or if a process that reads it fails. */
export function checkLmdbFile(path: string, probe: boolean): void {
  const problem = inspectLmdbFile(path)
  if (problem !== undefined) throw damaged(path, problem)
  if (probe && existsSync(path) && statSync(path).size > 0) probeLmdbFile(path)
}

/** Lets LMDB read the file in another process. Throws CorruptionError if that process fails. */
export function probeLmdbFile(path: string): void {
  const { status, signal, stdout, error } = spawnSync(
    process.execPath,
    [PROBE, path, `${PROBE_MS}`, ...BACKEND_TABLES],
    {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: PROBE_TIMEOUT_MS,
      killSignal: 'SIGKILL'
    }
  )
  if (error !== undefined && 'code' in error && error.code === 'ETIMEDOUT') {
    throw new PageStoreError(path, `a process could not read it within ${PROBE_TIMEOUT_MS} ms`)
  }
  // The machine has no room for another process. The file has passed the first check, so the peer goes without this
  // one.
  if (error !== undefined || status === 0) return
  if (signal !== null) throw damaged(path, `${signal} ended a process that read it`)
  throw damaged(path, stdout === '' ? `a process that read it ended with status ${status}` : `LMDB says: ${stdout}`)
}

/**
 * Allocates LMDB's lock file. LMDB maps this file too, so on a full disk a hole in it would end the process. Throws
 * NoSpaceError if the disk has no room, and then removes a lock file that it made.
 */
export function allocateLockFile(path: string): void {
  const lock = `${path}-lock`
  const isNew = !existsSync(lock)
  try {
    // LMDB may have content there. Writing the same bytes again fills the holes and keeps the content.
    const file = openSync(lock, isNew ? 'wx+' : 'r+')
    try {
      const { size, blocks } = fstatSync(file)
      if (size >= LOCK_BYTES && blocks * BLOCK_BYTES >= LOCK_BYTES) return
      const bytes = new Uint8Array(LOCK_BYTES)
      for (let at = 0, count = 1; count > 0; at += count) count = readSync(file, bytes, at, LOCK_BYTES - at, at)
      // An almost full disk writes a part of the bytes before it fails.
      for (let at = 0; at < LOCK_BYTES;) at += writeSync(file, bytes, at, LOCK_BYTES - at, at)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    if (isNew) rmSync(lock, { force: true })
    throw lmdbError(error, lock)
  }
}
