/** Connections of remotes that may not connect: a few at a time, and for long enough to be told why. */
import type { MultiaddrConnection } from '@libp2p/interface'
import type { EventLoop } from './event-loop.js'

/**
 * At most so many at a time. Beyond that a stranger is cut off without a word, as soon as Noise has proved its PeerId.
 */
export const MAX_STRANGERS = 16
/** Ample for a hello and its answer over a slow line. Then the connection is cut, whatever goes on in it. */
export const STRANGER_LIFE_MS = 5_000

export class Strangers {
  private count = 0
  /** Nobody has a last word for strangers, so none is let in. */
  private isOpen = false

  constructor(private readonly eventLoop: EventLoop) {}

  open(): void {
    this.isOpen = true
  }

  /** True: the connection may be made, and is counted until it ends. */
  admit(connection: MultiaddrConnection): boolean {
    if (!this.isOpen || this.count >= MAX_STRANGERS || connection.status !== 'open') return false
    this.count++
    let isOver = false
    const leave = (): void => {
      if (isOver) return
      isOver = true
      this.count--
      cancelEnd()
    }
    const cancelEnd = this.eventLoop.scheduleInBackground(STRANGER_LIFE_MS, () => {
      leave()
      connection.abort(new Error(`a stranger's time of ${STRANGER_LIFE_MS} ms is over`))
    })
    connection.addEventListener('close', leave)
    return true
  }
}
