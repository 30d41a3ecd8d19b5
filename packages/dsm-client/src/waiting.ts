/** Waiting that always ends: by the thing itself, by the caller's signal, or by the clock. */
import { onAbort } from '@quire/net'
import type { Clock } from '@quire/protocol'
import { checkSignal } from './validate.js'

export interface WaitInit {
  readonly clock: Clock
  /** How long it may stand still. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Called when half of the time is over. */
  readonly onHalfway?: (() => void) | undefined
  /** Made when the time is up. `since`: when it began, or last got any further. */
  readonly onTimeout: (since: number) => Error
}

/**
 * Begins something that ends by calling `resolve` or `reject`. It may call `moved` when it has got further, which gives
 * it its whole time again. Returns a function that withdraws it, which is called when the signal or the clock ends the
 * wait first.
 */
export type Start<T> = (resolve: (value: T) => void, reject: (error: Error) => void, moved: () => void) => () => void

export function waitFor<T>(start: Start<T>, { clock, timeoutMs, signal, onHalfway, onTimeout }: WaitInit): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    throwIfAborted(signal)
    let settled = false
    let since: number | undefined
    let withdraw = () => {}
    let cancelTimer = () => {}
    let leave = () => {}
    const aborted = () => {
      settle()
      withdraw()
      reject(abortReason(signal!))
    }
    const settle = () => {
      settled = true
      cancelTimer()
      leave()
    }
    withdraw = start(
      (value) => {
        settle()
        resolve(value)
      },
      (error) => {
        settle()
        reject(error)
      },
      // What is there at once is not timed.
      () => {
        if (since !== undefined) since = clock.now()
      }
    )
    if (settled) return
    const half = timeoutMs / 2
    const watch = (from: number) => {
      /** Runs `then`, unless it has got further meanwhile. */
      const ifStill = (ms: number, then: () => void) => {
        cancelTimer = clock.schedule(ms, () => (since === from ? then() : watch(since!)))
      }
      ifStill(Math.max(0, from + half - clock.now()), () => {
        onHalfway?.()
        // A whole half from here on: the process may have stood still itself.
        ifStill(half, () => {
          settle()
          // It says what was waited for, which the withdrawal may end.
          const error = onTimeout(from)
          withdraw()
          reject(error)
        })
      })
    }
    since = clock.now()
    watch(since)
    if (signal !== undefined) leave = onAbort(signal, aborted)
  })
}

/** Until then, or until the signal aborts. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const cancel = clock.schedule(ms, done)
    const leave = onAbort(signal, done)
    function done() {
      cancel()
      leave()
      resolve()
    }
  })
}

/** What the promise comes to, or a rejection as soon as the signal aborts; the promise itself goes on. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    let stop = (): void => {}
    // Before the signal is looked at: somebody must hear what becomes of it.
    promise.then(resolve, reject).finally(() => stop())
    throwIfAborted(signal)
    stop = onAbort(signal, () => reject(abortReason(signal)))
  })
}

/**
 * Also for what is no signal, such as a controller: taken for one, it would throw when what was waited for is there.
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal === undefined) return
  checkSignal(signal)
  if (signal.aborted) throw abortReason(signal)
}

export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new DOMException('The operation was aborted', 'AbortError')
}
