/** Waits that always end: by their outcome, by the caller's signal, or by the clock. */
import { onAbort } from '@quire/net'
import type { Clock } from '@quire/protocol'
import { checkSignal } from './validate.js'

export interface WaitInit {
  readonly clock: Clock
  /** How long the wait may make no progress. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Called when half of that time is over. */
  readonly onHalfway?: (() => void) | undefined
  /** Makes the error of the timeout. `since`: when the wait began or last made progress, in milliseconds. */
  readonly onTimeout: (since: number) => Error
}

/**
 * Starts something that ends by calling `resolve` or `reject`. It may call `moved` to report progress, which restarts
 * the timeout. Returns a function that withdraws it: the wait calls that function if the signal or the clock ends it
 * first.
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
      // `moved` may come during `start`, before the wait is timed.
      () => {
        if (since !== undefined) since = clock.now()
      }
    )
    if (settled) return
    const half = timeoutMs / 2
    const watch = (from: number) => {
      /** Calls `then` after `ms`, unless there was progress meanwhile. */
      const ifStill = (ms: number, then: () => void) => {
        cancelTimer = clock.schedule(ms, () => (since === from ? then() : watch(since!)))
      }
      ifStill(Math.max(0, from + half - clock.now()), () => {
        onHalfway?.()
        // Wait a whole half from here on: this process may have been stopped itself.
        ifStill(half, () => {
          settle()
          // Make the error first: it may describe what the withdrawal ends.
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

/** Resolves after `ms` milliseconds, or when the signal aborts. */
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

/** Settles like `promise`, or rejects as soon as the signal aborts. The promise itself continues. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    let stop = (): void => {}
    // First of all, so that a rejection of the promise is always handled.
    promise.then(resolve, reject).finally(() => stop())
    throwIfAborted(signal)
    stop = onAbort(signal, () => reject(abortReason(signal)))
  })
}

/**
 * Throws for an aborted signal. Rejects non-signals, such as an AbortController, now rather than when the wait
 * completes.
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal === undefined) return
  checkSignal(signal)
  if (signal.aborted) throw abortReason(signal)
}

export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new DOMException('The operation was aborted', 'AbortError')
}
