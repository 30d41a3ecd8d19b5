/** Reads, writes and flushes of byte ranges, page by page, for files and mappings. */
import {
  BusyError,
  ClosedError,
  PastEndError,
  SessionExpiredError,
  UnavailableError,
  type Access
} from '@quire/protocol'
import { hex } from '../history.js'
import type { OpenFile } from '../host.js'
import { untilAborted } from '../waiting.js'

/** Pages that one call faults in at the same time. */
const WINDOW = 256

/** The file may have become shorter since the call read its size. The error never leaves this package. */
export class SizeMoved extends Error {
  override readonly name = 'SizeMoved'
  /** `refusal`: the leader's answer to a fault, if it revealed the change. */
  constructor(readonly refusal?: PastEndError) {
    super('the size of the file has changed')
  }
}

/** A call gives up after this many changes of the size. */
const MAX_SIZE_MOVES = 100

/** Throws if the file cannot be used any longer. */
export function checkUsable(file: OpenFile): void {
  const error = whyUnusable(file)
  if (error !== undefined) throw error
}

function whyUnusable(file: OpenFile): Error | undefined {
  if (file.host.ended !== undefined) return file.host.ended
  return file.closing >= file.handles ? new ClosedError(file.path) : undefined
}

/** Throws if the file's session was lost with unflushed bytes of it: a close must not report these as flushed. */
export function checkNothingLost(file: OpenFile): void {
  const { ended } = file.host
  if (ended instanceof SessionExpiredError && ended.lost.some((range) => range.file === String(file.id))) throw ended
}

/** Returns a size of at least `end` if the file is known to reach so far; otherwise asks for the size. */
export function sizeFor(file: OpenFile, end: number, signal?: AbortSignal): Promise<number> {
  return end <= file.space.size ? Promise.resolve(file.space.size) : file.refreshSize(signal)
}

/** Whether the file is known to reach to the end of the range, and the lease is valid. */
export function isKnownInside({ host, space }: OpenFile, offset: number, length: number): boolean {
  return offset + length <= space.size && host.isLeaseValid()
}

/** Repeats `action` while changes of the size overtake it. */
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
 * Copies `target.length` bytes from `offset` on. Rejects with SizeMoved if the file is not known to reach so far at the
 * copy.
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
    // Check the lease *after* the copy: if the process was stopped in between, the bytes may be stale. A lease that the
    // leader confirms later proves that no page was taken away, but only a fresh copy is known to be of one moment.
    if (host.isLeaseValid()) return
    await host.whenActive(signal)
  }
}

/**
 * Writes `source` at `offset`. Rejects with SizeMoved if the file is not known to reach so far. Skips the pages in
 * `written` and adds those that it writes: a call that begins again must not write a page twice, over later writes of
 * others.
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

/**
 * Reads the range if the client may read all of its pages here and now, and the lease is valid. Otherwise returns
 * false, although `target` may have changed. The file is known to reach so far.
 */
export function tryReadPages({ host, id, pageSize }: OpenFile, offset: number, target: Uint8Array): boolean {
  const call = host.now()
  const first = Math.floor(offset / pageSize)
  const last = lastPageOf(pageSize, offset, target.length)
  if (last >= first && !host.table.allows(id, first, last, 'read')) return false
  eachPart(pageSize, offset, target.length, (index, from, to, at) =>
    target.set(host.table.touch(id, index, 'read').subarray(from, to), at)
  )
  host.table.touched(id, first, last, 'read')
  // After the copy, because the process may have been stopped in between.
  if (!host.isLeaseValid()) return false
  if (host.recorder.isOn) host.recorder.note('read', id, offset, target.length, { value: hex(target) }, { call })
  return true
}

/**
 * Writes the range if the client owns all of its pages here and now, and otherwise returns false. The lease is valid,
 * and the file is known to reach so far.
 */
export function tryWritePages({ host, id, pageSize }: OpenFile, offset: number, bytes: Uint8Array): boolean {
  const call = host.now()
  const first = Math.floor(offset / pageSize)
  const last = lastPageOf(pageSize, offset, bytes.length)
  if (last >= first && !host.table.allows(id, first, last, 'write')) return false
  eachPart(pageSize, offset, bytes.length, (index, from, to, at) =>
    host.table.touch(id, index, 'write').set(bytes.subarray(at, at + to - from), from)
  )
  host.table.touched(id, first, last, 'write')
  if (!host.recorder.isOn) return true
  host.recorder.note('write', id, offset, bytes.length, { value: hex(bytes), grew: false }, { call })
  return true
}

/** The last page of a range; the one before its first page if it is empty. */
function lastPageOf(pageSize: number, offset: number, length: number): number {
  return length === 0 ? Math.floor(offset / pageSize) - 1 : Math.floor((offset + length - 1) / pageSize)
}

/** Resolves when everything that this client wrote to the range before the call is durable. */
export function flushPages(file: OpenFile, offset: number, length: number, signal?: AbortSignal): Promise<void> {
  return eachDirty(file, offset, length, signal, (first, last, done, fail) =>
    file.host.flush(file.id, first, last, done, fail)
  )
}

/** As {@link flushPages}, for the whole file. */
export function flushFile(file: OpenFile, signal?: AbortSignal): Promise<void> {
  return flushPages(file, 0, Number.MAX_SAFE_INTEGER, signal)
}

/** Resolves when the range's dirty pages are on their way. */
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
  const last = lastPageOf(pageSize, offset, length)
  return host.wait<void>((resolve, reject, moved) => {
    let left = 0
    let isCounted = false
    const done = () => {
      left--
      moved()
      if (isCounted && left === 0) resolve()
    }
    // In two steps, because `begin` may call `done`.
    const count = begin(first, last, done, reject)
    left += count
    isCounted = true
    if (left === 0) resolve()
    // A flush continues after its caller leaves.
    return () => {}
  }, signal)
}

/** Turns the refusal of a fault beyond the end into SizeMoved, so that the call decides anew. */
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
 * Calls `visit` with access in hand for each page's part of the range, except for pages in `skipped`: bytes `from` to
 * `to` of the page, `at` bytes into the range. Pages may come in any order.
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
  /** Withdraws the access of each page that waits, by index. */
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
      // A hit runs at once and calls `issue` again: one loop serves them all.
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
      // The program may have closed the file since the first page.
      const error = whyUnusable(file)
      if (error !== undefined) return fail(error)
      let ran = false
      const withdraw = host.table.access(file.id, index, {
        access,
        pin: false,
        run: (bytes) => {
          ran = true
          // The file may have become shorter since the call read its size.
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
    return withdrawAll
  }
  const firstMissing = () => Math.max(offset, Math.min(...withdrawals.keys()) * pageSize)
  return host.wait<void>(start, signal, () => new BusyError(file.path, firstMissing()))
}
