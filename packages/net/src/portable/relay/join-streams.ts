import type { Stream } from '@libp2p/interface'
import { CLOSE_TIMEOUT_MS } from '../close-connection.js'
import { toError } from '../failures.js'

/**
 * Joins two streams: the bytes of each leave on the other, in order, and each ends with the other.
 *
 * While one stream takes no more bytes, nothing is read from the other. Yamux then lets the sender fill its window and
 * no more. So a direction holds a window of unread bytes and a window of unsent ones at most.
 */
export function joinStreams(one: Stream, other: Stream): void {
  pump(one, other)
  pump(other, one)
}

function pump(from: Stream, to: Stream): void {
  let isResuming = false
  const pause = (): void => {
    if (to.writableNeedsDrain && from.readStatus === 'readable') from.pause()
  }
  from.addEventListener('message', ({ data }) => {
    if (to.writeStatus !== 'writable') return
    to.send(data)
    // `resume` delivers what it has, and then takes a pause back that was set meanwhile.
    if (!isResuming) pause()
  })
  to.addEventListener('drain', () => {
    // The stream sends the rest of its own buffer in a microtask, and may need another drain after it.
    queueMicrotask(() =>
      queueMicrotask(() => {
        if (to.writableNeedsDrain || from.readStatus !== 'paused') return
        isResuming = true
        from.resume()
        isResuming = false
        pause()
      })
    )
  })
  // All bytes have been delivered.
  from.addEventListener('end', () => close(to))
  from.addEventListener('close', ({ error }) => {
    if (error === undefined) close(to)
    else to.abort(error)
  })
}

function close(stream: Stream): void {
  stream
    .close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
    .catch((error: unknown) => stream.abort(toError(error)))
}
