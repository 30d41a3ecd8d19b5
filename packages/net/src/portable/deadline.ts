import type { AbortSignalLike } from '@quire/protocol'
import { onAbort } from './abort.js'

export interface Deadline {
  /** Aborts when the time runs out or the caller's signal aborts. */
  readonly signal: AbortSignal
  /** True once the time has run out. */
  readonly expired: boolean
  /** Starts the time again, unless it has run out. */
  restart(): void
  /** Stops the timer and releases the caller's signal. Every user of a deadline must call it. */
  clear(): void
}

/**
 * Joins a time limit and the caller's signal into one signal. `AbortSignal.any` would leave a listener on the caller's.
 */
export function createDeadline(timeoutMs: number, caller?: AbortSignalLike): Deadline {
  const controller = new AbortController()
  let expired = false
  const start = (): ReturnType<typeof setTimeout> =>
    setTimeout(() => {
      expired = true
      controller.abort(new Error(`no answer within ${timeoutMs} ms`))
    }, timeoutMs)
  let timer = start()
  const follow = (): void => controller.abort(caller?.reason)
  if (caller?.aborted === true) follow()
  const leave = caller === undefined ? undefined : onAbort(caller, follow)
  return {
    signal: controller.signal,
    get expired() {
      return expired
    },
    restart() {
      if (controller.signal.aborted) return
      clearTimeout(timer)
      timer = start()
    },
    clear() {
      clearTimeout(timer)
      leave?.()
    }
  }
}

/** Runs `work` with a deadline. If the time runs out first, rejects with an error that names the limit. */
export async function withDeadline<T>(
  timeoutMs: number,
  caller: AbortSignalLike | undefined,
  work: (deadline: Deadline) => Promise<T>
): Promise<T> {
  const deadline = createDeadline(timeoutMs, caller)
  try {
    return await work(deadline)
  } catch (error) {
    throw deadline.expired ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error
  } finally {
    deadline.clear()
  }
}

/** Throws if `signal` has aborted: its reason if that is an error, otherwise an AbortError. */
export function throwIfAborted(signal: AbortSignalLike | undefined): void {
  if (signal?.aborted !== true) return
  if (signal.reason instanceof Error) throw signal.reason
  const error = new Error('the operation was aborted')
  error.name = 'AbortError'
  throw error
}
