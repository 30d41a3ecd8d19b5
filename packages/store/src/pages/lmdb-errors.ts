/** The errors of LMDB as the peer's own: each names the file, and what an operator does about it. */
import { CorruptionError, NoSpaceError, QuireError } from '@quire/protocol'

/** The peer rebuilds the pages from the first entry of its log on. If the log starts later, it says so. */
export const REMEDY =
  'move this file away and start the peer again: it rebuilds the file from its log, or says how to rejoin if the log starts later'

// lmdb's `code` of an error is the number that LMDB returned.
const PAGE_NOT_FOUND = -30797
const CORRUPTED = -30796
const PANIC = -30795
const VERSION_MISMATCH = -30794
const INVALID = -30793
const DAMAGE = new Set([PAGE_NOT_FOUND, CORRUPTED, PANIC, VERSION_MISMATCH, INVALID])

const MAP_FULL = -30792
const EIO = 5
const ENOSPC = 28
const EDQUOT = 122

/** The peer cannot use the file of the page store. The cause is neither damage nor lack of space. */
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

export function damaged(path: string, reason: string): CorruptionError {
  return new CorruptionError(path, undefined, `${reason}; ${REMEDY}`)
}

/** Converts an error of LMDB or the system into one that names the file at `path`. Returns other errors as they are. */
export function lmdbError(error: unknown, path: string): unknown {
  if (error instanceof QuireError) return error
  const { code, message } = error as { readonly code?: unknown; readonly message?: string }
  if (isNoSpace(error)) return Object.assign(new NoSpaceError(path), { cause: error })
  if (typeof code === 'number' && DAMAGE.has(code)) {
    return Object.assign(damaged(path, `LMDB says: ${message}`), { cause: error })
  }
  if (typeof code === 'number' || typeof code === 'string') return new PageStoreError(path, message ?? `${code}`, error)
  return error
}

/** Recognizes a full map, a full disk and an exceeded quota. */
function isNoSpace(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  return code === MAP_FULL || code === ENOSPC || code === EDQUOT || code === 'ENOSPC' || code === 'EDQUOT'
}

export function isIoError(error: unknown): boolean {
  return (error as { readonly code?: unknown }).code === EIO
}

type StartWriting = (address: number, done: (status: number) => unknown) => unknown

/**
 * Keeps lmdb from printing the error of a commit, with its stack, before it rejects with that error. The caller of the
 * commit reports the error as a line of the log. lmdb prints within one callback, so `console.error` is silent for
 * that long.
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
