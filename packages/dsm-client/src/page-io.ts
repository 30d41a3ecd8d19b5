/** Reads and writes of byte ranges, page by page, through the coherence core: what files and mappings share. */
import { BusyError, ClosedError, SessionExpiredError, type Access } from '@quire/protocol'
import type { Session } from './session.js'
import { untilAborted } from './waiting.js'

/** Pages of one call that are faulted in at the same time. */
const WINDOW = 256

/** One open file of one session: its pages are in the session's coherence core, its size is what was last heard. */
export interface OpenFile {
  readonly session: Session
  readonly id: number
  readonly path: string
  readonly pageSize: number
  size: number
  /** Handles of this client. */
  handles: number
  /** Those of them that are being closed. When all are, nothing may be written that their flush could miss. */
  closing: number
}

/** Throws unless the file can still be used. */
export function checkUsable(file: OpenFile): void {
  const error = whyUnusable(file)
  if (error !== undefined) throw error
}

export function whyUnusable(file: OpenFile): Error | undefined {
  if (file.session.ended !== undefined) return file.session.ended
  return file.closing >= file.handles ? new ClosedError(file.path) : undefined
}

/** Throws when the file's session was lost with bytes of it that were never durable: whoever gives it up must not take them for flushed. */
export function checkNothingLost(file: OpenFile): void {
  const { ended } = file.session
  if (ended instanceof SessionExpiredError && ended.lost.some((range) => range.file === String(file.id))) throw ended
}

/** Copies `target.length` bytes from `offset` on, all below the file's size. */
export async function readPages(
  file: OpenFile,
  offset: number,
  target: Uint8Array,
  signal?: AbortSignal
): Promise<void> {
  const { session } = file
  for (;;) {
    await eachPage(file, 'read', offset, target.length, signal, (bytes, from, to, at) => {
      target.set(bytes.subarray(from, to), at)
    })
    // The lease is looked at *after* the copy: if the process stood still in between, what was copied may be stale. If it is
    // confirmed later, nothing was taken away meanwhile, but only a fresh copy is known to be of one moment.
    if (session.isLeaseValid()) return
    await session.whenActive(signal)
  }
}

/** Writes `source` at `offset`, all below the file's size. */
export async function writePages(
  file: OpenFile,
  offset: number,
  source: Uint8Array,
  signal?: AbortSignal
): Promise<void> {
  const { session } = file
  if (!session.isLeaseValid()) await session.whenActive(signal)
  await eachPage(file, 'write', offset, source.length, signal, (bytes, from, to, at) => {
    bytes.set(source.subarray(at, at + to - from), from)
  })
  if (!session.isLeaseValid()) await session.whenActive(signal)
}

/** Everything written to the range before this call is durable when it resolves. */
export function flushPages(file: OpenFile, offset: number, length: number, signal?: AbortSignal): Promise<void> {
  const { session, pageSize } = file
  if (length === 0) return untilAborted(Promise.resolve(), signal)
  const first = Math.floor(offset / pageSize)
  const last = Math.floor((offset + length - 1) / pageSize)
  return session.wait<void>((resolve, reject) => {
    let left = 0
    const done = () => {
      if (--left === 0) resolve()
    }
    left = session.coherence.flush(file.id, first, last, done, reject)
    session.drain()
    if (left === 0) resolve()
    // A flush that nobody waits for any more goes on.
    return () => {}
  }, signal)
}

type Visit = (page: Uint8Array, from: number, to: number, at: number) => void

/** Calls `visit` for each page's part of the range, with access in hand: bytes `from` to `to` of the page, `at` bytes into the range. */
function eachPage(
  file: OpenFile,
  access: Access,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
  visit: Visit
): Promise<void> {
  const { session, pageSize } = file
  if (length === 0) return untilAborted(Promise.resolve(), signal)
  const start = (resolve: () => void, reject: (error: Error) => void) => {
    const withdrawals = new Map<number, () => void>()
    const end = offset + length
    const last = Math.floor((end - 1) / pageSize)
    let next = Math.floor(offset / pageSize)
    let issuing = false
    let failed = false
    const withdrawAll = () => {
      failed = true
      for (const withdraw of withdrawals.values()) withdraw()
      withdrawals.clear()
    }
    const issue = () => {
      // A hit runs at once and comes back here: one loop serves them all.
      if (issuing) return
      issuing = true
      while (!failed && next <= last && withdrawals.size < WINDOW) begin(next++)
      issuing = false
      if (!failed && next > last && withdrawals.size === 0) resolve()
    }
    const begin = (index: number) => {
      const pageStart = index * pageSize
      const from = Math.max(0, offset - pageStart)
      const to = Math.min(pageSize, end - pageStart)
      const fail = (error: Error) => {
        withdrawals.delete(index)
        if (failed) return
        withdrawAll()
        reject(error)
      }
      // The file may have been given up since the first page.
      const error = whyUnusable(file)
      if (error !== undefined) return fail(error)
      let ran = false
      const withdraw = session.coherence.access(file.id, index, {
        access,
        pin: false,
        run: (bytes) => {
          ran = true
          visit(bytes, from, to, pageStart + from - offset)
          if (withdrawals.delete(index)) issue()
        },
        fail
      })
      if (!ran && !failed) withdrawals.set(index, withdraw)
    }
    issue()
    session.drain()
    return withdrawAll
  }
  return session.wait<void>(start, signal, () => new BusyError(file.path, offset))
}
