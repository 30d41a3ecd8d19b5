/** Abort callbacks: any number of them share one listener on a signal. */
import type { AbortSignalLike } from '@quire/protocol'

interface Shared {
  readonly callbacks: Set<() => void>
  readonly listener: () => void
}

// A program may pass one signal to thousands of calls. Node warns of a leak from eleven listeners on, and removing one
// of them is linear.
const shared = new WeakMap<AbortSignalLike, Shared>()

/**
 * Calls `callback` once, when `signal` aborts; never for a signal that has aborted already. Returns a function that
 * withdraws the callback. The signal carries no listener once all of its callbacks have run or been withdrawn.
 */
export function onAbort(signal: AbortSignalLike, callback: () => void): () => void {
  const { callbacks, listener } = shared.get(signal) ?? share(signal)
  // The same function may be registered twice.
  const own = (): void => callback()
  callbacks.add(own)
  return () => {
    if (!callbacks.delete(own) || callbacks.size > 0 || shared.get(signal)?.callbacks !== callbacks) return
    shared.delete(signal)
    signal.removeEventListener('abort', listener)
  }
}

function share(signal: AbortSignalLike): Shared {
  const callbacks = new Set<() => void>()
  const listener = (): void => {
    shared.delete(signal)
    for (const callback of callbacks) {
      callbacks.delete(callback)
      // As with listeners of their own, an error in one callback does not keep the others from running.
      try {
        callback()
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
  const entry = { callbacks, listener }
  shared.set(signal, entry)
  signal.addEventListener('abort', listener, { once: true })
  return entry
}
