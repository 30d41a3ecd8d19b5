/** Staggered attempts at several addresses, after RFC 8305 ("Happy Eyeballs"), section 5. */
import type { AbortSignalLike } from '@quire/protocol'
import { onAbort } from './abort.js'

export interface FirstAnswerInit<T> {
  /** How long to wait for an address before the next attempt starts beside it. */
  readonly delayMs: number
  /** Limit of concurrent attempts. When it is reached, the next attempt starts when one fails. */
  readonly maxAtOnce: number
  /** Aborts all attempts. */
  readonly signal?: AbortSignalLike | undefined
  /**
   * Tries one address until `signal` aborts. It may call `gotOn` when the remote shows a first sign of life; the delay
   * before the next attempt then starts again.
   */
  readonly attempt: (address: string, signal: AbortSignal, gotOn: () => void) => Promise<T>
}

export interface FirstAnswer<T> {
  readonly address: string
  readonly value: T
}

/**
 * Tries `addresses` in this order. The next attempt starts when the previous one fails or has not answered within the
 * delay. Resolves with the first answer and aborts the other attempts. Rejects if all attempts fail, with the only
 * error or with an AggregateError, and rejects with the reason of `signal` if that aborts.
 */
export function firstAnswer<T>(addresses: readonly string[], init: FirstAnswerInit<T>): Promise<FirstAnswer<T>> {
  const { delayMs, maxAtOnce, signal, attempt } = init
  if (signal?.aborted === true) return Promise.reject(signal.reason)
  const controller = new AbortController()
  const errors: unknown[] = []
  let next = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer)
      leave()
      controller.abort(new Error('the dial has ended'))
    }
    const abort = (): void => {
      end()
      reject(signal?.reason)
    }
    const leave = signal === undefined ? () => {} : onAbort(signal, abort)
    const wait = (): void => {
      clearTimeout(timer)
      if (next < addresses.length && next - errors.length < maxAtOnce) timer = setTimeout(start, delayMs)
    }
    const failed = (error: unknown): void => {
      if (controller.signal.aborted) return
      errors.push(error)
      if (next < addresses.length) return start()
      if (errors.length < addresses.length) return
      end()
      reject(errors.length === 1 ? errors[0] : new AggregateError(errors))
    }
    const start = (): void => {
      const address = addresses[next++]!
      const isNewest = next
      const gotOn = (): void => {
        if (next === isNewest && !controller.signal.aborted) wait()
      }
      wait()
      attempt(address, controller.signal, gotOn).then((value) => {
        if (controller.signal.aborted) return
        end()
        resolve({ address, value })
      }, failed)
    }
    start()
  })
}
