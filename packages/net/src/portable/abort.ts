/** Lets any number of abort callbacks share one listener on their signal. */
import type { AbortSignalLike } from '@quire/protocol'

interface Shared {
  readonly callbacks: Set<() => void>
  readonly listener: () => void
}

// A program may pass one signal to thousands of calls. Node warns about a leak at eleven listeners, and takes linear
// time to remove one.
const shared = new WeakMap<AbortSignalLike, Shared>()

/**
 * Calls `callback` once, when `signal` aborts; never if `signal` has already aborted. Returns a function that withdraws
 * the callback. The signal has no listener left once all callbacks have run or been withdrawn.
 */
export function onAbort(signal: AbortSignalLike, callback: () => void): () => void {
  const { callbacks, listener } = shared.get(signal) ?? share(signal)
  // A caller may register one function twice, and withdraw it once.
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
      // An error in one callback must not prevent the others, just as it would not with separate listeners.
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
