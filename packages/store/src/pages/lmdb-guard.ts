/**
 * What keeps LMDB from ending the process, and from printing: checks before the file is opened, and its errors as the
 * peer's own.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, fstatSync, fsyncSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CorruptionError, NoSpaceError, QuireError } from '@quire/protocol'
import { irregular } from '@quire/raft/node-disk'
import { BACKEND_TABLES } from './backend.js'
import { inspectLmdbFile } from './lmdb-file.js'

/** How long the probe reads, beside the time that a process takes to start. */
const PROBE_MS = 100
/** A disk that hangs is no damage; but a peer that cannot read its file for so long does not start. */
const PROBE_TIMEOUT_MS = 30_000
const PROBE = fileURLToPath(new URL('../../bin/probe-pages.js', import.meta.url))

/** LMDB's lock file for the number of readers that it has by default, rounded up to the system's pages. */
const LOCK_BYTES = 12_288
/** Of what `stat` counts as a block, whatever the file system's own are. */
const BLOCK_BYTES = 512

/**
 * What to do about it. The log has everything that the pages have, from its first entry on; where it does not, the
 * start says so.
 */
export const REMEDY = 'move this file away and start the peer again, which makes it anew from its log'

// What lmdb gives as `code`: LMDB's own number.
const PAGE_NOT_FOUND = -30797
const CORRUPTED = -30796
const PANIC = -30795
const VERSION_MISMATCH = -30794
const INVALID = -30793
const DAMAGE = new Set([PAGE_NOT_FOUND, CORRUPTED, PANIC, VERSION_MISMATCH, INVALID])

/** The page store's file cannot be used (`cause`), for a reason that is neither damage nor want of space. */
export class PageStoreError extends QuireError {
  override readonly name = 'PageStoreError'
  readonly code = 'ERR_PAGE_STORE'
  constructor(
    readonly path: string,
    readonly reason: string,
    cause?: unknown
  ) {
    super(`${path}: ${reason}`, [path, reason])
    if (cause !== undefined) this.cause = cause
  }
}

/** LMDB opens whatever it finds: it waits for a pipe's other end, and takes a device for its file. */
export function refuseIrregular(path: string): void {
  const what = irregular(path)
  if (what !== undefined) throw damaged(path, `${what} stands in place of the file`)
  const lock = `${path}-lock`
  const problem = irregular(lock)
  if (problem === undefined) return
  const reason = `${problem} stands in place of the lock file; move it away and start the peer again`
  throw new CorruptionError(lock, undefined, reason)
}

export function damaged(path: string, reason: string): CorruptionError {
  return new CorruptionError(path, undefined, `${reason}; ${REMEDY}`)
}

/**
 * Throws CorruptionError when LMDB would not survive the file: by its size and its trees as far as they are looked
 * at, and by what becomes of a process that reads it.
 */
export function checkLmdbFile(path: string, probe: boolean): void {
  const problem = inspectLmdbFile(path)
  if (problem !== undefined) throw damaged(path, problem)
  if (probe && existsSync(path) && statSync(path).size > 0) probeLmdbFile(path)
}

/** Throws CorruptionError when LMDB, in a process of its own, cannot read the file or does not survive it. */
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
    throw new PageStoreError(path, `it could not be read within ${PROBE_TIMEOUT_MS} ms`)
  }
  // A machine that has no room for another process: the file has passed the first check.
  if (error !== undefined || status === 0) return
  if (signal !== null) throw damaged(path, `a process that read it was ended by ${signal}`)
  throw damaged(path, stdout === '' ? `a process that read it ended with ${status}` : `LMDB says: ${stdout}`)
}

/**
 * Makes sure that the disk has room for LMDB's lock file. LMDB maps that file as well, so on a full disk a hole in it
 * ends the process. Throws NoSpaceError; a file that found no room is not left behind.
 */
export function allocateLockFile(path: string): void {
  const lock = `${path}-lock`
  const isNew = !existsSync(lock)
  try {
    // Whatever LMDB keeps there stays: writing the same bytes again fills the holes.
    const file = openSync(lock, isNew ? 'wx+' : 'r+')
    try {
      const { size, blocks } = fstatSync(file)
      if (size >= LOCK_BYTES && blocks * BLOCK_BYTES >= LOCK_BYTES) return
      const bytes = new Uint8Array(LOCK_BYTES)
      for (let at = 0, count = 1; count > 0; at += count) count = readSync(file, bytes, at, LOCK_BYTES - at, at)
      // A disk that is almost full takes a part before it refuses the rest.
      for (let at = 0; at < LOCK_BYTES;) at += writeSync(file, bytes, at, LOCK_BYTES - at, at)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    if (isNew) rmSync(lock, { force: true })
    throw typed(error, lock)
  }
}

/** What LMDB or the system says of the file at `path`, as an error that names it and what to do. */
export function typed(error: unknown, path: string): unknown {
  if (error instanceof QuireError) return error
  const { code, message } = error as { readonly code?: unknown; readonly message?: string }
  if (isNoSpace(error)) return Object.assign(new NoSpaceError(path), { cause: error })
  if (typeof code === 'number' && DAMAGE.has(code)) {
    return Object.assign(damaged(path, `LMDB says: ${message}`), { cause: error })
  }
  if (typeof code === 'number' || typeof code === 'string') return new PageStoreError(path, message ?? `${code}`, error)
  return error
}

const MDB_MAP_FULL = -30792
const EIO = 5
const ENOSPC = 28
const EDQUOT = 122

/** What LMDB or the system says when there is no room: a full map, a full disk, a quota. */
export function isNoSpace(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  return code === MDB_MAP_FULL || code === ENOSPC || code === EDQUOT || code === 'ENOSPC' || code === 'EDQUOT'
}

export function isIoError(error: unknown): boolean {
  return (error as { readonly code?: unknown }).code === EIO
}

type StartWriting = (address: number, done: (status: number) => unknown) => unknown

/**
 * lmdb prints an error of a commit, with its stack, before it rejects with it. The error is reported by whoever hears
 * of it, as a line of the log, so nothing is printed while lmdb's callback runs, which it does in one turn.
 */
export function silenceCommits(root: object): void {
  const { env } = root as { readonly env?: { readonly startWriting?: StartWriting } }
  const startWriting = env?.startWriting
  if (env === undefined || startWriting === undefined) return
  const quietly: StartWriting = (address, done) =>
    startWriting.call(env, address, (status) => {
      const output: { error: (...what: unknown[]) => void } = console
      const { error } = output
      output.error = () => {}
      try {
        return done(status)
      } finally {
        output.error = error
      }
    })
  Object.defineProperty(env, 'startWriting', { value: quietly })
}
