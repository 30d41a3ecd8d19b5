import type { AbortSignalLike } from '@quire/protocol'
import { onAbort } from './abort.js'

export interface Deadline {
  /** Aborts when the time is up or the caller's signal aborts. */
  readonly signal: AbortSignal
  /** True once the time ran out. */
  readonly expired: boolean
  /** Gives the whole time again, unless it is up. */
  restart(): void
  /** Stops the timer and lets go of the caller's signal. Call it always. */
  clear(): void
}

/** A time limit and a caller's signal as one AbortSignal, without leaving a listener behind on a long-lived signal. */
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

/** Runs `work` with a deadline. Rejects with an error that names the limit if the time is up before `work` ends. */
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

/** Throws the caller's own reason if that is an error, else an AbortError. */
export function throwIfAborted(signal: AbortSignalLike | undefined): void {
  if (signal?.aborted !== true) return
  if (signal.reason instanceof Error) throw signal.reason
  const error = new Error('the operation was aborted')
  error.name = 'AbortError'
  throw error
}
