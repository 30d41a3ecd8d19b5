/** Waiting that always ends: by the thing itself, by the caller's signal, or by the clock. */
import type { Clock } from '@quire/protocol'

export interface WaitInit {
  readonly clock: Clock
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Called when half of the time is over. */
  readonly onHalfway?: (() => void) | undefined
  /** Made when the time is up. */
  readonly onTimeout: () => Error
}

/**
 * Starts something that ends by calling `resolve` or `reject`. `start` returns a function that withdraws it, which is called when
 * the signal or the clock ends the wait first.
 */
export function waitFor<T>(
  start: (resolve: (value: T) => void, reject: (error: Error) => void) => () => void,
  { clock, timeoutMs, signal, onHalfway, onTimeout }: WaitInit
): Promise<T> {
  if (signal?.aborted) return Promise.reject(abortReason(signal))
  return new Promise<T>((resolve, reject) => {
    let settled = false
    let withdraw = () => {}
    let cancelTimer = () => {}
    const onAbort = () => {
      settle()
      withdraw()
      reject(abortReason(signal!))
    }
    const settle = () => {
      settled = true
      cancelTimer()
      signal?.removeEventListener('abort', onAbort)
    }
    withdraw = start(
      (value) => {
        settle()
        resolve(value)
      },
      (error) => {
        settle()
        reject(error)
      }
    )
    // What was there at once needs no timer.
    if (settled) return
    cancelTimer = clock.schedule(timeoutMs / 2, () => {
      onHalfway?.()
      cancelTimer = clock.schedule(timeoutMs / 2, () => {
        settle()
        // It says what was waited for, which the withdrawal may end.
        const error = onTimeout()
        withdraw()
        reject(error)
      })
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** What the promise comes to, or a rejection as soon as the signal aborts; the promise itself goes on. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortReason(signal))
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    const stop = () => signal.removeEventListener('abort', onAbort)
    promise.then(resolve, reject).finally(stop)
  })
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortReason(signal)
}

export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new DOMException('The operation was aborted', 'AbortError')
}
