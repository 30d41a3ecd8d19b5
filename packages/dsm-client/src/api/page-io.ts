/** Reads and writes of byte ranges, page by page: what files and mappings share. */
import {
  BusyError,
  ClosedError,
  PastEndError,
  SessionExpiredError,
  UnavailableError,
  type Access
} from '@quire/protocol'
import type { OpenFile } from '../host.js'
import { untilAborted } from '../waiting.js'

/** Pages of one call that are faulted in at the same time. */
const WINDOW = 256

/** The file has become shorter, or may have, since its size was looked at. Never leaves this package. */
export class SizeMoved extends Error {
  override readonly name = 'SizeMoved'
  /** `refusal` is what the leader said of a page, if that was how it showed. */
  constructor(readonly refusal?: PastEndError) {
    super('the size of the file has changed')
  }
}

/** A file that changes its size all the time is given up at some time. */
const MAX_SIZE_MOVES = 100

/** Throws unless the file can still be used. */
export function checkUsable(file: OpenFile): void {
  const error = whyUnusable(file)
  if (error !== undefined) throw error
}

export function whyUnusable(file: OpenFile): Error | undefined {
  if (file.host.ended !== undefined) return file.host.ended
  return file.closing >= file.handles ? new ClosedError(file.path) : undefined
}

/**
 * Throws when the file's session was lost with bytes of it that were never durable: whoever gives it up must not take
 * them for flushed.
 */
export function checkNothingLost(file: OpenFile): void {
  const { ended } = file.host
  if (ended instanceof SessionExpiredError && ended.lost.some((range) => range.file === String(file.id))) throw ended
}

/** The file's size, asked for anew unless what is known of it is enough. */
export function sizeFor(file: OpenFile, end: number, signal?: AbortSignal): Promise<number> {
  return end <= file.space.size ? Promise.resolve(file.space.size) : file.refreshSize(signal)
}

/** Repeats what was overtaken by a change of the size. */
export async function withSize<T>(action: () => Promise<T>): Promise<T> {
  for (let moves = 1; ; moves++) {
    try {
      return await action()
    } catch (error) {
      if (!(error instanceof SizeMoved)) throw error
      if (moves === MAX_SIZE_MOVES) throw error.refusal ?? new UnavailableError(error.message)
    }
  }
}

/**
 * Copies `target.length` bytes from `offset` on. Rejects with SizeMoved if the file is not known to reach so far when
 * they are copied.
 */
export async function readPages(
  file: OpenFile,
  offset: number,
  target: Uint8Array,
  signal?: AbortSignal
): Promise<void> {
  const { host } = file
  for (;;) {
    await eachPage(file, 'read', offset, target.length, signal, (bytes, from, to, at) => {
      target.set(bytes.subarray(from, to), at)
    })
    // The lease is looked at *after* the copy: if the process stood still in between, what was copied may be stale. If
    // it is confirmed later, nothing was taken away meanwhile, but only a fresh copy is known to be of one moment.
    if (host.isLeaseValid()) return
    await host.whenActive(signal)
  }
}

/**
 * Writes `source` at `offset`. Rejects with SizeMoved if the file is not known to reach so far. Pages in `written` are
 * left out, and those that it writes come in: a call that begins again must not write a page twice, over what others
 * have written since.
 */
export async function writePages(
  file: OpenFile,
  offset: number,
  source: Uint8Array,
  written: Set<number>,
  signal?: AbortSignal
): Promise<void> {
  const { host, pageSize } = file
  if (!host.isLeaseValid()) await host.whenActive(signal)
  const write: Visit = (bytes, from, to, at) => {
    bytes.set(source.subarray(at, at + to - from), from)
    written.add(Math.floor((offset + at) / pageSize))
  }
  await eachPage(file, 'write', offset, source.length, signal, write, written)
  if (!host.isLeaseValid()) await host.whenActive(signal)
}

/** Everything written to the range before this call is durable when it resolves. */
export function flushPages(file: OpenFile, offset: number, length: number, signal?: AbortSignal): Promise<void> {
  return eachDirty(file, offset, length, signal, (first, last, done, fail) =>
    file.host.flush(file.id, first, last, done, fail)
  )
}

/** The same of the whole file. */
export function flushFile(file: OpenFile, signal?: AbortSignal): Promise<void> {
  return flushPages(file, 0, Number.MAX_SAFE_INTEGER, signal)
}

/** The range's dirty pages are on their way when it resolves. */
export function startWriting(file: OpenFile, offset: number, length: number, signal?: AbortSignal): Promise<void> {
  return eachDirty(file, offset, length, signal, (first, last, started, fail) =>
    file.host.startWriting(file.id, first, last, started, fail)
  )
}

function eachDirty(
  file: OpenFile,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
  begin: (first: number, last: number, done: () => void, fail: (error: Error) => void) => number
): Promise<void> {
  const { host, pageSize } = file
  if (length === 0) return untilAborted(Promise.resolve(), signal)
  const first = Math.floor(offset / pageSize)
  const last = Math.floor((offset + length - 1) / pageSize)
  return host.wait<void>((resolve, reject, moved) => {
    let left = 0
    let isCounted = false
    const done = () => {
      left--
      moved()
      if (isCounted && left === 0) resolve()
    }
    // In two steps: `done` may be called in here.
    const count = begin(first, last, done, reject)
    left += count
    isCounted = true
    host.drain()
    if (left === 0) resolve()
    // A flush that nobody waits for any more goes on.
    return () => {}
  }, signal)
}

/** A fault beyond the end says what the size was: whoever called decides anew. */
export function sizeMovedBy(error: Error, { space, ownsSize = false }: OpenFile): Error {
  if (ownsSize || !(error instanceof PastEndError)) return error
  space.size = Math.min(space.size, error.size)
  return new SizeMoved(error)
}

type Visit = (page: Uint8Array, from: number, to: number, at: number) => void

/**
 * Calls `visit` for each page's part of the range, in order: bytes `from` to `to` of page `index`, `at` bytes into the
 * range.
 */
export function eachPart(
  pageSize: number,
  offset: number,
  length: number,
  visit: (index: number, from: number, to: number, at: number) => void
): void {
  for (let at = 0; at < length;) {
    const index = Math.floor((offset + at) / pageSize)
    const from = offset + at - index * pageSize
    const to = Math.min(pageSize, from + length - at)
    visit(index, from, to, at)
    at += to - from
  }
}

/**
 * Calls `visit` for each page's part of the range, with access in hand: bytes `from` to `to` of the page, `at` bytes
 * into the range. Pages in `skipped` are passed over.
 */
export function eachPage(
  file: OpenFile,
  access: Access,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
  visit: Visit,
  skipped?: ReadonlySet<number>
): Promise<void> {
  const { host, space, pageSize } = file
  if (length === 0) return untilAborted(Promise.resolve(), signal)
  /** By page, in ascending order at first. */
  const withdrawals = new Map<number, () => void>()
  const start = (resolve: () => void, reject: (error: Error) => void, moved: () => void) => {
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
      for (; !failed && next <= last && withdrawals.size < WINDOW; next++) if (skipped?.has(next) !== true) begin(next)
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
        reject(sizeMovedBy(error, file))
      }
      // The file may have been given up since the first page.
      const error = whyUnusable(file)
      if (error !== undefined) return fail(error)
      let ran = false
      const withdraw = host.table.access(file.id, index, {
        access,
        pin: false,
        run: (bytes) => {
          ran = true
          // It may have been shortened since the size was looked at.
          if (pageStart + to > space.size) return fail(new SizeMoved())
          visit(bytes, from, to, pageStart + from - offset)
          moved()
          if (withdrawals.delete(index)) issue()
        },
        fail
      })
      if (!ran && !failed) withdrawals.set(index, withdraw)
    }
    issue()
    host.drain()
    return withdrawAll
  }
  const firstMissing = () => Math.max(offset, Math.min(...withdrawals.keys()) * pageSize)
  return host.wait<void>(start, signal, () => new BusyError(file.path, firstMissing()))
}
